//! What one rule of a policy asks for, in the shape of `istio.security.Authorization`: groups of clauses of matches.

use std::sync::Arc;

use ipnet::IpNet;

use super::condition::RequestCondition;
use super::string_match::StringMatch;

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
