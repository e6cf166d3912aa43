//! Whether one policy matches, whatever its action.
//!
//! Of a connection whose content is unread, that may depend on the request. For one that does not carry HTTP, Istio's TCP rules
//! hold: a rule of an ALLOW policy that needs HTTP allows nothing, and other policies match without what needs HTTP, which
//! closes more.

use super::condition::RequestCondition;
use super::group::{Clause, Group, Match};
use super::policy::Authorization;
use super::request::HttpRequest;
use super::subject::{Content, Subject, issuer_and_subject};
use super::truth::Truth;

/// Whether a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    No,
    /// That depends on the request.
    Maybe,
    /// Its rule at this position does.
    Rule(usize),
}

/// How one policy reads what a decision is about.
#[derive(Debug, Clone, Copy)]
struct Reading<'s, 'a> {
    subject: &'s Subject<'a>,
    is_allow: bool,
}

impl Authorization {
    /// Whether any group matches, and the first that does. Says nothing about dry run or validity.
    pub(super) fn matching(&self, subject: &Subject<'_>) -> Matched {
        self.first_of(self.groups.candidates(subject.probe(), self.action.is_allow()), subject)
    }

    /// The first of these groups that matches.
    fn first_of<'g>(&self, groups: impl Iterator<Item = &'g Group>, subject: &Subject<'_>) -> Matched {
        let reading = Reading { subject, is_allow: self.action.is_allow() };
        let mut matched = Matched::No;
        for group in groups {
            match group.holds(reading) {
                Truth::Yes => return Matched::Rule(group.rule),
                Truth::Maybe => matched = Matched::Maybe,
                Truth::No => {}
            }
        }
        matched
    }

    /// The same as [`Self::matching`], with every group looked at.
    #[cfg(test)]
    pub(super) fn matching_of_all(&self, subject: &Subject<'_>) -> Matched {
        self.first_of(self.groups.iter(), subject)
    }
}

impl Subject<'_> {
    /// Whether any of these groups matches, as they do in a policy that closes something.
    pub(in crate::model) fn matches_any(&self, groups: &[Group]) -> bool {
        let reading = Reading { subject: self, is_allow: false };
        groups.iter().any(|group| group.holds(reading) == Truth::Yes)
    }
}

impl Group {
    fn holds(&self, reading: Reading<'_, '_>) -> Truth {
        if matches!(reading.subject.content, Content::Bytes) && reading.is_allow && self.needs_http() {
            return Truth::No;
        }
        Truth::all(self.clauses.iter().map(|clause| clause.holds(reading)))
    }
}

impl Clause {
    fn holds(&self, reading: Reading<'_, '_>) -> Truth {
        if self.matches.is_empty() {
            return Truth::Yes;
        }
        Truth::any(self.matches.iter().map(|one| one.holds(reading)))
    }
}

impl Match {
    /// Whether it asks for nothing of the connection.
    #[must_use]
    pub fn asks_no_connection(&self) -> bool {
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

    /// A match that asks for nothing restricts nothing, and so must not be taken for one that holds.
    fn holds(&self, reading: Reading<'_, '_>) -> Truth {
        if self.request.is_empty() && self.asks_no_connection() {
            return Truth::No;
        }
        if !self.holds_for_connection(reading.subject) {
            return Truth::No;
        }
        Truth::all(self.request.iter().map(|condition| condition.holds(reading)))
    }

    fn holds_for_connection(&self, subject: &Subject<'_>) -> bool {
        any_or_unset(&self.destination_ports, |port| subject.goes_to_port(*port))
            && !self.not_destination_ports.iter().any(|port| subject.goes_to_port(*port))
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

impl RequestCondition {
    fn holds(&self, reading: Reading<'_, '_>) -> Truth {
        match (reading.subject.content, self) {
            (_, Self::Unseen) => Truth::from(!reading.is_allow),
            (Content::Bytes, Self::RemoteIp(blocks)) => {
                Truth::from(blocks.hold(|block| reading.subject.has_remote_ip(block)))
            }
            (Content::Bytes, _) => Truth::from(!reading.is_allow),
            (Content::Unread, _) => Truth::Maybe,
            (Content::Unsettled(_), condition) if condition.may_change() => Truth::Maybe,
            (Content::Unsettled(request) | Content::Request(request), _) => {
                Truth::from(self.holds_for_request(request, reading))
            }
        }
    }

    /// Whether it is about something that external authorizers, or the verification of a token, may change.
    fn may_change(&self) -> bool {
        match self {
            Self::Header { .. } | Self::RequestPrincipal(_) | Self::Claim { .. } | Self::RemoteIp(_) => true,
            Self::Method(_) | Self::Path(_) | Self::Host(_) | Self::Unseen => false,
        }
    }

    fn holds_for_request(&self, request: &HttpRequest<'_>, reading: Reading<'_, '_>) -> bool {
        let (subject, claims) = (reading.subject, request.claims);
        match self {
            Self::Method(methods) => methods.hold(|method| method.matches(&request.head.method)),
            Self::Path(paths) => subject.has_path(paths, reading.is_allow),
            Self::Host(hosts) => hosts.hold(|host| request.has_host(host)),
            Self::Header { name, values } => values.hold(|value| request.has_header(name, value)),
            Self::RemoteIp(blocks) => blocks.hold(|block| subject.has_remote_ip(block)),
            Self::RequestPrincipal(principals) => {
                let principal = claims.and_then(issuer_and_subject);
                principals.hold(|wanted| {
                    principal.is_some_and(|(issuer, subject)| {
                        wanted.issuer.matches(issuer.as_bytes()) && wanted.subject.matches(subject.as_bytes())
                    })
                })
            }
            Self::Claim { path, values } => values.hold(|value| {
                claims.is_some_and(|claims| claims.any_text(path, |text| value.matches(text.as_bytes())))
            }),
            Self::Unseen => !reading.is_allow,
        }
    }
}

/// A list restricts only where it has values.
fn any_or_unset<T>(values: &[T], holds: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}
