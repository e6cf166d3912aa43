//! L4 authorization with Istio's semantics, and [`Permit`], the proof that it was asked.
//!
//! Gathered for a destination: GLOBAL policies, those of its namespace, and the selector policies its workload lists.
//! An enforced DENY that matches denies; without any enforced ALLOW the connection is allowed; otherwise one ALLOW must
//! match. Dry-run policies are reported and decide nothing.
//!
//! This module says what a policy is and whether one matches; which policies are gathered, and the decision itself, are
//! `mesh`'s.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::identity::Identity;

mod matching;
#[cfg(test)]
mod tests;

pub(super) use matching::Subject;

/// `istio.security.Authorization`, decoded and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// `<namespace>/<name>`.
    pub key: Arc<str>,
    pub namespace: Arc<str>,
    pub scope: PolicyScope,
    pub action: Action,
    pub dry_run: bool,
    /// Any group that matches makes the policy match; none at all never does.
    pub groups: Vec<Group>,
    /// Why the policy could not be understood. It then denies everything in its scope, whatever its action says.
    pub invalid: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    Global,
    Namespace,
    /// In force for the workloads that list it.
    WorkloadSelector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
}

/// All clauses must match; a group without clauses matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    pub clauses: Vec<Clause>,
}

/// Any match suffices; a clause without matches is true.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clause {
    pub matches: Vec<Match>,
}

/// All fields that are set must hold, any value of a field suffices, no value of a `not_` field may hold.
/// A match without any field set never matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    pub namespaces: Vec<StringMatch>,
    pub not_namespaces: Vec<StringMatch>,
    pub principals: Vec<StringMatch>,
    pub not_principals: Vec<StringMatch>,
    pub source_ips: Vec<IpNet>,
    pub not_source_ips: Vec<IpNet>,
    pub destination_ips: Vec<IpNet>,
    pub not_destination_ips: Vec<IpNet>,
    pub destination_ports: Vec<u16>,
    pub not_destination_ports: Vec<u16>,
    pub service_accounts: Vec<ServiceAccountMatch>,
    pub not_service_accounts: Vec<ServiceAccountMatch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Suffix(Arc<str>),
    /// Any value that is not empty.
    Presence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    pub namespace: Arc<str>,
    pub service_account: Arc<str>,
}

/// What a connection asks for, as far as L4 policy can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// The peer's identity from its certificate; `None` for plaintext.
    pub source: Option<Identity>,
    /// The direct peer's address.
    pub source_ip: IpAddr,
    /// The pod's own address and port.
    pub destination: SocketAddr,
}

/// Proof that policy allowed a connection. Only this module and `resolve` make one; moving bytes needs a reference to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::manual_non_exhaustive, reason = "that attribute binds other crates; this must bind other modules")]
pub struct Permit {
    /// The policy that allowed it, by key; `None` where no policy spoke.
    pub policy: Option<Arc<str>>,
    _private: (),
}

impl Permit {
    pub(super) fn by(policy: Option<Arc<str>>) -> Self {
        Self { policy, _private: () }
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
