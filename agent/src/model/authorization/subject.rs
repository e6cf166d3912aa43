//! What a decision is about, in the form that policies compare with; made once for all policies of a decision.

use std::cell::OnceCell;
use std::net::IpAddr;

use ipnet::IpNet;

use super::claims::Claims;
use super::condition::{HeaderName, Values};
use super::group::ServiceAccountMatch;
use super::path_match::PathMatch;
use super::path_readings::other_readings;
use super::principal::{Principal, TrustDomains};
use super::request::{AccessRequest, HttpRequest};
use super::rule_filter::Probe;
use super::string_match::StringMatch;
use crate::model::address::canonical_block;
use crate::model::identity::Identity;

/// What is known of what the connection carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// Nothing yet: it may be HTTP.
    Unread,
    /// It is not HTTP, or nobody reads it.
    Bytes,
    Request(&'a HttpRequest<'a>),
    /// One whose fields may yet change, and whose claims are not known: external authorizers and the verification of its token
    /// come first. Nobody changes its method, its path and its host.
    Unsettled(&'a HttpRequest<'a>),
}

impl<'a> Content<'a> {
    fn request(self) -> Option<&'a HttpRequest<'a>> {
        match self {
            Self::Request(request) | Self::Unsettled(request) => Some(request),
            Self::Unread | Self::Bytes => None,
        }
    }
}

/// A connection, and what it carries.
#[derive(Debug)]
pub(in crate::model) struct Subject<'a> {
    identity: Option<&'a Identity>,
    domains: TrustDomains<'a>,
    principal: Option<Principal<'a>>,
    source_ip: IpAddr,
    destination_ip: IpAddr,
    destination_port: u16,
    pub(super) content: Content<'a>,
    /// Of the request; empty without one.
    path: &'a [u8],
    /// The other ways in which servers may read it.
    readings: OnceCell<Vec<Vec<u8>>>,
    remote_ip: OnceCell<IpAddr>,
    probe: OnceCell<Probe<'a>>,
}

impl<'a> Subject<'a> {
    /// A request that a connection carries.
    pub(in crate::model) fn of_request(
        request: &'a AccessRequest,
        domains: TrustDomains<'a>,
        http: &'a HttpRequest<'a>,
    ) -> Self {
        Self::new(request, domains, Content::Request(http))
    }

    pub(super) fn new(request: &'a AccessRequest, domains: TrustDomains<'a>, content: Content<'a>) -> Self {
        Self {
            identity: request.source.as_ref(),
            domains,
            principal: request.source.as_ref().map(|identity| Principal::new(identity, domains)),
            source_ip: request.source_ip.to_canonical(),
            destination_ip: request.destination.ip().to_canonical(),
            destination_port: request.destination.port(),
            content,
            path: content.request().map_or(&[], |request| request.head.path()),
            readings: OnceCell::new(),
            remote_ip: OnceCell::new(),
            probe: OnceCell::new(),
        }
    }

    /// The same, as filters over rules compare with it.
    pub(super) fn probe(&self) -> &Probe<'a> {
        self.probe.get_or_init(|| {
            let request = self.content.request().map(|request| (&*request.head.method, self.path));
            Probe::new(self.identity, self.domains, request)
        })
    }

    /// Without an identity the namespace is the empty text, which no pattern but its own negation holds for.
    pub(super) fn has_namespace(&self, pattern: &StringMatch) -> bool {
        pattern.matches(self.identity.map_or("", |identity| &identity.namespace).as_bytes())
    }

    /// Without an identity no principal holds, not even presence.
    pub(super) fn has_principal(&self, pattern: &StringMatch) -> bool {
        self.principal.is_some_and(|principal| principal.matches(pattern))
    }

    pub(super) fn has_service_account(&self, wanted: &ServiceAccountMatch) -> bool {
        self.identity.is_some_and(|identity| {
            identity.namespace == wanted.namespace && identity.service_account == wanted.service_account
        })
    }

    pub(super) fn comes_from(&self, block: &IpNet) -> bool {
        canonical_block(*block).contains(&self.source_ip)
    }

    pub(super) fn goes_to(&self, block: &IpNet) -> bool {
        canonical_block(*block).contains(&self.destination_ip)
    }

    pub(super) fn goes_to_port(&self, port: u16) -> bool {
        port == self.destination_port
    }

    /// Whether the address is in the block that Envoy derives in a sidecar: the last one of `x-forwarded-for`, else the peer's.
    pub(super) fn has_remote_ip(&self, block: &IpNet) -> bool {
        let forwarded = || self.content.request().and_then(last_forwarded_for);
        let remote_ip = self.remote_ip.get_or_init(|| forwarded().unwrap_or(self.source_ip));
        canonical_block(*block).contains(remote_ip)
    }

    /// Whether a condition on the path holds: for the path as it is and, of a policy that opens (`for_all`), for all other readings of
    /// it; of others for any. A value that could itself be read in more than one way says how it is spelt.
    pub(super) fn has_path(&self, paths: &Values<PathMatch>, for_all: bool) -> bool {
        let as_it_is = |wanted: &PathMatch| wanted.matches(self.path);
        let holds = paths.hold(as_it_is);
        if holds != for_all {
            return holds;
        }
        let mut readings = self.readings.get_or_init(|| other_readings(self.path)).iter();
        let holds_for = |reading: &Vec<u8>| {
            paths.hold(|wanted| wanted.matches(reading) || (wanted.is_ambiguous() && as_it_is(wanted)))
        };
        if for_all { readings.all(holds_for) } else { readings.any(holds_for) }
    }
}

impl HttpRequest<'_> {
    /// Whether there is a value of the field, of which each is looked at by itself, that the pattern matches. `*` asks only that
    /// there is one.
    pub(super) fn has_header(&self, name: &HeaderName, pattern: &StringMatch) -> bool {
        let is = |value: &[u8]| *pattern == StringMatch::Presence || pattern.matches(value);
        let is_there = |value: &[u8]| !value.is_empty() && is(value);
        match name {
            HeaderName::Field(name) => self.head.fields.values(name).any(is),
            HeaderName::Authority => is_there(&self.head.authority),
            HeaderName::Method => is_there(&self.head.method),
            HeaderName::Path => is_there(&self.head.target),
            HeaderName::Scheme => is(self.head.scheme.text().as_bytes()),
            HeaderName::Upgrade => self.head.upgrade.as_deref().is_some_and(is),
        }
    }

    pub(super) fn has_host(&self, pattern: &StringMatch) -> bool {
        !self.head.authority.is_empty() && pattern.matches_in_any_case(&self.head.authority)
    }
}

/// Issuer and subject of a token, where it has both.
pub(super) fn issuer_and_subject(claims: &Claims) -> Option<(&str, &str)> {
    Some((claims.text("iss")?, claims.text("sub")?))
}

fn last_forwarded_for(request: &HttpRequest<'_>) -> Option<IpAddr> {
    let last = request.head.fields.values("x-forwarded-for").last()?;
    let address = last.rsplit(|byte| *byte == b',').next()?.trim_ascii();
    std::str::from_utf8(address).ok()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
