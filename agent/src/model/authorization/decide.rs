//! The decision whether a connection may reach a workload of this node, and [`Permit`], the proof that it was taken.
//!
//! Istio's order holds: an enforced DENY policy that matches denies; without any enforced ALLOW policy the connection is
//! allowed; otherwise one ALLOW policy must match. Dry-run policies are reported and decide nothing. The decision fails
//! closed: a policy that cannot be understood denies, and so does one that the workload lists and the agent does not have.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::matching::Subject;
use super::policy::{Action, Authorization};
use super::principal::TrustDomains;
use super::request::{AccessRequest, Destination, InForce};
use crate::model::identity::Identity;
use crate::model::workload::TunnelProtocol;

/// Proof that policy allowed a connection, and which: from this source, to this address of this workload.
///
/// Only this file makes one (fields and constructor are private). The proxy opens a connection to an application from a
/// permit, and to no other address than [`Permit::destination`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    request: AccessRequest,
    workload: Arc<str>,
    policy: Option<Arc<str>>,
}

impl Permit {
    fn new(destination: &Destination<'_>, request: &AccessRequest, policy: Option<&Arc<str>>) -> Self {
        Self { request: request.clone(), workload: destination.workload.uid.clone(), policy: policy.cloned() }
    }

    /// The client's identity from its certificate; `None` where plaintext is permitted.
    #[must_use]
    pub fn source(&self) -> Option<&Identity> {
        self.request.source.as_ref()
    }

    /// The direct peer's address.
    #[must_use]
    pub fn source_ip(&self) -> IpAddr {
        self.request.source_ip
    }

    /// The pod's address and port that may be reached.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.request.destination
    }

    /// The uid of the workload that may be reached.
    #[must_use]
    pub fn workload(&self) -> &Arc<str> {
        &self.workload
    }

    /// The ALLOW policy that matched, by key; `None` where no ALLOW policy is in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.policy.as_ref()
    }
}

/// Why policy refused a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("denied by policy {0}")]
    ByPolicy(Arc<str>),
    #[error("not matched by any of the ALLOW policies in force")]
    NoAllowMatched,
    #[error("policy {policy} cannot be understood ({reason}) and denies its scope")]
    InvalidPolicy { policy: Arc<str>, reason: Arc<str> },
    #[error("policy {0} is in force for the workload but not known")]
    UnknownPolicy(Arc<str>),
    #[error("policy {0} may be about the pod, which the mesh does not know yet: whom it selects is not known")]
    UnknownSelector(Arc<str>),
}

/// What policy says about one connection, and what dry-run policies would have said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Result<Permit, Denied>,
    pub dry_run: DryRun,
}

/// What policies with `istio.io/dry-run` would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DryRun {
    /// DENY policies that match, and policies that cannot be understood.
    pub would_deny: Vec<Arc<str>>,
    /// ALLOW policies that match.
    pub would_allow: Vec<Arc<str>>,
    /// There are dry-run ALLOW policies and none of them matches.
    pub no_allow_matched: bool,
}

/// Decides over the policies in force, each of which `in_force` must yield once.
///
/// A workload that is leaving, and that the mesh itself no longer has inside, is reached by everybody in plaintext: no
/// policy holds for it any more, although its capture has not ended.
pub(in crate::model) fn decide<'a>(
    destination: &Destination<'_>,
    request: &AccessRequest,
    domains: TrustDomains<'_>,
    in_force: impl Iterator<Item = InForce<'a>>,
) -> Verdict {
    if destination.is_leaving && destination.workload.protocol == TunnelProtocol::None {
        return Verdict { outcome: Ok(Permit::new(destination, request, None)), dry_run: DryRun::default() };
    }
    let subject = Subject::new(request, domains);
    let mut findings = Findings::default();
    for entry in in_force {
        match entry {
            InForce::Policy(policy) => findings.consider(policy, &subject),
            InForce::Unknown(key) => findings.unknown = findings.unknown.or(Some(key)),
        }
    }
    let outcome = findings.outcome().map(|policy| Permit::new(destination, request, policy));
    Verdict { outcome, dry_run: findings.dry_run() }
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

    /// The policy that allows the connection, `None` where none has to; or why it is denied.
    fn outcome(&self) -> Result<Option<&'a Arc<str>>, Denied> {
        if let Some(key) = self.denied_by {
            Err(Denied::ByPolicy(key.clone()))
        } else if let Some((key, reason)) = self.invalid {
            Err(Denied::InvalidPolicy { policy: key.clone(), reason: reason.clone() })
        } else if let Some(key) = self.unknown {
            Err(Denied::UnknownPolicy(key.clone()))
        } else if self.has_allow && self.allowed_by.is_none() {
            Err(Denied::NoAllowMatched)
        } else {
            Ok(self.allowed_by)
        }
    }

    fn dry_run(mut self) -> DryRun {
        self.dry_run.no_allow_matched = self.has_dry_run_allow && self.dry_run.would_allow.is_empty();
        self.dry_run
    }
}
