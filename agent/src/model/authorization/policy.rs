//! An L4 authorization policy: its scope, its action, and the rules that it matches connections with.

use std::sync::Arc;

use ipnet::IpNet;

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

impl StringMatch {
    /// What a string with Istio's stars asks for. A star at the beginning is looked for first: `*x*` is the suffix `x*`.
    #[must_use]
    pub fn written(text: &str) -> Self {
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("*", _, _) => Self::Presence,
            (_, Some(suffix), _) => Self::Suffix(suffix.into()),
            (_, None, Some(prefix)) => Self::Prefix(prefix.into()),
            (exact, None, None) => Self::Exact(exact.into()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    pub namespace: Arc<str>,
    pub service_account: Arc<str>,
}
