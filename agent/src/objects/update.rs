//! The last good rule: what cannot be read does not replace what could.

use super::loaded::Loaded;
use super::problem::Problem;
use super::{Body, Objects};

impl Objects {
    /// Takes over what was loaded. An object that is invalid now keeps its last valid version; a file that cannot be read,
    /// or has a document that cannot be told, keeps all that came from it; what the files no longer define goes. A policy
    /// that never was valid denies its scope. Returns the problems of the load.
    pub fn update(&mut self, loaded: Loaded) -> Vec<Problem> {
        let Loaded { objects, problems, invalid, unreadable, .. } = loaded;
        let mut next = objects.entries;
        for (key, old) in std::mem::take(&mut self.entries) {
            let was_valid = !matches!(old.body, Body::Rejected(_));
            let keep = match next.get(&key) {
                Some(new) => was_valid && (matches!(new.body, Body::Rejected(_)) || invalid.contains(&key)),
                None => invalid.contains(&key) || unreadable.iter().any(|path| old.origin.file.starts_with(path)),
            };
            if keep {
                next.insert(key, old);
            }
        }
        self.entries = next;
        problems
    }
}
