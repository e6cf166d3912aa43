//! Routes of the Gateway API for one service: which objects make one list, and the order of their routes.
//!
//! Objects of one namespace for one host and one port of the parent (or none) are one list. A more specific match comes first,
//! whichever object it is from (Gateway API, `HTTPRouteRule.matches`); of equal ones the older object's.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::candidate::Candidate;
use super::objects::RouteObject;
use super::route::{Applicability, PathMatch, Route, Semantics};
use super::visibility::HostPattern;

/// What objects of one list agree in: their namespace, and the namespace, host and port of the parent.
type Key<'a> = (&'a str, Option<&'a str>, &'a HostPattern, Option<u16>);

/// Makes a list of the objects, oldest first, for each host: all of one list in the place of the oldest.
pub(super) fn candidates(objects: &[Arc<RouteObject>]) -> Vec<Candidate> {
    let mut all: Vec<Draft<'_>> = Vec::new();
    let mut merged: HashMap<Key<'_>, usize> = HashMap::new();
    for object in objects {
        let routes: Vec<_> = object.routes.iter().map(|route| at_port(route, object.parent_port)).collect();
        if object.semantics == Semantics::VirtualService {
            all.push(Draft { object, hosts: object.hosts.clone(), routes });
            continue;
        }
        for host in &object.hosts {
            let key = (&*object.origin.namespace, object.parent_namespace.as_deref(), host, object.parent_port);
            let at = *merged.entry(key).or_insert_with(|| {
                all.push(Draft { object, hosts: vec![host.clone()], routes: Vec::new() });
                all.len() - 1
            });
            all[at].routes.extend(routes.iter().cloned());
        }
    }
    all.into_iter().map(Draft::finished).collect()
}

/// A list that is not complete yet.
struct Draft<'a> {
    /// The oldest of its objects.
    object: &'a RouteObject,
    hosts: Vec<HostPattern>,
    routes: Vec<Arc<Route>>,
}

impl Draft<'_> {
    fn finished(mut self) -> Candidate {
        if self.object.semantics == Semantics::GatewayApi {
            // The sort keeps the order of equal ones.
            self.routes.sort_by_key(|route| Reverse(specificity(route)));
        }
        let mut candidate = Candidate::new(self.object.semantics, &self.object.origin.namespace, self.routes);
        candidate.parent_namespace.clone_from(&self.object.parent_namespace);
        candidate.exported_to = self.object.exported_to.clone();
        candidate.hosts = self.hosts;
        candidate
    }
}

/// The same route, for one port where there is one.
fn at_port(route: &Arc<Route>, port: Option<u16>) -> Arc<Route> {
    if port.is_none() || port == route.applies.port {
        return route.clone();
    }
    Arc::new(Route { applies: Applicability { port, ..route.applies.clone() }, ..Route::clone(route) })
}

/// Greater is more specific: the kind of path, its length, a method, the number of fields and of parameters.
fn specificity(route: &Route) -> (u8, usize, bool, usize, usize) {
    let matches = &route.matches;
    let (kind, length) = match &matches.path {
        PathMatch::Exact(text) => (3, text.len()),
        PathMatch::Prefix(text) | PathMatch::SegmentPrefix(text) => (2, text.len()),
        PathMatch::Regex(pattern) => (1, pattern.source().len()),
        PathMatch::Any => (0, 0),
    };
    (kind, length, matches.method.is_some(), matches.fields.len(), matches.query.len())
}
