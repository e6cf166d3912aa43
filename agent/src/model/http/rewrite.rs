//! What the upstream gets in the place of path and authority.

use super::control_fields::remove_spellings;
use super::head::RequestHead;
use super::path::in_ascii;
use super::route::{Destination, Forward, PathMatch, PathRewrite, Route, Semantics};

/// The field that keeps the path as the client sent it, where a rule rewrites it, as Envoy does. What the client says in it itself
/// does not stay beside that, nor in its place.
const ORIGINAL_PATH: &str = "x-envoy-original-path";
/// The field in which Envoy keeps the authority before that was rewritten. Nothing is said in it here, and what the client says is no
/// more true then.
const ORIGINAL_HOST: &str = "x-envoy-original-host";

impl Forward {
    /// Rewrites a request that takes `route`, whose rule this is, to a destination. The authority of the rule comes before
    /// the destination's.
    pub fn rewrite(&self, route: &Route, destination: Option<&Destination>, request: &mut RequestHead) {
        if let Some(rewrite) = &self.path {
            // A rule may be written with any characters.
            let path = in_ascii(rewrite.path(route, request.path()));
            remove_spellings(&mut request.fields, ORIGINAL_PATH);
            request.fields.append(ORIGINAL_PATH.as_bytes(), &request.target);
            request.target = with_rest(path, request);
        }
        let of_destination = || destination.and_then(|destination| destination.authority.as_ref());
        if let Some(authority) = self.authority.as_ref().or_else(of_destination) {
            remove_spellings(&mut request.fields, ORIGINAL_HOST);
            request.authority.clear();
            request.authority.extend_from_slice(authority.as_bytes());
        }
    }
}

/// A path with the query of a request behind it.
pub(super) fn with_rest(mut path: Vec<u8>, request: &RequestHead) -> Vec<u8> {
    path.extend_from_slice(&request.target[request.path().len()..]);
    path
}

impl PathRewrite {
    /// The new path. It begins with a slash, whatever a rule makes of what the client sent.
    fn path(&self, route: &Route, path: &[u8]) -> Vec<u8> {
        let rewritten = match self {
            Self::Full(text) => text.as_bytes().to_vec(),
            Self::Prefix(text) => with_prefix(text, route, path),
            Self::Regex(substitution) => {
                let mut out = Vec::with_capacity(path.len());
                substitution.replace(path, &mut out);
                out
            }
        };
        if rewritten.first() == Some(&b'/') {
            return rewritten;
        }
        [b"/", &rewritten[..]].concat()
    }
}

