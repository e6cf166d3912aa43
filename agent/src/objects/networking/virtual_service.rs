//! VirtualService (`istio.networking.v1.VirtualService`): where requests to its hosts go. Also what istiod, and our own
//! control plane, make of a Gateway API route, which [`ROUTE_SEMANTICS`] tells.

use super::http_match::HttpMatch;
use super::http_rule::{self, HttpRule};
use super::values::{self, ExportTo};
use crate::objects::metadata::Metadata;
use crate::objects::reading::{Fields, names};

/// Annotation of a VirtualService that was made of a route of the Gateway API; its value is [`GATEWAY_SEMANTICS`].
pub const ROUTE_SEMANTICS: &str = "internal.istio.io/route-semantics";
pub const GATEWAY_SEMANTICS: &str = "gateway";
/// Annotation that names the routes a VirtualService was made of: `HTTPRoute/name.namespace`, separated by commas.
pub const ROUTE_PARENTS: &str = "internal.istio.io/parents";

/// The name in `gateways` that stands for the pods of the mesh.
pub const MESH_GATEWAY: &str = "mesh";

/// `spec` of a VirtualService.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VirtualService {
    /// As written; empty for a delegate, which counts only through the VirtualService that names it.
    pub hosts: Vec<String>,
    /// As written; empty means [`MESH_GATEWAY`].
    pub gateways: Vec<String>,
    pub export_to: ExportTo,
    pub http: Vec<HttpRule>,
}

impl VirtualService {
    /// True if it is about the pods of the mesh, and not about gateways only.
    #[must_use]
    pub fn is_for_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == MESH_GATEWAY)
    }
}

/// True if the rules of this VirtualService have the meaning of the Gateway API.
#[must_use]
pub fn has_gateway_semantics(metadata: &Metadata) -> bool {
    metadata.annotations.get(ROUTE_SEMANTICS).is_some_and(|value| value == GATEWAY_SEMANTICS)
}

/// Reads and checks `spec`.
pub(in crate::objects) fn read(mut fields: Fields<'_>, metadata: &Metadata) -> VirtualService {
    let report = fields.report();
    let service = VirtualService {
        hosts: fields.texts("hosts"),
        gateways: fields.texts("gateways"),
        export_to: ExportTo::read(&mut fields),
        http: fields.items("http").iter().filter_map(|item| http_rule::read(item.fields(report)?)).collect(),
    };
    let has_others = ["tcp", "tls"].map(|name| !fields.items(name).is_empty()).contains(&true);
    for name in ["tcp", "tls"] {
        fields.without_effect(name, "has no effect: only http rules are acted on");
    }
    // What a control plane made of a Gateway API route was checked as that route.
    if !has_gateway_semantics(metadata) {
        check_hosts(&service, &mut fields);
        if service.http.is_empty() && !has_others && !fields.place().has_errors() {
            fields.error("http", "a VirtualService needs at least one http, tcp or tls rule");
        }
        check_delegation(&service, &fields);
    }
    fields.finish();
    service
}

fn check_hosts(service: &VirtualService, fields: &mut Fields<'_>) {
    let report = fields.report();
    let items = fields.items("hosts");
    for (at, (item, host)) in items.iter().zip(&service.hosts).enumerate() {
        if service.hosts[..at].contains(host) {
            item.error(report, format!("{host:?} is listed twice: remove one of the two"));
        } else if host != "*" {
            values::host(item, host, report);
        } else if service.is_for_mesh() {
            item.error(report, "the host * cannot be routed for the pods of the mesh: name the hosts");
        }
    }
    for (at, gateway) in service.gateways.iter().enumerate() {
        let (namespace, name) = gateway.split_once('/').unwrap_or(("default", gateway));
        // Gateways may be written as domain names as well.
        if gateway.is_empty() || names::fqdn(name).is_err() || names::label(namespace).is_err() {
            fields.error(
                &format!("gateways[{at}]"),
                format!("{gateway:?} is not a gateway: write name or namespace/name"),
            );
        }
    }
}

fn check_delegation(service: &VirtualService, fields: &Fields<'_>) {
    let is_delegate = service.hosts.is_empty();
    if is_delegate && !service.gateways.is_empty() {
        fields.error("gateways", "a VirtualService without hosts is a delegate, which has no gateways: remove them");
    }
    for (at, rule) in service.http.iter().enumerate() {
        let place = fields.place().field("http").item(at);
        if is_delegate && rule.delegate.is_some() {
            place.field("delegate").error("a delegate cannot delegate further");
        }
        if is_delegate || rule.delegate.is_some() {
            let has_regex = rule.matches.iter().any(HttpMatch::has_regex);
            if has_regex && rule.delegate.is_some() {
                place.field("match").error("a rule that delegates cannot match by regular expressions");
            }
        }
    }
}
