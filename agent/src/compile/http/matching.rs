//! What a rule matches on: what can be told of the source and the port, and what only the request tells.

use crate::model::http::pattern::TextMatch;
use crate::model::http::route::{Applicability, FieldMatch, PathMatch, QueryMatch, RequestMatch, Semantics};
use crate::objects::{HttpMatch, MESH_GATEWAY};

/// A condition on the claims of a token is written as one on a header of this name.
const CLAIMS: &str = "@request.auth.claims";

/// Compiles a match; `None` where no request of a pod can meet it: it is for gateways only, or asks for the claims of a
/// token, which are known at the destination only.
pub(super) fn compile(semantics: Semantics, one: &HttpMatch) -> Option<(RequestMatch, Applicability)> {
    let is_for_mesh = one.gateways.is_empty() || one.gateways.iter().any(|gateway| gateway == MESH_GATEWAY);
    let has_claims = one.headers.iter().chain(&one.without_headers).any(|(name, _)| name.starts_with(CLAIMS));
    if !is_for_mesh || has_claims {
        return None;
    }
    let fields = one.headers.iter().map(|condition| field(condition, false));
    let without = one.without_headers.iter().map(|condition| field(condition, true));
    let query =
        one.query_params.iter().map(|(name, value)| QueryMatch { name: name.as_str().into(), value: value.clone() });
    let matches = RequestMatch {
        path: one.uri.as_ref().map(|uri| path(semantics, uri)).unwrap_or_default(),
        ignores_path_case: one.ignore_uri_case,
        method: one.method.clone(),
        scheme: one.scheme.clone(),
        authority: one.authority.clone(),
        fields: fields.chain(without).collect(),
        query: query.collect(),
    };
    let mut applies = Applicability { port: one.port, ..Applicability::default() };
    // istiod does not look at the source where gateways are listed.
    if one.gateways.is_empty() {
        let label = |(key, value): (&String, &String)| (key.as_str().into(), value.as_str().into());
        applies.source_labels = one.source_labels.iter().map(label).collect();
        applies.source_namespace = one.source_namespace.as_deref().map(Box::from);
    }
    Some((matches, applies))
}

fn field((name, value): &(String, TextMatch), is_inverted: bool) -> FieldMatch {
    FieldMatch { name: name.to_ascii_lowercase().into(), value: value.clone(), is_inverted }
}

fn path(semantics: Semantics, uri: &TextMatch) -> PathMatch {
    match uri {
        TextMatch::Exact(path) => PathMatch::Exact(path.clone()),
        TextMatch::Prefix(prefix) if semantics == Semantics::GatewayApi => PathMatch::segments(prefix),
        TextMatch::Prefix(prefix) => PathMatch::Prefix(prefix.clone()),
        TextMatch::Regex(pattern) => PathMatch::Regex(pattern.clone()),
        TextMatch::Suffix(_) | TextMatch::Present => PathMatch::Any,
    }
}
