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
use super::standing::{ObjectStanding, Standing};
use super::visibility::HostPattern;
use super::visibility::SourceView;

/// What routes are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct RouteLookup<'a> {
    /// It may itself be one with a wildcard (of a ServiceEntry).
    pub(super) host: &'a str,
    /// Of the service that has the host; empty where none has.
    pub(super) namespace: &'a str,
    pub(super) port: u16,
}

/// All routes by the hosts that they are about.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    /// What it was made of.
    objects: Vec<Arc<RouteObject>>,
    /// Oldest first.
    candidates: Vec<Arc<Candidate>>,
    /// Numbers of candidates by what they name, ascending.
    by_host: HashMap<HostPattern, Vec<u32>>,
    /// The hosts with a wildcard: longest first, then by alphabet.
    wildcards: Vec<HostPattern>,
}

impl RouteTable {
    /// From objects, oldest first. What objects that were there before come to is taken from `former`.
    pub(super) fn following(former: &Arc<Self>, objects: Vec<Arc<RouteObject>>) -> Arc<Self> {
        if are_same(&former.objects, &objects) {
            return former.clone();
        }
        let candidates = candidates(&objects, &former.candidates);
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
        Arc::new(Self { objects, candidates, by_host, wildcards })
    }

    pub(super) fn routes(
        &self,
        source: SourceView<'_>,
        scope: &ScopeView<'_>,
        asked: RouteLookup<'_>,
    ) -> Option<Arc<ServiceRoutes>> {
        if self.candidates.is_empty() {
            return None;
        }
        self.hosts(asked).find_map(|host| self.of_host(source, scope, asked, host))?
    }

    /// All objects that name the host, best first, and why each of them counts or does not.
    pub(super) fn about(
        &self,
        source: SourceView<'_>,
        scope: &ScopeView<'_>,
        asked: RouteLookup<'_>,
    ) -> Vec<ObjectStanding> {
        let mut about = Vec::new();
        let mut is_decided = false;
        for host in self.hosts(asked) {
            let mut is_seen = false;
            let mut add = |candidate: &Candidate, standing| {
                let (origins, left_out) = (candidate.origins(), candidate.left_out(source, asked.port));
                about.push(ObjectStanding { origins, host: host.into(), standing, left_out });
            };
            for candidate in self.near(source, asked, host) {
                let is_imported =
                    scope.imports_routes(&candidate.namespace, &candidate.hosts, candidate.semantics, asked.port);
                let standing = match is_imported {
                    false => Standing::NotImported,
                    true if is_decided => Standing::Overridden,
                    true if candidate.routes_for(source, asked.port).is_none() => Standing::NoRouteApplies,
                    true => Standing::Counts,
                };
                is_seen |= is_imported;
                is_decided |= standing == Standing::Counts;
                add(candidate, standing);
            }
            for candidate in self.named(asked, host) {
                if candidate.nearness(source.namespace, asked.namespace).is_none() {
                    add(candidate, Standing::NotExported);
                }
            }
            is_decided |= is_seen;
        }
        about
    }

    /// The host itself, then what stands for it, most specific first.
    fn hosts<'a>(&'a self, asked: RouteLookup<'a>) -> impl Iterator<Item = &'a str> {
        let covering = self.wildcards.iter().filter(move |wildcard| *wildcard.text() != *asked.host);
        let covering = covering.filter(move |wildcard| wildcard.covers(asked.host));
        std::iter::once(asked.host).chain(covering.map(HostPattern::text))
    }

    /// The objects that name this very `host`, oldest first, where they may be about the host that is asked for: hosts of routes
    /// of the Gateway API are those of services, and do not stand for others.
    fn named<'a>(&'a self, asked: RouteLookup<'a>, host: &'a str) -> impl Iterator<Item = &'a Candidate> {
        let named = self.by_host.get(host).into_iter().flatten();
        let candidates = named.map(|number| &*self.candidates[*number as usize]);
        let is_exact = *host == *asked.host;
        candidates.filter(move |candidate| is_exact || candidate.semantics == Semantics::VirtualService)
    }

    /// Those of them that are for the source's namespace, nearest first.
    fn near<'a>(
        &'a self,
        source: SourceView<'a>,
        asked: RouteLookup<'a>,
        host: &'a str,
    ) -> impl Iterator<Item = &'a Candidate> {
        Nearness::ALL.into_iter().flat_map(move |nearness| {
            let is_near =
                move |candidate: &&Candidate| candidate.nearness(source.namespace, asked.namespace) == Some(nearness);
            self.named(asked, host).filter(is_near)
        })
    }

    /// The routes of the first object that counts among those that name this very `host`; `None` where the source sees none
    /// of them, and `Some(None)` where no route of those applies.
    fn of_host(
        &self,
        source: SourceView<'_>,
        scope: &ScopeView<'_>,
        asked: RouteLookup<'_>,
        host: &str,
    ) -> Option<Option<Arc<ServiceRoutes>>> {
        let mut is_seen = false;
        for candidate in self.near(source, asked, host) {
            let Candidate { namespace, hosts, semantics, .. } = candidate;
            if !scope.imports_routes(namespace, hosts, *semantics, asked.port) {
                continue;
            }
            is_seen = true;
            if let Some(routes) = candidate.routes_for(source, asked.port) {
                return Some(Some(routes));
            }
        }
        is_seen.then_some(None)
    }
}

/// Whether all objects are the very same.
pub(super) fn are_same<T>(ones: &[Arc<T>], others: &[Arc<T>]) -> bool {
    ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}
