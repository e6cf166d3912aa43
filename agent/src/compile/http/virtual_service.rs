//! A VirtualService to a route object: one that a user wrote, and one that a control plane made of a Gateway API route.

use std::sync::Arc;

use super::rule;
use super::settings::{HttpSettings, RuleContext, exported_to};
use crate::model::http::objects::RouteObject;
use crate::model::http::route::{Origin, OriginKind, Semantics};
use crate::model::http::visibility::{self, HostPattern};
use crate::objects::{HttpRule, Metadata, ROUTE_PARENTS, VirtualService, has_gateway_semantics};

/// Compiles a VirtualService whose delegates were put into their places (`rules`). `None` where it is no business of pods.
pub(super) fn route_object(
    settings: &HttpSettings,
    metadata: &Metadata,
    service: &VirtualService,
    rules: &[HttpRule],
) -> Option<RouteObject> {
    if service.hosts.is_empty() || !service.is_for_mesh() {
        return None;
    }
    if has_gateway_semantics(metadata) {
        return Some(of_gateway_api(settings, metadata, service));
    }
    let namespace = metadata.namespace.as_str();
    let context = RuleContext { settings, namespace, semantics: Semantics::VirtualService };
    let origin = |rule: usize| origin(OriginKind::VirtualService, namespace, &metadata.name, rule);
    let routes: Vec<_> =
        rules.iter().enumerate().flat_map(|(at, rule)| rule::routes(context, origin(at), rule)).collect();
    let hosts = service.hosts.iter().map(|host| HostPattern::parse(&settings.full_name(host, namespace)));
    Some(RouteObject {
        origin: origin(0),
        semantics: Semantics::VirtualService,
        hosts: hosts.collect(),
        parent_namespace: None,
        parent_port: None,
        exported_to: exported_to(&service.export_to, &settings.virtual_services, namespace),
        routes,
    })
}

/// The origin of a rule of an object.
pub(super) fn origin(kind: OriginKind, namespace: &str, name: &str, rule: usize) -> Origin {
    Origin { kind, namespace: namespace.into(), name: name.into(), rule: u32::try_from(rule).unwrap_or(u32::MAX) }
}

/// istiod makes one VirtualService of all routes of a namespace for a host and port. Its name is
/// `<namespace>~<port>~<host>`, or without the port; its rules have one match each and are named
/// `<namespace>.<route>.<rule>`.
fn of_gateway_api(settings: &HttpSettings, metadata: &Metadata, service: &VirtualService) -> RouteObject {
    let namespace = metadata.namespace.as_str();
    let context = RuleContext { settings, namespace, semantics: Semantics::GatewayApi };
    let parents = metadata.annotations.get(ROUTE_PARENTS).map(String::as_str).unwrap_or_default();
    let routes = service.http.iter().flat_map(|rule| {
        let (route, number) = rule.name.rsplit_once('.').unwrap_or((&rule.name, "0"));
        let name = route.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('.')).unwrap_or(route);
        let is_grpc = parents.split(',').any(|parent| parent == format!("GRPCRoute/{name}.{namespace}"));
        let kind = if is_grpc { OriginKind::GrpcRoute } else { OriginKind::HttpRoute };
        rule::routes(context, origin(kind, namespace, name, number.parse().unwrap_or(0)), rule)
    });
    let routes: Vec<_> = routes.collect();
    let hosts: Vec<HostPattern> = service.hosts.iter().map(|host| HostPattern::parse(host)).collect();
    let parent_namespace = service.hosts.first().and_then(|host| settings.namespace_of(host)).map(Arc::from);
    let mut parts = metadata.name.split('~');
    RouteObject {
        origin: routes.first().map_or_else(
            || origin(OriginKind::HttpRoute, namespace, &metadata.name, 0),
            |route| Origin { rule: 0, ..route.rule.origin.clone() },
        ),
        semantics: Semantics::GatewayApi,
        hosts,
        parent_namespace,
        parent_port: parts.nth(1).and_then(|port| port.parse().ok()),
        exported_to: visibility::ExportTo::Everyone,
        routes,
    }
}
