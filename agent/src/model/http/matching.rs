//! Whether a request meets the conditions of a route.

use std::fmt;

use super::head::RequestHead;
use super::pattern::TextMatch;
use super::request_values::{parameter, values_of};
use super::route::{FieldMatch, PathMatch, QueryMatch, RequestMatch};

impl RequestMatch {
    /// Whether all conditions hold for a request, whose path has been normalised.
    #[must_use]
    pub fn is_met_by(&self, request: &RequestHead) -> bool {
        self.is_met_at(request.path(), request)
    }

    /// The same, for a request of which the path is known already.
    pub(super) fn is_met_at(&self, path: &[u8], request: &RequestHead) -> bool {
        self.conditions().all(|condition| condition.is_met_at(path, request))
    }

    /// What must hold for a request to take the route, in the order in which it is looked at. None where everything takes it.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        let is_any = self.path == PathMatch::Any;
        let path = (!is_any).then_some(Condition::Path { path: &self.path, ignores_case: self.ignores_path_case });
        let text = [
            self.method.as_ref().map(Condition::Method),
            self.scheme.as_ref().map(Condition::Scheme),
            self.authority.as_ref().map(Condition::Authority),
        ];
        let (fields, query) = (self.fields.iter().map(Condition::Field), self.query.iter().map(Condition::Query));
        path.into_iter().chain(text.into_iter().flatten()).chain(fields).chain(query)
    }
}

/// One condition of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    Path { path: &'a PathMatch, ignores_case: bool },
    Method(&'a TextMatch),
    Scheme(&'a TextMatch),
    Authority(&'a TextMatch),
    Field(&'a FieldMatch),
    Query(&'a QueryMatch),
}

impl Condition<'_> {
    /// Whether it holds for a request, whose path has been normalised.
    #[must_use]
    pub fn is_met_by(&self, request: &RequestHead) -> bool {
        self.is_met_at(request.path(), request)
    }

    fn is_met_at(&self, path: &[u8], request: &RequestHead) -> bool {
        match self {
            Self::Path { path: wanted, ignores_case } => wanted.is_match(path, *ignores_case),
            Self::Method(method) => method.is_match(&request.method),
            Self::Scheme(scheme) => scheme.is_match(request.scheme.text().as_bytes()),
            Self::Authority(authority) => authority.is_match(&request.authority),
            Self::Field(field) => field.is_met_by(request),
            Self::Query(parameter) => parameter.is_met_by(request.query().unwrap_or_default()),
        }
    }
}

/// In words, as a user reads the object: `path begins with /api`.
impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, ignores_case } => {
                write!(f, "path {path}")?;
                f.write_str(if *ignores_case { ", whatever its case" } else { "" })
            }
            Self::Method(method) => write!(f, "method {method}"),
            Self::Scheme(scheme) => write!(f, "scheme {scheme}"),
            Self::Authority(authority) => write!(f, "authority {authority}"),
            Self::Field(FieldMatch { name, value, is_inverted: false }) => write!(f, "field {name} {value}"),
            Self::Field(FieldMatch { name, value: TextMatch::Present, .. }) => write!(f, "field {name} is absent"),
            Self::Field(FieldMatch { name, value, .. }) => write!(f, "it is not so that field {name} {value}"),
            Self::Query(QueryMatch { name, value }) => write!(f, "query parameter {name} {value}"),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("is any"),
            Self::Exact(text) => write!(f, "is {text}"),
            Self::Prefix(text) => write!(f, "begins with {text}"),
            Self::SegmentPrefix(text) if text.is_empty() => f.write_str("begins with the segments of /"),
            Self::SegmentPrefix(text) => write!(f, "begins with the segments of {text}"),
            Self::Regex(pattern) => write!(f, "matches {}", pattern.source()),
        }
    }
}

impl PathMatch {
    /// A prefix of path segments, as the Gateway API has it (`PathPrefix`).
    #[must_use]
    pub fn segments(prefix: &str) -> Self {
        Self::SegmentPrefix(prefix.trim_end_matches('/').into())
    }

