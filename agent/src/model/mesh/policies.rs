//! Authorization policies by key and scope, and which of them are in force for a workload.
//!
//! A policy may have a *fail-closed form*. The control plane translates a policy with HTTP conditions to L4 and leaves out
//! what L4 cannot express, which may let through more than the policy's author allowed. Where the agent also has the policy
//! as it is written, it derives a form of its own that never does, and enforces that in place of the control plane's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
    /// Selectors of the fail-closed forms, empty for those without one. By namespace, then by key.
    fail_closed: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Labels>>,
    /// The namespace of each fail-closed form, by key.
    fail_closed_in: HashMap<Arc<str>, Arc<str>>,
    /// What the control plane sent of policies that have a fail-closed form.
    shadowed: HashMap<Arc<str>, Arc<Authorization>>,
}

impl Policies {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.by_key.values()
    }

    /// Adds or replaces a policy as the control plane sent it. Where it has a fail-closed form, that stays in force.
    pub(super) fn insert(&mut self, policy: Authorization) {
        let policy = Arc::new(policy);
        if self.has_fail_closed(&policy.key) {
            self.shadowed.insert(policy.key.clone(), policy);
        } else {
            self.put_in_force(policy);
        }
    }

    /// Removes a policy as the control plane sent it.
    pub(super) fn remove(&mut self, key: &str) {
        self.shadowed.remove(key);
        if !self.has_fail_closed(key) {
            self.take_out_of_force(key);
        }
    }

    /// Puts a fail-closed form in force, in place of what the control plane sends under that key. It also counts for pods whose
    /// labels `selector` finds.
    pub(super) fn insert_fail_closed(&mut self, form: Authorization, selector: Labels) {
        let key = form.key.clone();
        let former = self.take_out_of_force(&key);
        if let Some(sent) = former.filter(|_| !self.has_fail_closed(&key)) {
            self.shadowed.insert(key.clone(), sent);
        }
        self.drop_fail_closed(&key);
        self.fail_closed_in.insert(key.clone(), form.namespace.clone());
        self.fail_closed.entry(form.namespace.clone()).or_default().insert(key, selector);
        self.put_in_force(Arc::new(form));
    }

    /// Removes a fail-closed form: what the control plane sends is in force again.
    pub(super) fn remove_fail_closed(&mut self, key: &str) {
        if !self.drop_fail_closed(key) {
            return;
        }
        self.take_out_of_force(key);
        if let Some(sent) = self.shadowed.remove(key) {
            self.put_in_force(sent);
        }
    }

    fn has_fail_closed(&self, key: &str) -> bool {
        self.fail_closed_in.contains_key(key)
    }

    /// Removes the selector of a fail-closed form; false if there is none.
    fn drop_fail_closed(&mut self, key: &str) -> bool {
        let Some(namespace) = self.fail_closed_in.remove(key) else { return false };
        if let Some(forms) = self.fail_closed.get_mut(&namespace) {
            forms.remove(key);
            if forms.is_empty() {
                self.fail_closed.remove(&namespace);
            }
        }
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
    /// lists, and the fail-closed forms that select its pod by its labels.
    pub(super) fn in_force<'a>(
        &'a self,
        destination: Destination<'a>,
        root_namespace: &'a str,
    ) -> impl Iterator<Item = InForce<'a>> {
        let Destination { workload, labels, .. } = destination;
        let of_namespace = self.by_namespace.get(&workload.namespace).into_iter().flat_map(ByKey::values);
        let scoped = self.global.values().chain(of_namespace).map(|policy| InForce::Policy(policy));
        let listed = workload.authorization_policies.iter().filter_map(|key| match self.by_key.get(key) {
            Some(policy) if by_scope(policy, workload) => None,
            Some(policy) => Some(InForce::Policy(policy)),
            None => Some(InForce::Unknown(key)),
        });
        let selected = self.selected(workload, labels, root_namespace);
        let selected = selected.filter(|key| !workload.authorization_policies.contains(key));
        let selected = selected.filter_map(|key| self.by_key.get(key)).map(|policy| InForce::Policy(policy));
        scoped.chain(listed).chain(selected)
    }

    /// The fail-closed forms that select a pod by its labels.
    fn selected<'a>(
        &'a self,
        pod: &'a Workload,
        labels: &'a Labels,
        root_namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let root = Some(root_namespace).filter(|root| *root != &*pod.namespace);
        let namespaces = [Some(&*pod.namespace), root].into_iter().flatten();
        let forms = namespaces.filter_map(move |namespace| self.fail_closed.get(namespace)).flatten();
        forms.filter(move |(_, selector)| selects(selector, labels)).map(|(key, _)| key)
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
