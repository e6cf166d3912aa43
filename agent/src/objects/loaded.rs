//! The result of one load: the objects and refusals found, and what is wrong; and how it replaces what is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::http_object::HttpObject;
use super::metadata::ObjectKey;
use super::reading::{Problem, SourceLocation};
use super::security::PolicyTarget;
use super::store::{Body, Objects, RejectedPolicy, Stored};

/// The result of one load.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What is valid, and for each policy that is not, the refusal that stands for it.
    pub objects: Objects,
    pub problems: Vec<Problem>,
    /// What was accepted, but has no effect in part.
    pub notices: Vec<Problem>,
    /// Objects that are defined, but not validly and unambiguously.
    pub(super) invalid: BTreeSet<ObjectKey>,
    /// Files and folders that could not be read, in whole or in part.
    pub(super) unreadable: BTreeSet<PathBuf>,
    defined: BTreeMap<ObjectKey, SourceLocation>,
    /// How many documents were read so far.
    pub(super) documents: usize,
}

impl Loaded {
    /// Notes a file or folder that cannot be read, or not to its end.
    pub(super) fn cannot_read(&mut self, path: &Path, reason: String) {
        let file = path.to_owned();
        self.unreadable.insert(file.clone());
        self.problems.push(Problem { file, document: 0, line: None, object: None, field: String::new(), reason });
    }

    /// Notes that a file defines an object whose kind or name cannot be read: it may be any of those that came from the file
    /// before, so none of them counts as removed.
    pub(super) fn has_unnamed(&mut self, file: &Path) {
        self.unreadable.insert(file.to_owned());
    }

    /// Takes in an object that is well-formed, or a refusal that stands for a policy.
    pub(super) fn add(&mut self, key: ObjectKey, stored: Stored) {
        if self.is_defined_again(&key, &stored.location) {
            if key.kind.is_policy() {
                self.refuse_both(&key, &stored);
            }
            return;
        }
        self.objects.entries.insert(key, stored);
    }

    /// Notes an object that is not valid.
    pub(super) fn add_invalid(&mut self, key: ObjectKey, location: &SourceLocation) {
        self.is_defined_again(&key, location);
        self.invalid.insert(key);
    }

    fn is_defined_again(&mut self, key: &ObjectKey, location: &SourceLocation) -> bool {
        let Some(first) = self.defined.get(key) else {
            self.defined.insert(key.clone(), location.clone());
            return false;
        };
        let reason =
            format!("is also defined in {} (document {}): remove one of the two", first.file.display(), first.document);
        self.problems.push(Problem {
            file: location.file.clone(),
            document: location.document,
            line: None,
            object: Some(key.to_string()),
            field: String::new(),
            reason,
        });
        self.invalid.insert(key.clone());
        true
    }

    /// Which of two policies of one name is meant is unknown: a refusal as wide as both takes their place.
    fn refuse_both(&mut self, key: &ObjectKey, second: &Stored) {
        let labels_of = |target: &PolicyTarget| match target {
            PolicyTarget::Selector(labels) => labels.clone(),
            PolicyTarget::Namespace | PolicyTarget::Elsewhere => BTreeMap::new(),
        };
        let selector = |stored: &Stored| match &stored.body {
            Body::AuthorizationPolicy(written) => labels_of(&written.policy.target),
            Body::Http(written) => match &written.object {
                HttpObject::RequestAuthentication(authentication) => labels_of(&authentication.target),
                _ => BTreeMap::new(),
            },
            Body::PeerAuthentication(policy) => policy.selector.clone(),
            Body::Rejected(policy) => policy.selector.clone(),
            _ => BTreeMap::new(),
        };
        let second_selector = selector(second);
        let Some(first) = self.objects.entries.get_mut(key) else { return };
        let same = selector(first) == second_selector;
        let selector = if same { second_selector } else { BTreeMap::new() };
        first.body = Body::Rejected(RejectedPolicy { selector, reason: "it is defined twice".to_owned() });
    }
}

impl Objects {
    /// Puts what was loaded in force. An object that is invalid now keeps its last valid version; a file that cannot be
    /// read, or has an object whose kind or name cannot be read, keeps all that came from it; what the files no longer
    /// define is removed. A policy that never was valid denies its scope. Returns the problems of the load.
    pub fn update(&mut self, loaded: Loaded) -> Vec<Problem> {
        let Loaded { objects, problems, invalid, unreadable, .. } = loaded;
        let mut next = objects.entries;
        for (key, old) in std::mem::take(&mut self.entries) {
            let was_valid = !matches!(old.body, Body::Rejected(_));
            let keep = match next.get(&key) {
                Some(new) => was_valid && (matches!(new.body, Body::Rejected(_)) || invalid.contains(&key)),
                None => invalid.contains(&key) || unreadable.iter().any(|path| old.location.file.starts_with(path)),
            };
            if keep {
                next.insert(key, old);
            }
        }
        self.entries = next;
        problems
    }
}
