//! GRPCRoute (`gateway.networking.k8s.io`): an HTTPRoute whose requests are calls of methods, which are paths
//! (`/package.Service/Method`).

use super::filters;
use super::http_route::backend;
use super::route::{self, GatewayRoute, GatewayRule};
use crate::model::http::pattern::TextMatch;
use crate::objects::networking::{HttpMatch, values};
use crate::objects::reading::Fields;

/// Reads and checks `spec`; `own` is the route's namespace.
pub(in crate::objects) fn read(mut fields: Fields<'_>, own: &str) -> GatewayRoute {
    let report = fields.report();
    let parents = route::parents(&mut fields, own);
    let rules = fields.items("rules").iter().filter_map(|item| Some(rule(item.fields(report)?, own))).collect();
    if !parents.is_empty() {
        fields.without_effect("hostnames", "has no effect for services: requests are routed by the service they go to");
    }
    for name in ["hostnames", "useDefaultGateways"] {
        fields.skip(name);
    }
    fields.finish();
    GatewayRoute { parents, rules }
}

fn rule(mut fields: Fields<'_>, own: &str) -> GatewayRule {
    let report = fields.report();
    let mut found = GatewayRule {
        matches: fields.items("matches").iter().filter_map(|item| one_match(item.fields(report)?)).collect(),
        backends: fields.items("backendRefs").iter().filter_map(|item| backend(item.fields(report)?, own)).collect(),
        filters: filters::of_rule(&mut fields, own),
        ..GatewayRule::default()
    };
    if found.matches.is_empty() && fields.items("matches").is_empty() {
        found.matches.push(HttpMatch::default());
    }
    if found.filters.redirect.is_some() || found.filters.rewrite.is_some() {
        fields.error("filters", "RequestRedirect and URLRewrite are not for GRPCRoute");
    }
    fields.skip("name");
    fields.without_effect("sessionPersistence", "has no effect: use consistentHash of a DestinationRule");
    fields.finish();
    found
}

fn one_match(mut fields: Fields<'_>) -> Option<HttpMatch> {
    let mut found = HttpMatch::default();
    if let Some(mut method) = fields.fields("method") {
        found.uri = self::method(&mut method);
        method.finish();
    }
    found.headers = route::named_matches(&mut fields, "headers");
    fields.finish();
    Some(found)
}

/// The paths of a method, of all methods of a service, or of the methods of that name in any service.
fn method(fields: &mut Fields<'_>) -> Option<TextMatch> {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let kind = fields.text("type").unwrap_or_else(|| "Exact".to_owned());
    let (service, method) = (text(fields.text("service")), text(fields.text("method")));
    let place = fields.place();
    let regex = |text: String| values::regex(&text, &place).map(TextMatch::Regex);
    match (kind.as_str(), service, method) {
        (_, None, None) => {
            fields.error("service", "service or method is needed");
            None
        }
        ("Exact", Some(service), Some(method)) => Some(TextMatch::Exact(format!("/{service}/{method}").into())),
        ("Exact", Some(service), None) => Some(TextMatch::Prefix(format!("/{service}/").into())),
        ("Exact", None, Some(method)) => regex(format!("/[^/]+/{}", filters::escaped(&method))),
        ("RegularExpression", service, method) => {
            let any = || "[^/]+".to_owned();
            regex(format!("/{}/{}", service.unwrap_or_else(any), method.unwrap_or_else(any)))
        }
        _ => {
            fields.error("type", format!("unknown value {kind:?}: use one of Exact, RegularExpression"));
            None
        }
    }
}
