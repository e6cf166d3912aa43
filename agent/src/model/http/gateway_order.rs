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

/// Makes a list of each VirtualService, and of the other objects one for each host: all of one list in the place of the oldest. The
/// objects are sorted, oldest first. A VirtualService that `former` has a list of keeps it, with what is known of it.
pub(super) fn candidates(objects: &[Arc<RouteObject>], former: &[Arc<Candidate>]) -> Vec<Arc<Candidate>> {
    let known: HashMap<*const RouteObject, &Arc<Candidate>> =
        former.iter().filter_map(|candidate| Some((Arc::as_ptr(candidate.object.as_ref()?), candidate))).collect();
    let mut all: Vec<Draft<'_>> = Vec::new();
    let mut merged: HashMap<Key<'_>, usize> = HashMap::new();
    for object in objects {
        if object.semantics == Semantics::VirtualService {
            let known = known.get(&Arc::as_ptr(object)).map(|kept| Arc::clone(kept));
            all.push(Draft::Finished(known.unwrap_or_else(|| Arc::new(Candidate::of_virtual_service(object)))));
            continue;
        }
        let routes: Vec<_> = object.routes.iter().map(|route| at_port(route, object.parent_port)).collect();
        for host in &object.hosts {
            let key = (&*object.origin.namespace, object.parent_namespace.as_deref(), host, object.parent_port);
            let at = *merged.entry(key).or_insert_with(|| {
                all.push(Draft::Merging { oldest: object, host: host.clone(), routes: Vec::new() });
                all.len() - 1
            });
            if let Draft::Merging { routes: merged, .. } = &mut all[at] {
                merged.extend(routes.iter().cloned());
            }
        }
    }
    all.into_iter().map(Draft::finished).collect()
}

/// A list in its place.
enum Draft<'a> {
    Finished(Arc<Candidate>),
    /// Of routes of the Gateway API for one host; more may come.
    Merging {
        oldest: &'a RouteObject,
        host: HostPattern,
        routes: Vec<Arc<Route>>,
    },
}

impl Draft<'_> {
    fn finished(self) -> Arc<Candidate> {
        match self {
            Self::Finished(candidate) => candidate,
            Self::Merging { oldest, host, mut routes } => {
                // The sort keeps the order of equal ones.
                routes.sort_by_key(|route| Reverse(specificity(route)));
                let mut candidate = Candidate::new(oldest.semantics, &oldest.origin.namespace, routes);
                candidate.parent_namespace.clone_from(&oldest.parent_namespace);
                candidate.exported_to = oldest.exported_to.clone();
                candidate.hosts = vec![host];
                Arc::new(candidate)
            }
        }
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
