//! Whether one policy matches a request, whatever its action.

use std::net::IpAddr;

use ipnet::IpNet;

use super::policy::{Authorization, Clause, Group, Match, ServiceAccountMatch, StringMatch};
use super::principal::{Principal, TrustDomains};
use super::request::AccessRequest;
use crate::model::address::canonical_block;
use crate::model::identity::Identity;

/// A request in the form that policies compare with; made once for all policies of a decision.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    identity: Option<&'a Identity>,
    principal: Option<Principal<'a>>,
    source_ip: IpAddr,
    destination_ip: IpAddr,
    destination_port: u16,
}

impl<'a> Subject<'a> {
    pub(super) fn new(request: &'a AccessRequest, domains: TrustDomains<'a>) -> Self {
        Self {
            identity: request.source.as_ref(),
            principal: request.source.as_ref().map(|identity| Principal::new(identity, domains)),
            source_ip: request.source_ip.to_canonical(),
            destination_ip: request.destination.ip().to_canonical(),
            destination_port: request.destination.port(),
        }
    }

    /// Without an identity the namespace is the empty text, which no pattern but its own negation holds for.
    fn has_namespace(&self, pattern: &StringMatch) -> bool {
        pattern.matches(self.identity.map_or("", |identity| &identity.namespace))
    }

    /// Without an identity no principal holds, not even presence.
    fn has_principal(&self, pattern: &StringMatch) -> bool {
        self.principal.as_ref().is_some_and(|principal| principal.matches(pattern))
    }

    fn has_service_account(&self, wanted: &ServiceAccountMatch) -> bool {
        self.identity.is_some_and(|identity| {
            identity.namespace == wanted.namespace && identity.service_account == wanted.service_account
        })
    }

    fn comes_from(&self, block: &IpNet) -> bool {
        canonical_block(*block).contains(&self.source_ip)
    }

    fn goes_to(&self, block: &IpNet) -> bool {
        canonical_block(*block).contains(&self.destination_ip)
    }

    fn goes_to_port(&self, port: &u16) -> bool {
        *port == self.destination_port
    }
}

impl Authorization {
    /// Whether any group matches. Says nothing about action, dry run or validity.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        self.groups.iter().any(|group| group.matches(subject))
    }
}

impl Group {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.clauses.iter().all(|clause| clause.matches(subject))
    }
}

impl Clause {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        any_or_unset(&self.matches, |one| one.matches(subject))
    }
}

impl Match {
    /// Whether no field is set. Such a match restricts nothing, and so must not be taken for one that holds.
    fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.not_namespaces.is_empty()
            && self.principals.is_empty()
            && self.not_principals.is_empty()
            && self.source_ips.is_empty()
            && self.not_source_ips.is_empty()
            && self.destination_ips.is_empty()
            && self.not_destination_ips.is_empty()
            && self.destination_ports.is_empty()
            && self.not_destination_ports.is_empty()
            && self.service_accounts.is_empty()
            && self.not_service_accounts.is_empty()
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        !self.is_empty()
            && any_or_unset(&self.destination_ports, |port| subject.goes_to_port(port))
            && !self.not_destination_ports.iter().any(|port| subject.goes_to_port(port))
            && any_or_unset(&self.principals, |pattern| subject.has_principal(pattern))
            && !self.not_principals.iter().any(|pattern| subject.has_principal(pattern))
            && any_or_unset(&self.service_accounts, |account| subject.has_service_account(account))
            && !self.not_service_accounts.iter().any(|account| subject.has_service_account(account))
            && any_or_unset(&self.namespaces, |pattern| subject.has_namespace(pattern))
            && !self.not_namespaces.iter().any(|pattern| subject.has_namespace(pattern))
            && any_or_unset(&self.source_ips, |block| subject.comes_from(block))
            && !self.not_source_ips.iter().any(|block| subject.comes_from(block))
            && any_or_unset(&self.destination_ips, |block| subject.goes_to(block))
            && !self.not_destination_ips.iter().any(|block| subject.goes_to(block))
    }
}

impl StringMatch {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == &**exact,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Presence => !text.is_empty(),
        }
    }
}

/// A list restricts only where it has values.
fn any_or_unset<T>(values: &[T], holds: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}
