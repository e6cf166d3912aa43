//! Authorization policies by key and scope, and the decision they make together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Decision, DryRun};
use crate::model::authorization::{AccessRequest, Action, Authorization, Denied, Permit, PolicyScope, Subject};
use crate::model::peer_authentication::{Labels, selects};
use crate::model::workload::Workload;

/// Ordered by key, so that the policy a decision names never depends on the order of updates.
type ByKey = BTreeMap<Arc<str>, Arc<Authorization>>;

#[derive(Debug, Default)]
pub(super) struct Policies {
    by_key: HashMap<Arc<str>, Arc<Authorization>>,
    global: ByKey,
    by_namespace: HashMap<Arc<str>, ByKey>,
    /// Selectors of the safe forms that are in force, empty for those without one. By namespace, then by key.
    forms: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Labels>>,
    /// What the control plane sent of policies that have a safe form.
    shadowed: HashMap<Arc<str>, Arc<Authorization>>,
}

impl Policies {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.by_key.values()
    }

    /// Takes a policy as the control plane sent it. Where there is a safe form of it, that stays in force.
    pub(super) fn insert(&mut self, policy: Authorization) {
        let policy = Arc::new(policy);
        if self.has_form(&policy.key) {
            self.shadowed.insert(policy.key.clone(), policy);
        } else {
            self.put(policy);
        }
    }

    /// Forgets a policy as the control plane sent it.
    pub(super) fn remove(&mut self, key: &str) {
        self.shadowed.remove(key);
        if !self.has_form(key) {
            self.take(key);
        }
    }

    /// Puts a safe form in force, in place of what the control plane sends under that key. It also counts for pods whose
    /// labels `selector` finds.
    pub(super) fn insert_form(&mut self, form: Authorization, selector: Labels) {
        let key = form.key.clone();
        let former = self.take(&key);
        if let Some(sent) = former.filter(|_| !self.has_form(&key)) {
            self.shadowed.insert(key.clone(), sent);
        }
        self.forget_form(&key);
        self.forms.entry(form.namespace.clone()).or_default().insert(key, selector);
        self.put(Arc::new(form));
    }

    /// Ends a safe form: what the control plane sends counts again.
    pub(super) fn remove_form(&mut self, key: &str) {
        if !self.forget_form(key) {
            return;
        }
        self.take(key);
        if let Some(sent) = self.shadowed.remove(key) {
            self.put(sent);
        }
    }

    fn has_form(&self, key: &str) -> bool {
        self.forms.values().any(|forms| forms.contains_key(key))
    }

    fn forget_form(&mut self, key: &str) -> bool {
        let found = self.forms.values_mut().any(|forms| forms.remove(key).is_some());
        self.forms.retain(|_, forms| !forms.is_empty());
        found
    }

    fn put(&mut self, policy: Arc<Authorization>) {
        self.take(&policy.key);
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

    fn take(&mut self, key: &str) -> Option<Arc<Authorization>> {
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

    /// The decision about a workload of this node. `labels` are its pod's; without them the selectors of safe forms find
    /// nobody, and only what the workload lists counts.
    pub(super) fn decide(
        &self,
        destination: &Workload,
        labels: &Labels,
        root_namespace: &str,
        request: &AccessRequest,
    ) -> Decision {
        let subject = Subject::new(request);
        let mut findings = Findings::default();
        let of_namespace = self.by_namespace.get(&destination.namespace);
        for policy in self.global.values().chain(of_namespace.into_iter().flat_map(ByKey::values)) {
            findings.consider(policy, &subject);
        }
        for key in &destination.authorization_policies {
            match self.by_key.get(key) {
                Some(policy) if by_scope(policy, destination) => {}
                Some(policy) => findings.consider(policy, &subject),
                None => findings.unknown = findings.unknown.or(Some(key)),
            }
        }
        for key in self.selected(destination, labels, root_namespace) {
            if let Some(policy) = self.by_key.get(key).filter(|_| !destination.authorization_policies.contains(key)) {
                findings.consider(policy, &subject);
            }
        }
        findings.decide()
    }

    /// True where a policy is in force for a workload of this node, whatever it says.
    pub(super) fn is_any_in_force(&self, destination: &Workload, labels: &Labels, root_namespace: &str) -> bool {
        !self.global.is_empty()
            || self.by_namespace.contains_key(&destination.namespace)
            || !destination.authorization_policies.is_empty()
            || self.selected(destination, labels, root_namespace).next().is_some()
    }

    /// The safe forms that are in force for a pod by its labels.
    fn selected<'a>(
        &'a self,
        pod: &'a Workload,
        labels: &'a Labels,
        root_namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let root = Some(root_namespace).filter(|root| *root != &*pod.namespace);
        let namespaces = [Some(&*pod.namespace), root].into_iter().flatten();
        let forms = namespaces.filter_map(move |namespace| self.forms.get(namespace)).flatten();
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

/// What the policies in force say, the first of each kind.
#[derive(Debug, Default)]
struct Findings<'a> {
    denied_by: Option<&'a Arc<str>>,
    invalid: Option<(&'a Arc<str>, &'a Arc<str>)>,
    unknown: Option<&'a Arc<str>>,
    has_allow: bool,
    allowed_by: Option<&'a Arc<str>>,
    dry_run: DryRun,
    has_dry_run_allow: bool,
}

impl<'a> Findings<'a> {
    fn consider(&mut self, policy: &'a Authorization, subject: &Subject<'_>) {
        match (policy.dry_run, &policy.invalid, policy.action) {
            (false, Some(reason), _) => self.invalid = self.invalid.or(Some((&policy.key, reason))),
            (false, None, Action::Deny) => {
                if self.denied_by.is_none() && policy.matches(subject) {
                    self.denied_by = Some(&policy.key);
                }
            }
            (false, None, Action::Allow) => {
                self.has_allow = true;
                if self.allowed_by.is_none() && policy.matches(subject) {
                    self.allowed_by = Some(&policy.key);
                }
            }
            // In force, it would deny whatever its action says.
            (true, Some(_), _) => self.dry_run.would_deny.push(policy.key.clone()),
            (true, None, Action::Deny) => {
                if policy.matches(subject) {
                    self.dry_run.would_deny.push(policy.key.clone());
                }
            }
            (true, None, Action::Allow) => {
                self.has_dry_run_allow = true;
                if policy.matches(subject) {
                    self.dry_run.would_allow.push(policy.key.clone());
                }
            }
        }
    }

    fn decide(mut self) -> Decision {
        self.dry_run.no_allow_matched = self.has_dry_run_allow && self.dry_run.would_allow.is_empty();
        let outcome = if let Some(key) = self.denied_by {
            Err(Denied::ByPolicy(key.clone()))
        } else if let Some((key, reason)) = self.invalid {
            Err(Denied::InvalidPolicy { policy: key.clone(), reason: reason.clone() })
        } else if let Some(key) = self.unknown {
            Err(Denied::UnknownPolicy(key.clone()))
        } else if self.has_allow && self.allowed_by.is_none() {
            Err(Denied::NoAllowMatched)
        } else {
            Ok(Permit::by(self.allowed_by.cloned()))
        };
        Decision { outcome, dry_run: self.dry_run }
    }
}
