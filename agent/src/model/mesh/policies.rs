//! Authorization policies by key and scope, and the decision they make together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Decision, DryRun};
use crate::model::authorization::{AccessRequest, Action, Authorization, Denied, Permit, PolicyScope, Subject};
use crate::model::workload::Workload;

/// Ordered by key, so that the policy a decision names never depends on the order of updates.
type ByKey = BTreeMap<Arc<str>, Arc<Authorization>>;

#[derive(Debug, Default)]
pub(super) struct Policies {
    by_key: HashMap<Arc<str>, Arc<Authorization>>,
    global: ByKey,
    by_namespace: HashMap<Arc<str>, ByKey>,
}

impl Policies {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.by_key.values()
    }

    pub(super) fn insert(&mut self, policy: Authorization) {
        self.remove(&policy.key);
        let policy = Arc::new(policy);
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

    pub(super) fn remove(&mut self, key: &str) {
        let Some(policy) = self.by_key.remove(key) else { return };
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
    }

    pub(super) fn decide(&self, destination: &Workload, request: &AccessRequest) -> Decision {
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
        findings.decide()
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
