//! Which routes count for a host, a port and a source, among all objects that name the host.
//!
//! The most specific host that a visible object names decides, then how near the object is to the client, then its age. The
//! first object of which a route applies counts alone: rules of several VirtualServices are never merged.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidate::{Candidate, Nearness};
use super::gateway_order::candidates;
use super::objects::RouteObject;
use super::route::Semantics;
use super::scope::ScopeView;
use super::service_routes::ServiceRoutes;
use super::visibility::HostPattern;
use super::visibility::SourceView;

/// What routes are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// It may itself be one with a wildcard (of a ServiceEntry).
    pub(super) host: &'a str,
    /// Of the service that has the host; empty where none has.
    pub(super) namespace: &'a str,
    pub(super) port: u16,
}

/// All routes by the hosts that they are about.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    /// Oldest first.
    candidates: Vec<Candidate>,
    /// Numbers of candidates by what they name, ascending.
    by_host: HashMap<HostPattern, Vec<u32>>,
    /// The hosts with a wildcard: longest first, then by alphabet.
    wildcards: Vec<HostPattern>,
}

impl RouteTable {
    pub(super) fn new(objects: &[Arc<RouteObject>]) -> Self {
        let candidates = candidates(objects);
        let mut by_host: HashMap<HostPattern, Vec<u32>> = HashMap::new();
        for (number, candidate) in (0..).zip(&candidates) {
            for host in &candidate.hosts {
                let named = by_host.entry(host.clone()).or_default();
                if named.last() != Some(&number) {
                    named.push(number);
                }
            }
        }
        let mut wildcards: Vec<_> = by_host.keys().filter(|host| host.is_wildcard()).cloned().collect();
        wildcards.sort_unstable_by(|one, other| other.specificity().cmp(&one.specificity()));
        Self { candidates, by_host, wildcards }
    }

    pub(super) fn routes(
        &self,
        source: SourceView<'_>,
        scope: &ScopeView<'_>,
        asked: Asked<'_>,
    ) -> Option<Arc<ServiceRoutes>> {
        if self.candidates.is_empty() {
            return None;
        }
        let exact = self.of_host(source, scope, asked, asked.host);
        let covering = || {
            let covering = self.wildcards.iter().filter(|wildcard| *wildcard.text() != *asked.host);
            covering.filter(|wildcard| wildcard.covers(asked.host))
        };
        exact.or_else(|| covering().find_map(|wildcard| self.of_host(source, scope, asked, wildcard.text())))?
    }

    /// The routes of the first object that counts among those that name this very `host`; `None` where the source sees none
    /// of them, and `Some(None)` where no route of those applies.
    fn of_host(
        &self,
        source: SourceView<'_>,
        scope: &ScopeView<'_>,
        asked: Asked<'_>,
        host: &str,
    ) -> Option<Option<Arc<ServiceRoutes>>> {
        let named = self.by_host.get(host)?;
        let is_exact = *host == *asked.host;
        let mut is_seen = false;
        for nearness in Nearness::ALL {
            for candidate in named.iter().map(|number| &self.candidates[*number as usize]) {
                // Hosts of routes of the Gateway API are those of services: they do not stand for others.
                let may_count = is_exact || candidate.semantics == Semantics::VirtualService;
                let is_near = candidate.nearness(source.namespace, asked.namespace) == Some(nearness);
                let Candidate { namespace, hosts, semantics, .. } = candidate;
                if !may_count || !is_near || !scope.imports_routes(namespace, hosts, *semantics, asked.port) {
                    continue;
                }
                is_seen = true;
                if let Some(routes) = candidate.routes_for(source, asked.port) {
                    return Some(Some(routes));
                }
            }
        }
        is_seen.then_some(None)
    }
}