/// A path with `text` in the place of the prefix that the route matches; where the route has another kind of path, in the
/// place of all of it.
pub(super) fn with_prefix(text: &str, route: &Route, path: &[u8]) -> Vec<u8> {
    let prefix = match &route.matches.path {
        PathMatch::Prefix(prefix) | PathMatch::SegmentPrefix(prefix) => prefix.len(),
        // A route that matches any path has the prefix `/`, in VirtualServices and in the Gateway API.
        PathMatch::Any => usize::from(route.rule.semantics == Semantics::VirtualService && path.first() == Some(&b'/')),
        PathMatch::Exact(_) | PathMatch::Regex(_) => path.len(),
    };
    let rest = &path[prefix.min(path.len())..];
    if route.rule.semantics == Semantics::VirtualService {
        return [text.as_bytes(), rest].concat();
    }
    // Segments are replaced, and slashes between what comes from the text and from the path are neither lost nor doubled.
    match (text.trim_end_matches('/'), rest.strip_prefix(b"/")) {
        ("", segments) => [b"/", segments.unwrap_or(rest)].concat(),
        (text, Some(segments)) => [text.as_bytes(), b"/", segments].concat(),
        (text, None) if rest.is_empty() => text.as_bytes().to_vec(),
        (text, None) => [text.as_bytes(), b"/", rest].concat(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::http::pattern::{Pattern, Substitution};
    use crate::model::http::route::{Action, RequestMatch};
    use crate::model::http::sample::{forward, get, route, rule, to};

    fn on(path: PathMatch, semantics: Semantics) -> Route {
        let mut route = route("r", RequestMatch { path, ..RequestMatch::default() });
        route.rule =
            Arc::new(crate::model::http::route::Rule { semantics, ..rule(Action::Forward(Box::new(forward(vec![])))) });
        route
    }

    fn rewritten(
        path: PathMatch,
        semantics: Semantics,
        rewrite: PathRewrite,
        target: &str,
    ) -> (String, Option<String>) {
        let mut request = get(target);
        let rule = Forward { path: Some(rewrite), ..forward(vec![]) };
        rule.rewrite(&on(path, semantics), None, &mut request);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&request.target), request.fields.first(ORIGINAL_PATH).map(text))
    }

    #[test]
    fn a_prefix_is_replaced_and_the_query_stays() {
        const VS: Semantics = Semantics::VirtualService;
        const GW: Semantics = Semantics::GatewayApi;
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        let exact = || PathMatch::Exact("/old".into());
        let regex = || PathMatch::Regex(Pattern::new("/old.*").expect("valid"));
        for (path, semantics, text, target, expected) in [
            (prefix("/old/"), VS, "/new/", "/old/x?q=/old/", "/new/x?q=/old/"),
            (prefix("/old"), VS, "/", "/old/x", "//x"),
            (prefix("/old"), VS, "/n", "/oldx", "/nx"),
            (PathMatch::Any, VS, "/n/", "/x", "/n/x"),
            (exact(), VS, "/n", "/old?q", "/n?q"),
            (regex(), VS, "/n", "/old/x?q", "/n?q"),
            (prefix("/old/"), VS, "n", "/old/x", "/nx"),
            (PathMatch::segments("/old"), GW, "/new/", "/old/x", "/new/x"),
            (PathMatch::segments("/old/"), GW, "/new", "/old", "/new"),
            (PathMatch::segments("/old"), GW, "/new", "/old/", "/new/"),
            (PathMatch::segments("/old"), GW, "/", "/old/x?q", "/x?q"),
            (PathMatch::segments("/old"), GW, "", "/old", "/"),
            (PathMatch::segments("/old"), GW, "", "/old/", "/"),
            (PathMatch::segments("/"), GW, "/new", "/x", "/new/x"),
            (PathMatch::segments("/"), GW, "/", "/x", "/x"),
            (PathMatch::Any, GW, "/new", "/x", "/new/x"),
            (PathMatch::Exact("/old".into()), GW, "/new/", "/old", "/new"),
        ] {
            let what = format!("{path:?} {text} {target}");
            let (seen, original) = rewritten(path, semantics, PathRewrite::Prefix(text.into()), target);
            assert_eq!((seen.as_str(), original.as_deref()), (expected, Some(target)), "{what}");
        }
    }

    #[test]
    fn a_whole_path_or_what_matches_is_replaced() {
        let regex = |pattern, with| PathRewrite::Regex(Substitution::new(pattern, with).expect("valid"));
        for (rewrite, target, expected) in [
            (PathRewrite::Full("/n".into()), "/a/b?q", "/n?q"),
            (PathRewrite::Full("/\u{e9}".into()), "/a/b?q", "/%C3%A9?q"),
            (regex("^/a/([^/]+)/(.*)$", r"/\2/\1"), "/a/x/y?q=/a/1/2", "/y/x?q=/a/1/2"),
            (regex("a", "b"), "/a/a", "/b/b"),
            (regex("none", "b"), "/a", "/a"),
            (regex("^/open-redirect/(.*)", r"\1"), "/open-redirect/http://x", "/http://x"),
        ] {
            let (seen, _) = rewritten(PathMatch::Any, Semantics::VirtualService, rewrite, target);
            assert_eq!(seen, expected, "{target}");
        }
    }

    #[test]
    fn what_the_client_says_of_the_path_before_is_not_believed() {
        let sent = [
            (ORIGINAL_PATH, "/forged"),
            ("x-envoy_original_path", "/forged"),
            (ORIGINAL_PATH, "/twice"),
            (ORIGINAL_HOST, "forged"),
        ];
        let (path, authority) = (Some(PathRewrite::Full("/b".into())), Some("b".into()));
        for (rule, expected) in [
            (Forward { path, ..forward(vec![]) }, &[(ORIGINAL_HOST, "forged"), (ORIGINAL_PATH, "/a?q")][..]),
            (Forward { authority, ..forward(vec![]) }, &sent[..3]),
            (forward(vec![]), &sent),
        ] {
            let mut request = get("/a?q");
            request.fields = sent.into_iter().collect();
            rule.rewrite(&on(PathMatch::Any, Semantics::VirtualService), None, &mut request);
            assert_eq!(request.fields, expected.iter().copied().collect(), "{rule:?}");
        }
    }

    #[test]
    fn the_authority_of_the_rule_comes_before_the_destinations() {
        for (of_rule, of_destination, expected) in
            [(None, None, "reviews"), (Some("a:1"), None, "a:1"), (None, Some("b"), "b"), (Some("a"), Some("b"), "a")]
        {
            let mut request = get("/");
            let destination = Destination { authority: of_destination.map(Into::into), ..to("x", 1) };
            let rule = Forward { authority: of_rule.map(Into::into), ..forward(vec![]) };
            rule.rewrite(&on(PathMatch::Any, Semantics::VirtualService), Some(&destination), &mut request);
            assert_eq!(request.authority, expected.as_bytes());
        }
    }
}
