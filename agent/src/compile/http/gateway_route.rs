//! An HTTPRoute or GRPCRoute to one route object per parent: its rules become those that istiod makes of them.

use std::sync::Arc;

use super::rule;
use super::settings::{HttpSettings, RuleContext};
use super::virtual_service::origin;
use crate::model::http::objects::RouteObject;
use crate::model::http::route::{DirectResponse, OriginKind, Semantics};
use crate::model::http::visibility::{self, HostPattern};
use crate::objects::{
    Backend, BackendMirror, Destination, GatewayRoute, GatewayRule, HttpMatch, HttpRule, Metadata, Mirror,
    PARENT_HOSTS, ParentHosts, RouteDestination, ServiceRef,
};

/// The answer of a rule none of whose backends has a weight.
const WITHOUT_WEIGHT: u16 = 503;
/// The answer of a rule with a filter that is not known.
const WITHOUT_FILTER: u16 = 500;

/// Compiles a route, once for each of its parents.
pub(super) fn route_objects(
    settings: &HttpSettings,
    kind: OriginKind,
    metadata: &Metadata,
    route: &GatewayRoute,
    mut note: impl FnMut(String),
) -> Vec<RouteObject> {
    let namespace = metadata.namespace.as_str();
    let context = RuleContext { settings, namespace, semantics: Semantics::GatewayApi };
    let entries = metadata.annotations.get(PARENT_HOSTS).map(|text| ParentHosts::parse(text)).unwrap_or_default();
    let mut found = Vec::new();
    for (at, parent) in route.parents.iter().enumerate() {
        let (parent_namespace, hosts) = match &parent.target {
            ServiceRef::Service { namespace, name } => {
                (namespace, vec![HostPattern::parse(&settings.service_name(name, namespace))])
            }
            ServiceRef::ServiceEntry { namespace, name } => {
                let hosts: Vec<_> = entries.of(namespace, name).iter().map(|host| HostPattern::parse(host)).collect();
                if hosts.is_empty() {
                    note(format!("spec.parentRefs[{at}]: there is no ServiceEntry {namespace}/{name}"));
                    continue;
                }
                (namespace, hosts)
            }
            ServiceRef::Hostname(_) | ServiceRef::Unknown => continue,
        };
        let rules = route.rules.iter().enumerate().flat_map(|(at, rule)| {
            let mut compiled = http_rule(settings, rule, parent.port);
            compiled.name = format!("{namespace}.{}.{at}", metadata.name);
            rule::routes(context, origin(kind, namespace, &metadata.name, at), &compiled)
        });
        found.push(RouteObject {
            origin: origin(kind, namespace, &metadata.name, 0),
            semantics: Semantics::GatewayApi,
            hosts,
            parent_namespace: Some(Arc::from(parent_namespace.as_str())),
            parent_port: parent.port,
            exported_to: visibility::ExportTo::Everyone,
            routes: rules.collect(),
        });
    }
    found
}

/// The rule of a VirtualService that stands for it, as istiod makes one; it makes none where a filter is not known.
fn http_rule(settings: &HttpSettings, rule: &GatewayRule, port: Option<u16>) -> HttpRule {
    let answer = |status| DirectResponse { status, body: Arc::default() };
    let matches = rule.matches.iter().map(|one| HttpMatch { port, ..one.clone() }).collect();
    if rule.filters.has_unknown {
        // The Gateway API: what a filter should have processed is answered with an error.
        return HttpRule { matches, direct_response: Some(answer(WITHOUT_FILTER)), ..HttpRule::default() };
    }
    let destination = |target: &ServiceRef, port: Option<u16>| {
        let host = match target {
            ServiceRef::Service { namespace, name } => settings.service_name(name, namespace),
            ServiceRef::Hostname(host) => host.clone(),
            ServiceRef::ServiceEntry { .. } | ServiceRef::Unknown => String::new(),
        };
        Destination { host: if port.is_some() { host } else { String::new() }, subset: None, port }
    };
    let backend = |backend: &Backend| RouteDestination {
        destination: destination(&backend.target, backend.port),
        weight: backend.weight,
        headers: backend.headers.clone(),
    };
    let mirror =
        |mirror: &BackendMirror| Mirror { destination: destination(&mirror.target, mirror.port), share: mirror.share };
    let mut retries = rule.retries.clone();
    let mut timeout = rule.timeout;
    match (&mut retries, rule.backend_timeout) {
        (Some(retries), per_try) => retries.per_try_timeout = per_try,
        (None, Some(backend_timeout)) => timeout = Some(backend_timeout),
        (None, None) => {}
    }
    // The Gateway API: a rule whose backends all have weight 0 sends nothing to them, and answers 503.
    let is_idle = !rule.backends.is_empty() && rule.backends.iter().all(|backend| backend.weight == 0);
    HttpRule {
        direct_response: is_idle.then(|| answer(WITHOUT_WEIGHT)),
        matches,
        redirect: rule.filters.redirect.clone(),
        // A backend without a weight gets nothing, also if it is the only one.
        route: rule.backends.iter().filter(|backend| backend.weight > 0).map(backend).collect(),
        rewrite: rule.filters.rewrite.clone(),
        timeout,
        retries,
        mirrors: rule.filters.mirrors.iter().map(mirror).collect(),
        cors: rule.filters.cors.clone(),
        headers: rule.filters.headers.clone(),
        ..HttpRule::default()
    }
}
