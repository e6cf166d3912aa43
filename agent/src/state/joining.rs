//! Namespaces that have just been labelled for the mesh. The control plane takes a moment to announce that their workloads
//! speak HBONE; the labels are known before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// How long a namespace counts as joining: as long as istiod collects changes at the most
/// (`PILOT_DEBOUNCE_MAX`).
const WINDOW: Duration = Duration::from_secs(10);

/// A handle to the namespaces that join the mesh. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Joining {
    /// Since when each namespace of the mesh is known to be one.
    since: Arc<RwLock<HashMap<String, Instant>>>,
}

impl Joining {
    /// Sets whether a namespace is labelled for the mesh. The time counts from the first call; the same value again changes
    /// nothing.
    pub fn set_in_mesh(&self, namespace: &str, is_in_mesh: bool) {
        self.set_in_mesh_at(namespace, is_in_mesh, Instant::now());
    }

    /// Forgets the namespaces that are not `known` any more.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        self.since.write().retain(|namespace, _| known(namespace));
    }

    /// Whether the namespace was labelled so recently that its workloads may speak HBONE before the control plane announces
    /// it.
    #[must_use]
    pub fn is_joining(&self, namespace: &str) -> bool {
        self.is_joining_at(namespace, Instant::now())
    }

    fn set_in_mesh_at(&self, namespace: &str, is_in_mesh: bool, now: Instant) {
        let mut since = self.since.write();
        if !is_in_mesh {
            since.remove(namespace);
        } else if !since.contains_key(namespace) {
            since.insert(namespace.to_owned(), now);
        }
    }

    fn is_joining_at(&self, namespace: &str, now: Instant) -> bool {
        self.since.read().get(namespace).is_some_and(|since| now < *since + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_joining_for_a_while_after_its_label_was_first_seen() {
        let (joining, start) = (Joining::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!joining.is_joining_at("shop", start), "nobody knows it");
        joining.set_in_mesh_at("shop", true, start);
        assert!(joining.is_joining_at("shop", start));
        assert!(!joining.is_joining_at("bank", start), "another one");
        joining.set_in_mesh_at("gone", true, start);
        joining.retain(|namespace| namespace == "shop");
        assert!(!joining.is_joining_at("gone", start), "it was deleted unseen");
        joining.set_in_mesh_at("shop", true, after(8));
        assert!(joining.is_joining_at("shop", after(9)));
        assert!(!joining.is_joining_at("shop", after(10)), "hearing it again is no news");
        joining.set_in_mesh_at("shop", false, after(11));
        joining.set_in_mesh_at("shop", true, after(12));
        assert!(joining.is_joining_at("shop", after(13)), "it left and came again");
        joining.set_in_mesh_at("shop", false, after(14));
        assert!(!joining.is_joining_at("shop", after(14)), "it left");
    }
}
