//! An authorization policy: its scope, its action, and the rules that it matches connections and requests with.

use std::sync::Arc;

use ipnet::IpNet;

use super::condition::RequestCondition;
use super::string_match::StringMatch;

/// A policy as a control plane's `istio.security.Authorization` has it, or as its author wrote it, with what it asks of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// `<namespace>/<name>`.
    pub key: Arc<str>,
    pub namespace: Arc<str>,
    pub scope: PolicyScope,
    pub action: Action,
    pub dry_run: bool,
    /// The external authorizer of a CUSTOM policy, by the name of its provider in MeshConfig; empty for other actions.
    pub provider: Arc<str>,
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
    /// What it matches is marked, and decided as if the policy were not there.
    Audit,
    /// What it matches needs the answer of an external authorizer.
    Custom,
}

impl Action {
    /// Whether the policy lets through what it matches. Others close, or mark, and so must not match too little where a part of
    /// them cannot be decided.
    #[must_use]
    pub fn is_allow(self) -> bool {
        self == Self::Allow
    }
}

/// All clauses must match; a group without clauses matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The position among the policy's `rules` of the one that it is of; of a policy that came without them, its own.
    pub rule: usize,
    pub clauses: Vec<Clause>,
}

impl Group {
    /// Whether it asks for something that only a request of HTTP has.
    #[must_use]
    pub fn needs_http(&self) -> bool {
        let mut conditions = self.clauses.iter().flat_map(|clause| &clause.matches).flat_map(|one| &one.request);
        conditions.any(|condition| !condition.is_about_tcp())
    }
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
    /// What is asked of a request; all must hold.
    pub request: Vec<RequestCondition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    pub namespace: Arc<str>,
    pub service_account: Arc<str>,
}
