//! Services and their endpoints in ztunnel's form.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use super::workloads::{GatewayView, health};
use crate::model::service::{
    BalancingMode, IpFamilies, LoadBalancing, PortMapping, Scope, Service, ServiceKey, Visibility,
};
use crate::model::workload::Workload;

/// The endpoints of every service, by workload uid.
pub(super) type Endpoints<'a> = HashMap<&'a ServiceKey, BTreeMap<&'a str, EndpointView<'a>>>;
/// The endpoints of services that are not known, by `namespace/hostname`.
pub(super) type StagedServices<'a> = BTreeMap<String, &'a BTreeMap<&'a str, EndpointView<'a>>>;

static NO_ENDPOINTS: BTreeMap<&str, EndpointView<'static>> = BTreeMap::new();

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceView<'a> {
    name: &'a str,
    namespace: &'a str,
    hostname: &'a str,
    vips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cidr_vips: Vec<BlockView<'a>>,
    ports: BTreeMap<u16, u16>,
    endpoints: &'a BTreeMap<&'a str, EndpointView<'a>>,
    subject_alt_names: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waypoint: Option<GatewayView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<BalancingView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_families: Option<&'static str>,
    canonical: bool,
    visibility: &'static str,
    ingress_use_waypoint: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_ip_affinity: bool,
}

#[derive(Serialize)]
struct BlockView<'a> {
    network: &'a str,
    cidr: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointView<'a> {
    workload_uid: &'a str,
    port: BTreeMap<u16, u16>,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BalancingView {
    routing_preferences: Vec<&'static str>,
    mode: &'static str,
    health_policy: &'static str,
}

impl<'a> ServiceView<'a> {
    pub(super) fn new(service: &'a Service, endpoints: &'a Endpoints<'_>) -> Self {
        let (single, blocks): (Vec<_>, Vec<_>) = service.vips.iter().partition(|vip| vip.single().is_some());
        Self {
            name: &service.name,
            namespace: &service.key.namespace,
            hostname: &service.key.hostname,
            vips: single.iter().map(|vip| format!("{}/{}", vip.network, vip.block.addr())).collect(),
            cidr_vips: blocks.iter().map(|vip| BlockView::new(&vip.network, vip.block)).collect(),
            ports: service.ports.iter().map(|port| (port.service_port, port.target_port)).collect(),
            endpoints: endpoints.get(&service.key).unwrap_or(&NO_ENDPOINTS),
            subject_alt_names: service.subject_alt_names.iter().map(|name| &**name).collect(),
            waypoint: service.waypoint.as_ref().map(GatewayView::new),
            load_balancer: service.load_balancing.as_ref().map(BalancingView::new),
            ip_families: ip_families(service.ip_families),
            canonical: service.canonical,
            visibility: match service.visibility {
                Visibility::Public => "Public",
                Visibility::Namespace => "Namespace",
            },
            ingress_use_waypoint: service.ingress_use_waypoint,
            client_ip_affinity: service.client_ip_affinity,
        }
    }
}

impl<'a> BlockView<'a> {
    fn new(network: &'a str, block: IpNet) -> Self {
        Self { network, cidr: block.to_string() }
    }
}

impl BalancingView {
    fn new(balancing: &LoadBalancing) -> Self {
        Self {
            routing_preferences: balancing.routing_preference.iter().copied().map(scope).collect(),
            mode: match balancing.mode {
                BalancingMode::Unspecified => "Standard",
                BalancingMode::Strict => "Strict",
                BalancingMode::Failover => "Failover",
                BalancingMode::Passthrough => "Passthrough",
            },
            health_policy: if balancing.allow_unhealthy { "AllowAll" } else { "OnlyHealthy" },
        }
    }
}

/// Workloads say which services they serve; here it is the other way round.
pub(super) fn endpoints(workloads: &[Arc<Workload>]) -> Endpoints<'_> {
    let mut endpoints = Endpoints::new();
    for workload in workloads {
        for (service, ports) in &workload.services {
            let endpoint =
                EndpointView { workload_uid: &workload.uid, port: mapped(ports), status: health(workload.status) };
            endpoints.entry(service).or_default().insert(&workload.uid, endpoint);
        }
    }
    endpoints
}

pub(super) fn staged<'a>(services: &[Arc<Service>], endpoints: &'a Endpoints<'_>) -> StagedServices<'a> {
    let known: HashSet<_> = services.iter().map(|service| &service.key).collect();
    endpoints.iter().filter(|(key, _)| !known.contains(*key)).map(|(key, of_it)| (key.to_string(), of_it)).collect()
}

fn mapped(ports: &[PortMapping]) -> BTreeMap<u16, u16> {
    ports.iter().map(|port| (port.service_port, port.target_port)).collect()
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Region => "Region",
        Scope::Zone => "Zone",
        Scope::Subzone => "Subzone",
        Scope::Node => "Node",
        Scope::Cluster => "Cluster",
        Scope::Network => "Network",
    }
}

fn ip_families(families: IpFamilies) -> Option<&'static str> {
    match families {
        IpFamilies::Automatic => None,
        IpFamilies::Ipv4Only => Some("IPv4"),
        IpFamilies::Ipv6Only => Some("IPv6"),
        IpFamilies::Dual => Some("Dual"),
    }
}
