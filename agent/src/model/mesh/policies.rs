//! Authorization policies by key and scope, and which of them are in force for a workload.
//!
//! A policy may have a form of the agent's *own*. The control plane translates a policy with HTTP conditions to L4 and leaves
//! out what L4 cannot express. Where the agent also has the policy as it is written, and that says something else, what is
//! written is enforced in place of the control plane's form.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::selector_index::SelectorIndex;
use crate::model::authorization::{Authorization, Destination, InForce, PolicyScope};
use crate::model::peer_authentication::{Labels, selects};
use crate::model::workload::Workload;

/// Ordered by key, so that the policy a decision names never depends on the order of updates.
type ByKey = BTreeMap<Arc<str>, Arc<Authorization>>;

#[derive(Debug, Default)]
pub(super) struct Policies {
    by_key: HashMap<Arc<str>, Arc<Authorization>>,
    global: ByKey,
    by_namespace: HashMap<Arc<str>, ByKey>,
    /// The selectors of the own forms, empty for those without one, by key.
    own: HashMap<Arc<str>, OwnForm>,
    /// The own forms with a selector.
    by_labels: SelectorIndex,
    /// What the control plane sent of policies that have an own form.
    shadowed: HashMap<Arc<str>, Arc<Authorization>>,
}

/// Which pods an own form selects.
#[derive(Debug)]
struct OwnForm {
    namespace: Arc<str>,
    selector: Labels,
}

impl Policies {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.by_key.values()
    }

    /// Adds or replaces a policy as the control plane sent it. Where it has an own form, that stays in force.
    pub(super) fn insert(&mut self, policy: Authorization) {
        let policy = Arc::new(policy);
        if self.own.contains_key(&policy.key) {
            self.shadowed.insert(policy.key.clone(), policy);
        } else {
            self.put_in_force(policy);
        }
    }

    /// Removes a policy as the control plane sent it.
    pub(super) fn remove(&mut self, key: &str) {
        self.shadowed.remove(key);
        if !self.own.contains_key(key) {
            self.take_out_of_force(key);
        }
    }

    /// Puts an own form in force, in place of what the control plane sends under that key. It also counts for pods whose labels
    /// `selector` finds.
    pub(super) fn insert_own(&mut self, form: Arc<Authorization>, selector: Labels) {
        let key = form.key.clone();
        let former = self.take_out_of_force(&key);
        if let Some(sent) = former.filter(|_| !self.own.contains_key(&key)) {
            self.shadowed.insert(key.clone(), sent);
        }
        self.drop_own(&key);
        self.by_labels.insert(&form, &selector);
        self.own.insert(key, OwnForm { namespace: form.namespace.clone(), selector });
        self.put_in_force(form);
    }

    /// Removes an own form: what the control plane sends is in force again.
    pub(super) fn remove_own(&mut self, key: &str) {
        if !self.drop_own(key) {
            return;
        }
        self.take_out_of_force(key);
        if let Some(sent) = self.shadowed.remove(key) {
            self.put_in_force(sent);
        }
    }

    /// Removes the selector of an own form; false if there is none.
    fn drop_own(&mut self, key: &str) -> bool {
        let Some(OwnForm { namespace, selector }) = self.own.remove(key) else { return false };
        self.by_labels.remove(key, &namespace, &selector);
        true
    }

    fn put_in_force(&mut self, policy: Arc<Authorization>) {
        self.take_out_of_force(&policy.key);
        match policy.scope {
            PolicyScope::Global => {
                self.global.insert(policy.key.clone(), policy.clone());
            }
            PolicyScope::Namespace => {
                let of_namespace = self.by_namespace.entry(policy.namespace.clone()).or_default();
                of_namespace.insert(policy.key.clone(), policy.clone());
            }
            PolicyScope::WorkloadSelector => {}
        }
        self.by_key.insert(policy.key.clone(), policy);
    }

    fn take_out_of_force(&mut self, key: &str) -> Option<Arc<Authorization>> {
        let policy = self.by_key.remove(key)?;
        match policy.scope {
            PolicyScope::Global => {
                self.global.remove(key);
            }
            PolicyScope::Namespace => {
                if let Some(of_namespace) = self.by_namespace.get_mut(&policy.namespace) {
                    of_namespace.remove(key);
                    if of_namespace.is_empty() {
                        self.by_namespace.remove(&policy.namespace);
                    }
                }
            }
            PolicyScope::WorkloadSelector => {}
        }
        Some(policy)
    }

    /// The policies in force for a workload, each once: GLOBAL ones, those of its namespace, the selector policies that it
    /// lists, and the own forms that select its pod by its labels.
    pub(super) fn in_force<'a>(
        &'a self,
        destination: Destination<'a>,
        root_namespace: &'a str,
    ) -> impl Iterator<Item = InForce<'a>> {
        let Destination { workload, labels, .. } = destination;
        let of_namespace = self.by_namespace.get(&workload.namespace).into_iter().flat_map(ByKey::values);
        let scoped = self.global.values().chain(of_namespace).map(InForce::Policy);
        let listed = workload.authorization_policies.iter().filter_map(move |key| match self.by_key.get(key) {
            Some(policy) if by_scope(policy, workload) => None,
            Some(_) if self.is_found_by_labels(key, workload, labels, root_namespace) => None,
            Some(policy) => Some(InForce::Policy(policy)),
            None => Some(InForce::Unknown(key)),
        });
        let root = Some(root_namespace).filter(|root| *root != &*workload.namespace);
        let namespaces = [Some(&*workload.namespace), root].into_iter().flatten();
        let selected = namespaces.flat_map(move |namespace| self.by_labels.find(namespace, labels));
        scoped.chain(listed).chain(selected.map(InForce::Policy))
    }

    /// Whether a policy is among those that select a pod by its labels.
    fn is_found_by_labels(&self, key: &str, pod: &Workload, labels: &Labels, root_namespace: &str) -> bool {
        let is_here = |form: &OwnForm| form.namespace == pod.namespace || &*form.namespace == root_namespace;
        let form = self.own.get(key).filter(|form| is_here(form) && !form.selector.is_empty());
        form.is_some_and(|form| selects(&form.selector, labels))
    }
}

/// Whether a policy is in force for a workload without being listed by it.
fn by_scope(policy: &Authorization, workload: &Workload) -> bool {
    match policy.scope {
        PolicyScope::Global => true,
        PolicyScope::Namespace => policy.namespace == workload.namespace,
        PolicyScope::WorkloadSelector => false,
    }
}
