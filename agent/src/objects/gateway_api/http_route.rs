//! HTTPRoute (`gateway.networking.k8s.io`), with the defaults that the API server fills in.

use std::time::Duration;

use super::filters;
use super::route::{self, Backend, GatewayRoute, GatewayRule, ServiceRef};
use crate::model::http::pattern::TextMatch;
use crate::objects::networking::{HttpMatch, Retries, retries, values};
use crate::objects::reading::Fields;

/// Attempts after the first, where `retry` does not say how many.
const DEFAULT_ATTEMPTS: u32 = 2;
/// What is tried again beside the `codes` of `retry`.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled";

/// Reads and checks `spec`; `own` is the route's namespace.
pub(in crate::objects) fn read(mut fields: Fields<'_>, own: &str) -> GatewayRoute {
    let report = fields.report();
    let parents = route::parents(&mut fields, own);
    let mut rules: Vec<GatewayRule> =
        fields.items("rules").iter().filter_map(|item| Some(rule(item.fields(report)?, own))).collect();
    if rules.is_empty() && fields.get("rules").is_none() {
        rules.push(GatewayRule { matches: vec![every_path()], ..GatewayRule::default() });
    }
    if !parents.is_empty() {
        fields.without_effect("hostnames", "has no effect for services: requests are routed by the service they go to");
    }
    for name in ["hostnames", "useDefaultGateways"] {
        fields.skip(name);
    }
    fields.finish();
    GatewayRoute { parents, rules }
}

fn every_path() -> HttpMatch {
    HttpMatch { uri: Some(TextMatch::Prefix("/".into())), ..HttpMatch::default() }
}

fn rule(mut fields: Fields<'_>, own: &str) -> GatewayRule {
    let report = fields.report();
    let mut found = GatewayRule {
        matches: fields.items("matches").iter().filter_map(|item| one_match(item.fields(report)?)).collect(),
        backends: fields.items("backendRefs").iter().filter_map(|item| backend(item.fields(report)?, own)).collect(),
        filters: filters::of_rule(&mut fields, own),
        retries: fields.fields("retry").map(retry),
        ..GatewayRule::default()
    };
    if found.matches.is_empty() && fields.items("matches").is_empty() {
        found.matches.push(every_path());
    }
    if let Some(mut timeouts) = fields.fields("timeouts") {
        found.timeout = timeout(&mut timeouts, "request");
        found.backend_timeout = timeout(&mut timeouts, "backendRequest");
        timeouts.finish();
    }
    if found.filters.redirect.is_some() && !found.backends.is_empty() {
        fields.error("backendRefs", "a rule with RequestRedirect has no backends: remove them");
    }
    fields.skip("name");
    fields.without_effect("sessionPersistence", "has no effect: use consistentHash of a DestinationRule");
    fields.finish();
    found
}

/// Zero stands for none.
fn timeout(fields: &mut Fields<'_>, name: &'static str) -> Option<Duration> {
    values::duration(fields, name).filter(|timeout| !timeout.is_zero())
}

fn one_match(mut fields: Fields<'_>) -> Option<HttpMatch> {
    let mut found = every_path();
    if let Some(mut path) = fields.fields("path") {
        found.uri = self::path(&mut path);
        path.finish();
    }
    found.headers = route::named_matches(&mut fields, "headers");
    found.query_params = route::named_matches(&mut fields, "queryParams");
    found.method = fields.text("method").map(|method| TextMatch::Exact(method.into()));
    fields.finish();
    Some(found)
}

fn path(fields: &mut Fields<'_>) -> Option<TextMatch> {
    let value = fields.text("value").unwrap_or_else(|| "/".to_owned());
    let kind = fields.text("type").unwrap_or_else(|| "PathPrefix".to_owned());
    match kind.as_str() {
        "Exact" | "PathPrefix" if !value.starts_with('/') => {
            fields.error("value", format!("{value:?} does not begin with /"));
            None
        }
        "Exact" => Some(TextMatch::Exact(value.into())),
        "PathPrefix" => Some(TextMatch::Prefix(value.into())),
        "RegularExpression" => values::regex(&value, &fields.place().field("value")).map(TextMatch::Regex),
        _ => {
            fields.error("type", format!("unknown value {kind:?}: use one of Exact, PathPrefix, RegularExpression"));
            None
        }
    }
}

/// Reads an item of `backendRefs`.
pub(super) fn backend(mut fields: Fields<'_>, own: &str) -> Option<Backend> {
    let (target, port) = route::target(&mut fields, own);
    let weight = fields.number("weight", 0..=1_000_000).unwrap_or(1);
    let headers = filters::of_backend(&mut fields);
    fields.finish();
    let target = if headers.is_some() { target } else { ServiceRef::Unknown };
    Some(Backend { target, port, weight, headers: headers.unwrap_or_default() })
}

fn retry(mut fields: Fields<'_>) -> Retries {
    let report = fields.report();
    let codes: Vec<String> = fields
        .items("codes")
        .iter()
        .filter_map(|item| item.number(400..=599, report).map(|code| code.to_string()))
        .collect();
    let retry_on = std::iter::once(RETRY_ON.to_owned()).chain(codes).collect::<Vec<_>>().join(",");
    let found = Retries {
        attempts: fields.number("attempts", 0..=i128::from(i32::MAX)).unwrap_or(DEFAULT_ATTEMPTS),
        on: Some(retries::conditions(&retry_on, &fields.place().field("codes"))),
        backoff: values::duration(&mut fields, "backoff"),
        ..Retries::default()
    };
    fields.finish();
    found
}
