//! Policies by what their selectors ask for, so that those which select a pod are found without looking at the others.
//!
//! A policy stands under one label of its selector: the one that comes first by name, which is `app` or its like in most
//! meshes. Which one that is does not depend on the order in which policies come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::authorization::Authorization;
use crate::model::peer_authentication::{Labels, selects};

/// Policies with a selector, by namespace.
#[derive(Debug, Default)]
pub(super) struct SelectorIndex(HashMap<Arc<str>, ByLabel>);

/// By name and value of the label that a policy stands under.
type ByLabel = HashMap<String, HashMap<String, BTreeMap<Arc<str>, Selecting>>>;

#[derive(Debug)]
struct Selecting {
    policy: Arc<Authorization>,
    selector: Labels,
}

impl SelectorIndex {
    /// Adds a policy, which must not be there. One without a selector is not found here.
    pub(super) fn insert(&mut self, policy: &Arc<Authorization>, selector: &Labels) {
        let Some((name, value)) = selector.first_key_value() else { return };
        let by_label = self.0.entry(policy.namespace.clone()).or_default();
        let of_label = by_label.entry(name.clone()).or_default().entry(value.clone()).or_default();
        of_label.insert(policy.key.clone(), Selecting { policy: policy.clone(), selector: selector.clone() });
    }

    /// Removes a policy that was added with this selector.
    pub(super) fn remove(&mut self, key: &str, namespace: &str, selector: &Labels) {
        let Some((name, value)) = selector.first_key_value() else { return };
        let Some(by_label) = self.0.get_mut(namespace) else { return };
        let Some(by_value) = by_label.get_mut(name) else { return };
        let Some(of_label) = by_value.get_mut(value) else { return };
        of_label.remove(key);
        if of_label.is_empty() {
            by_value.remove(value);
        }
        if by_value.is_empty() {
            by_label.remove(name);
        }
        if by_label.is_empty() {
            self.0.remove(namespace);
        }
    }

    /// The policies of a namespace that select a pod with these labels.
    pub(super) fn find<'a>(
        &'a self,
        namespace: &str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a Arc<Authorization>> {
        let by_label = self.0.get(namespace);
        let candidates = labels.iter().filter_map(move |(name, value)| by_label?.get(name)?.get(value));
        let selecting = candidates.flat_map(BTreeMap::values).filter(|one| selects(&one.selector, labels));
        selecting.map(|one| &one.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::authorization::{Action, PolicyScope};
    use crate::model::sample::policy;

    fn labels(text: &str) -> Labels {
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.split(',').filter_map(pair).collect()
    }

    #[test]
    fn a_policy_is_found_by_the_pods_that_it_selects_and_no_others() {
        let mut index = SelectorIndex::default();
        let selectors = [("p", "app=a"), ("q", "app=a,tier=web"), ("r", "app=b"), ("all", "")];
        for (name, selector) in selectors {
            let policy = Arc::new(policy(name, PolicyScope::WorkloadSelector, Action::Deny, vec![]));
            index.insert(&policy, &labels(selector));
        }
        let found = |index: &SelectorIndex, namespace: &str, pod: &str| {
            let labels = labels(pod);
            index.find(namespace, &labels).map(|policy| policy.key.to_string()).collect::<Vec<_>>()
        };
        let rows: [(&str, &str, &[&str]); 6] = [
            ("bookinfo", "app=a", &["bookinfo/p"]),
            ("bookinfo", "app=a,tier=web,version=v1", &["bookinfo/p", "bookinfo/q"]),
            ("bookinfo", "tier=web", &[]),
            ("bookinfo", "app=b,tier=web", &["bookinfo/r"]),
            ("bookinfo", "", &[]),
            ("shop", "app=a", &[]),
        ];
        for (namespace, pod, expected) in rows {
            assert_eq!(found(&index, namespace, pod), expected, "{namespace} {pod}");
        }
        for (name, selector) in selectors {
            index.remove(&format!("bookinfo/{name}"), "bookinfo", &labels(selector));
        }
        assert!(index.0.is_empty());
    }
}