    fn is_match(&self, path: &[u8], ignores_case: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) if ignores_case => path.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => behind(path, prefix, ignores_case).is_some(),
            Self::SegmentPrefix(prefix) => {
                behind(path, prefix, ignores_case).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
            Self::Regex(pattern) => pattern.is_match(path),
        }
    }
}

/// What follows a prefix of a path; `None` where the path has another.
fn behind<'a>(path: &'a [u8], prefix: &str, ignores_case: bool) -> Option<&'a [u8]> {
    let (start, rest) = path.split_at_checked(prefix.len())?;
    let is_equal =
        if ignores_case { start.eq_ignore_ascii_case(prefix.as_bytes()) } else { start == prefix.as_bytes() };
    is_equal.then_some(rest)
}

impl FieldMatch {
    fn is_met_by(&self, request: &RequestHead) -> bool {
        let mut values = values_of(request, &self.name).peekable();
        if values.peek().is_none() {
            return self.is_inverted && (matches!(self.value, TextMatch::Present) || !self.value.is_match(b""));
        }
        values.any(|value| self.value.is_match(value)) != self.is_inverted
    }
}

impl QueryMatch {
    fn is_met_by(&self, query: &[u8]) -> bool {
        parameter(query, &self.name).is_some_and(|value| self.value.is_match(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::head::Scheme;
    use crate::model::http::pattern::Pattern;

    fn request(target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let fields = fields.iter().copied().collect();
        RequestHead {
            method: b"GET".into(),
            target: target.into(),
            authority: b"reviews:9080".into(),
            fields,
            ..RequestHead::default()
        }
    }

    fn exact(text: &str) -> TextMatch {
        TextMatch::Exact(text.into())
    }

    fn regex(text: &str) -> TextMatch {
        TextMatch::Regex(Pattern::new(text).expect("valid"))
    }

    #[test]
    fn paths_are_compared_without_query() {
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        let rows: [(PathMatch, bool, &[&str], &[&str]); 9] = [
            (PathMatch::Any, false, &["/", "/a?b", "*"], &[]),
            (PathMatch::Exact("/a".into()), false, &["/a", "/a?x=/b", "/a#f"], &["/a/", "/A", "/ab"]),
            (PathMatch::Exact("/a".into()), true, &["/A?X"], &["/A/"]),
            (prefix("/api"), false, &["/api", "/apix", "/api/x?y"], &["/ap", "/API", "/x/api"]),
            (prefix("/api"), true, &["/APIx"], &["/ap"]),
            (PathMatch::segments("/api"), false, &["/api", "/api/x", "/api?x", "/api/"], &["/apix", "/ap", "/API/"]),
            (PathMatch::segments("/api/"), false, &["/api", "/api/x"], &["/apix"]),
            (PathMatch::segments("/"), false, &["/", "/x", "/x/y"], &["*"]),
            (
                PathMatch::Regex(Pattern::new("/v[0-9]/.*").expect("valid")),
                true,
                &["/v1/x?y", "/v2/"],
                &["/V1/x", "/x/v1/x", "/v1"],
            ),
        ];
        for (path, ignores_path_case, matching, others) in rows {
            let matches = RequestMatch { path, ignores_path_case, ..RequestMatch::default() };
            for target in matching {
                assert!(matches.is_met_by(&request(target, &[])), "{:?} matches {target}", matches.path);
            }
            for target in others {
                assert!(!matches.is_met_by(&request(target, &[])), "{:?} does not match {target}", matches.path);
            }
        }
    }

    #[test]
    fn one_value_of_a_field_suffices_and_fields_may_be_wanted_absent() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(&str, TextMatch, bool, Fields, bool); 18] = [
            ("x", exact("a"), false, &[("X", "a")], true),
            ("x", exact("A"), false, &[("x", "a")], false),
            ("x", exact("a"), false, &[], false),
            ("x", exact("a,b"), false, &[("x", "a"), ("y", "c"), ("x", "b")], false),
            ("x", exact("b"), false, &[("x", "a"), ("x", "b"), ("x", "")], true),
            ("x", exact("a"), false, &[("x", "a"), ("x", "b")], true),
            ("x", exact("a"), true, &[("x", "b"), ("x", "a")], false),
            ("x", TextMatch::Present, false, &[("x", "")], true),
            ("x", TextMatch::Present, false, &[], false),
            ("x", regex("a.*"), false, &[("x", "abc")], true),
            ("x", regex("b"), false, &[("x", "abc")], false),
            ("x", exact("a"), true, &[], true),
            ("x", exact("a"), true, &[("x", "a")], false),
            ("x", exact("a"), true, &[("x", "b")], true),
            ("x", regex(".*"), true, &[], false),
            ("x", TextMatch::Present, true, &[], true),
            ("x", TextMatch::Present, true, &[("x", "b")], false),
            (":authority", exact("reviews:9080"), false, &[], true),
        ];
        for (name, value, is_inverted, fields, expected) in rows {
            let field = FieldMatch { name: name.into(), value, is_inverted };
            let matches = RequestMatch { fields: vec![field], ..RequestMatch::default() };
            assert_eq!(matches.is_met_by(&request("/", fields)), expected, "{:?} of {fields:?}", matches.fields);
        }
    }

    #[test]
    fn parameters_of_the_query_are_not_decoded_and_the_first_counts() {
        for (query, value, expected) in [
            ("/?a=1&b=2", exact("2"), true),
            ("/?b=1&b=2", exact("2"), false),
            ("/?bb=2", exact("2"), false),
            ("/?b", TextMatch::Present, true),
            ("/?b", exact(""), true),
            ("/?b=%32", exact("2"), false),
            ("/?a=b", TextMatch::Present, false),
            ("/", TextMatch::Present, false),
            ("/?b=12#2", regex("1[0-9]"), true),
        ] {
            let matches =
                RequestMatch { query: vec![QueryMatch { name: "b".into(), value }], ..RequestMatch::default() };
            assert_eq!(matches.is_met_by(&request(query, &[])), expected, "{query} {:?}", matches.query);
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let all = RequestMatch {
            path: PathMatch::Prefix("/".into()),
            method: Some(exact("GET")),
            scheme: Some(exact("http")),
            authority: Some(exact("reviews:9080")),
            ..RequestMatch::default()
        };
        assert!(all.is_met_by(&request("/", &[])));
        for broken in [
            RequestMatch { method: Some(exact("get")), ..all.clone() },
            RequestMatch { scheme: Some(exact("https")), ..all.clone() },
            RequestMatch { authority: Some(exact("reviews")), ..all.clone() },
        ] {
            assert!(!broken.is_met_by(&request("/", &[])), "{broken:?}");
        }
        let over_tls = RequestHead { scheme: Scheme::Https, ..request("/", &[]) };
        assert!(!all.is_met_by(&over_tls));
    }

    #[test]
    fn conditions_are_told_in_words_and_in_order() {
        let field = |name: &str, value, is_inverted| FieldMatch { name: name.into(), value, is_inverted };
        let all = RequestMatch {
            path: PathMatch::Prefix("/api".into()),
            ignores_path_case: true,
            method: Some(exact("GET")),
            scheme: Some(exact("http")),
            authority: Some(TextMatch::Suffix(".example".into())),
            fields: vec![
                field("x-user", exact("tester"), false),
                field("x-user", TextMatch::Present, false),
                field("x-old", TextMatch::Present, true),
                field("x-user", regex("a.*"), true),
            ],
            query: vec![QueryMatch { name: "v".into(), value: TextMatch::Prefix("1".into()) }],
        };
        let words: Vec<String> = all.conditions().map(|condition| condition.to_string()).collect();
        let expected = [
            "path begins with /api, whatever its case",
            "method is GET",
            "scheme is http",
            "authority ends with .example",
            "field x-user is tester",
            "field x-user is there",
            "field x-old is absent",
            "it is not so that field x-user matches a.*",
            "query parameter v begins with 1",
        ];
        assert_eq!(words, expected);
        assert_eq!(RequestMatch::default().conditions().count(), 0);
        let unmet = all.conditions().find(|condition| !condition.is_met_by(&request("/API?v=2", &[])));
        assert_eq!(unmet, Some(Condition::Authority(&TextMatch::Suffix(".example".into()))));
    }
}
