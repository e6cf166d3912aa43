//! The policies as written: which of them a pod lists that the control plane has not described yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::policies::Policies;
use crate::model::authorization::{Action, Authorization, PolicyScope};
use crate::model::peer_authentication::{Labels, PeerModes, is_converted_name, selects};
use crate::model::policy_object::{PeerObject, PolicyObject, PolicyTarget};

#[derive(Debug, Default)]
pub(super) struct PolicyObjects {
    policies: BTreeMap<Arc<str>, Arc<PolicyObject>>,
    /// The age of each PeerAuthentication, by its key.
    peer_ages: HashMap<Arc<str>, Arc<str>>,
    modes: PeerModes,
}

/// The selector policies that a pod lists by its labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Keys, sorted.
    pub keys: Vec<Arc<str>>,
    /// An ALLOW policy of which nobody knows whom it selects: it may be this pod, which then is closed to most.
    pub unclear: Option<Arc<str>>,
}

impl PolicyObjects {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<PolicyObject>> {
        self.policies.values()
    }

    pub(super) fn has_own_form(&self, key: &str) -> bool {
        self.policies.get(key).is_some_and(|object| object.own_form.is_some())
    }

    pub(super) fn insert_policy(&mut self, object: PolicyObject) {
        self.policies.insert(object.key.clone(), Arc::new(object));
    }

    pub(super) fn remove_policy(&mut self, key: &str) {
        self.policies.remove(key);
    }

    pub(super) fn insert_peer(&mut self, object: PeerObject, root_namespace: &str) {
        self.set_root_namespace(root_namespace);
        self.remove_peer(&object.key);
        let (namespace, name) = object.names();
        self.modes.insert(namespace, name, &object.age, &object.spec);
        self.peer_ages.insert(object.key, object.age);
    }

    pub(super) fn remove_peer(&mut self, key: &str) {
        if let Some(age) = self.peer_ages.remove(key) {
            let (namespace, name) = key.split_once('/').unwrap_or(("", key));
            self.modes.remove(namespace, name, &age);
        }
    }

    pub(super) fn set_root_namespace(&mut self, root_namespace: &str) {
        self.modes.set_root_namespace(root_namespace);
    }

    /// The selector policies that a pod of this namespace with these labels lists. A DENY policy of which nobody knows
    /// whom it selects counts as listed: it refuses no more than its author wanted of some.
    pub(super) fn listing(
        &self,
        policies: &Policies,
        root_namespace: &str,
        namespace: &str,
        labels: &Labels,
    ) -> Listing {
        let peer = self.modes.listed_by(namespace, labels).map(|(namespace, name)| format!("{namespace}/{name}"));
        let mut listing = Listing::default();
        let here = |policy: &&Arc<Authorization>| {
            policy.scope == PolicyScope::WorkloadSelector
                && (&*policy.namespace == namespace || &*policy.namespace == root_namespace)
        };
        for policy in policies.iter().filter(here) {
            match self.is_selected(policy, peer.as_deref(), labels) {
                Some(true) => listing.keys.push(policy.key.clone()),
                Some(false) => {}
                None if policy.action == Action::Deny => listing.keys.push(policy.key.clone()),
                None => listing.unclear = listing.unclear.or_else(|| Some(policy.key.clone())),
            }
        }
        // It says STRICT, whether or not the control plane has sent the policy that says so.
        if let Some(peer) = peer
            && !listing.keys.iter().any(|key| **key == *peer)
        {
            listing.keys.push(peer.into());
        }
        listing.keys.sort();
        listing
    }

    /// Whether a policy selects a pod with these labels; `None` where nobody knows.
    fn is_selected(&self, policy: &Authorization, peer: Option<&str>, labels: &Labels) -> Option<bool> {
        if let Some(object) = self.policies.get(&policy.key) {
            return Some(match &object.target {
                PolicyTarget::Selector(selector) => selects(selector, labels),
                PolicyTarget::Namespace | PolicyTarget::Elsewhere => false,
            });
        }
        let name = policy.key.rsplit_once('/').map_or(&*policy.key, |(_namespace, name)| name);
        if is_converted_name(name) && self.modes.is_any() {
            return Some(peer == Some(&*policy.key));
        }
        None
    }
}
