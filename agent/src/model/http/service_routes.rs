//! The routes for one port of a service as one source sees them, and which of them a request takes.
//!
//! The first route in the list that matches counts. Where there are many, an index skips routes whose path cannot match, so that a pick
//! among thousands looks at few of them.

use std::sync::Arc;

use super::head::RequestHead;
use super::path_index::PathIndex;
use super::route::{PathMatch, Route, Semantics};

/// The routes for one port of a service, or for a host, as one source sees them. Where no route matches a request, it is
/// answered 404.
#[derive(Debug)]
pub struct ServiceRoutes {
    pub semantics: Semantics,
    routes: Box<[Arc<Route>]>,
    /// Where there are many.
    index: Option<Box<PathIndex>>,
    /// Routes that are not in the index, ascending: they may match any path.
    without_text: Box<[u32]>,
}

/// So many routes are sooner looked at than an index of them, which takes more memory than they do.
const FEW_ROUTES: usize = 4;

impl ServiceRoutes {
    /// From routes of which the first that matches counts.
    #[must_use]
    pub fn new(semantics: Semantics, routes: Vec<Arc<Route>>) -> Self {
        let (mut with_text, mut without_text) = (Vec::new(), Vec::new());
        for (number, route) in (0..).zip(&routes) {
            match text_of(route) {
                Some(text) if routes.len() > FEW_ROUTES => with_text.push((text, number)),
                _ => without_text.push(number),
            }
        }
        let index = (!with_text.is_empty()).then(|| Box::new(PathIndex::new(with_text)));
        Self { semantics, routes: routes.into(), index, without_text: without_text.into() }
    }

    /// The route of a request, whose path has been normalised; `None` where none matches.
    #[must_use]
    pub fn pick(&self, request: &RequestHead) -> Option<&Arc<Route>> {
        let path = request.path();
        let mut best = self.routes.len();
        let mut look_through = |candidates: &[u32]| {
            let earlier = candidates.iter().map(|route| *route as usize).take_while(|route| *route < best);
            if let Some(found) = { earlier }.find(|route| self.routes[*route].matches.is_met_at(path, request)) {
                best = found;
            }
        };
        for candidates in self.index.iter().flat_map(|index| index.beginning(path)) {
            look_through(candidates);
        }
        look_through(&self.without_text);
        self.routes.get(best)
    }

    /// All of them, in order.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

/// What a path must begin with for a route to match; `None` where its text does not say that.
fn text_of(route: &Route) -> Option<&[u8]> {
    match &route.matches.path {
        _ if route.matches.ignores_path_case => None,
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::SegmentPrefix(text) => Some(text.as_bytes()),
        PathMatch::Any | PathMatch::Regex(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::pattern::{Pattern, TextMatch};
    use crate::model::http::route::RequestMatch;
    use crate::model::http::sample::{get, route};

    fn routes(matches: Vec<RequestMatch>) -> ServiceRoutes {
        let routes = (0..).zip(matches).map(|(number, matches)| Arc::new(route(&format!("{number}"), matches)));
        ServiceRoutes::new(Semantics::VirtualService, routes.collect())
    }

    fn on(path: PathMatch) -> RequestMatch {
        RequestMatch { path, ..RequestMatch::default() }
    }

    #[test]
    fn the_first_route_that_matches_counts_whatever_the_index_holds() {
        let prefix = |text: &str| on(PathMatch::Prefix(text.into()));
        let exact = |text: &str| on(PathMatch::Exact(text.into()));
        let regex = |text: &str| on(PathMatch::Regex(Pattern::new(text).expect("valid")));
        let posted = RequestMatch { method: Some(TextMatch::Exact("POST".into())), ..exact("/a/b") };
        let all = routes(vec![
            posted,
            exact("/a/b/c"),
            prefix("/a/b"),
            regex("/x.*"),
            prefix("/xy"),
            RequestMatch { ignores_path_case: true, ..exact("/Q") },
            prefix("/a"),
            on(PathMatch::segments("/s")),
            exact("/a"),
            prefix("/ab/"),
        ]);
        for (path, expected) in [
            ("/a/b/c", Some("1")),
            ("/a/b/cd", Some("2")),
            ("/a/b", Some("2")),
            ("/a/z", Some("6")),
            ("/ab/c", Some("6")),
            ("/a", Some("6")),
            ("/xyz", Some("3")),
            ("/q", Some("5")),
            ("/s", Some("7")),
            ("/s/t", Some("7")),
            ("/st", None),
            ("/", None),
            ("", None),
            ("/zzz", None),
        ] {
            let picked = all.pick(&get(path)).map(|route| &*route.name);
            assert_eq!(picked, expected, "{path}");
        }
    }

    #[test]
    fn the_index_skips_nothing_that_matches() {
        // All paths of up to four letters of two, as prefixes in a shuffled order, against a plain search.
        let mut texts = vec![String::new()];
        for length in 0..4 {
            let longer: Vec<_> = texts.iter().filter(|text| text.len() == length).cloned().collect();
            texts.extend(longer.iter().flat_map(|text| ["a", "/"].map(|letter| format!("{text}{letter}"))));
        }
        let shuffled: Vec<_> = (0..texts.len()).map(|number| &texts[number * 17 % texts.len()]).step_by(2).collect();
        let matches = shuffled.iter().enumerate().map(|(number, text)| match number % 3 {
            0 => on(PathMatch::Exact(text.as_str().into())),
            1 => on(PathMatch::Prefix(text.as_str().into())),
            _ => on(PathMatch::segments(text)),
        });
        let all = routes(matches.collect());
        for path in &texts {
            let request = get(path);
            let plain = all.routes().iter().find(|route| route.matches.is_met_by(&request));
            assert_eq!(all.pick(&request).map(|route| &route.name), plain.map(|route| &route.name), "{path:?}");
        }
    }
}
