//! `match` of an `http` rule (`istio.networking.v1.HTTPMatchRequest`).

use super::values::{self, field_name};
use crate::model::http::pattern::TextMatch;
use crate::objects::labels::Labels;
use crate::objects::reading::{Fields, names};

/// What a request must be for a rule: all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpMatch {
    pub name: String,
    pub uri: Option<TextMatch>,
    pub ignore_uri_case: bool,
    pub scheme: Option<TextMatch>,
    pub method: Option<TextMatch>,
    pub authority: Option<TextMatch>,
    /// Names as written.
    pub headers: Vec<(String, TextMatch)>,
    pub without_headers: Vec<(String, TextMatch)>,
    pub query_params: Vec<(String, TextMatch)>,
    /// Of the service.
    pub port: Option<u16>,
    pub source_labels: Labels,
    pub source_namespace: Option<String>,
    /// As written.
    pub gateways: Vec<String>,
}

impl HttpMatch {
    /// True if any part of it is a regular expression.
    #[must_use]
    pub fn has_regex(&self) -> bool {
        let is_regex = |text: &TextMatch| matches!(text, TextMatch::Regex(_));
        let single = [&self.uri, &self.scheme, &self.method, &self.authority];
        let named = [&self.headers, &self.without_headers, &self.query_params];
        single.into_iter().flatten().any(is_regex) || named.into_iter().flatten().any(|(_, text)| is_regex(text))
    }
}

/// Reads an item of `match`.
pub(super) fn read(mut fields: Fields<'_>) -> HttpMatch {
    let found = HttpMatch {
        name: fields.text("name").unwrap_or_default(),
        uri: fields.fields("uri").and_then(values::string_match),
        ignore_uri_case: fields.flag("ignoreUriCase").unwrap_or(false),
        scheme: fields.fields("scheme").and_then(values::string_match),
        method: fields.fields("method").and_then(values::string_match),
        authority: fields.fields("authority").and_then(values::string_match),
        headers: values::string_matches(&mut fields, "headers"),
        without_headers: values::string_matches(&mut fields, "withoutHeaders"),
        query_params: values::string_matches(&mut fields, "queryParams"),
        port: fields.number("port", 0..=65_535).filter(|port| *port != 0),
        source_labels: fields.text_map("sourceLabels"),
        source_namespace: fields.text("sourceNamespace").filter(|namespace| !namespace.is_empty()),
        gateways: fields.texts("gateways"),
    };
    for (list, entries) in [("headers", &found.headers), ("withoutHeaders", &found.without_headers)] {
        for (name, _) in entries {
            let field = format!("{list}[{name}]");
            if name.starts_with("@request.auth.claims") {
                fields.notice(&field, "matches no request: the claims of a token are known at the destination only");
            } else if let Err(reason) = field_name(name) {
                fields.error(&field, reason);
            }
        }
    }
    if let Some(namespace) = &found.source_namespace
        && let Err(reason) = names::label(namespace)
    {
        fields.error("sourceNamespace", reason);
    }
    fields.without_effect("statPrefix", "has no effect: there are no metrics per route");
    fields.finish();
    found
}
