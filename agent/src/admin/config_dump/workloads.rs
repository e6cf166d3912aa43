//! Workloads in ztunnel's form.

use std::net::IpAddr;

use serde::Serialize;

use crate::model::service::{GatewayAddress, GatewayDestination};
use crate::model::workload::{
    ApplicationTunnel, HealthStatus, Locality, NetworkMode, TunnelProtocol, Workload, WorkloadType,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadView<'a> {
    workload_ips: &'a [IpAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    waypoint: Option<GatewayView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_gateway: Option<GatewayView>,
    protocol: &'static str,
    network_mode: &'static str,
    uid: &'a str,
    name: &'a str,
    namespace: &'a str,
    trust_domain: &'a str,
    service_account: &'a str,
    network: &'a str,
    workload_name: &'a str,
    workload_type: &'static str,
    canonical_name: &'a str,
    canonical_revision: &'a str,
    hostname: &'a str,
    node: &'a str,
    native_tunnel: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_tunnel: Option<TunnelView>,
    authorization_policies: Vec<&'a str>,
    status: &'static str,
    cluster_id: &'a str,
    locality: LocalityView<'a>,
    services: Vec<String>,
    capacity: u32,
}

/// A waypoint or gateway.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayView {
    /// `namespace/hostname` or `network/address`.
    destination: String,
    hbone_mtls_port: u16,
}

#[derive(Serialize)]
struct TunnelView {
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
struct LocalityView<'a> {
    region: &'a str,
    zone: &'a str,
    subzone: &'a str,
}

impl<'a> WorkloadView<'a> {
    pub(super) fn new(workload: &'a Workload) -> Self {
        Self {
            workload_ips: &workload.addresses,
            waypoint: workload.waypoint.as_deref().map(GatewayView::new),
            network_gateway: workload.network_gateway.as_deref().map(GatewayView::new),
            protocol: match workload.protocol {
                TunnelProtocol::None => "TCP",
                TunnelProtocol::Hbone => "HBONE",
            },
            network_mode: match workload.network_mode {
                NetworkMode::Standard => "Standard",
                NetworkMode::HostNetwork => "HostNetwork",
            },
            uid: &workload.uid,
            name: &workload.name,
            namespace: &workload.namespace,
            trust_domain: workload.trust_domain.as_str(),
            service_account: &workload.service_account,
            network: &workload.network,
            workload_name: &workload.workload_name,
            workload_type: workload_type(workload.workload_type),
            canonical_name: &workload.canonical_name,
            canonical_revision: &workload.canonical_revision,
            hostname: &workload.hostname,
            node: &workload.node,
            native_tunnel: workload.native_tunnel,
            application_tunnel: workload.application_tunnel.map(TunnelView::new),
            authorization_policies: workload.authorization_policies.iter().map(|policy| &**policy).collect(),
            status: health(workload.status),
            cluster_id: &workload.cluster_id,
            locality: LocalityView::new(&workload.locality),
            services: workload.services.keys().map(ToString::to_string).collect(),
            capacity: workload.capacity,
        }
    }
}

impl GatewayView {
    pub(super) fn new(gateway: &GatewayAddress) -> Self {
        let destination = match &gateway.destination {
            GatewayDestination::Hostname(key) => key.to_string(),
            GatewayDestination::Address(address) => format!("{}/{}", address.network, address.ip),
        };
        Self { destination, hbone_mtls_port: gateway.hbone_mtls_port }
    }
}

impl TunnelView {
    fn new(tunnel: ApplicationTunnel) -> Self {
        Self {
            protocol: if tunnel.proxy_protocol { "PROXY" } else { "NONE" },
            port: (tunnel.port != 0).then_some(tunnel.port),
        }
    }
}

impl<'a> LocalityView<'a> {
    fn new(locality: &'a Locality) -> Self {
        Self { region: &locality.region, zone: &locality.zone, subzone: &locality.subzone }
    }
}

fn workload_type(kind: WorkloadType) -> &'static str {
    match kind {
        WorkloadType::Deployment => "deployment",
        WorkloadType::CronJob => "cronjob",
        WorkloadType::Pod => "pod",
        WorkloadType::Job => "job",
    }
}

pub(super) fn health(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Healthy => "Healthy",
        // ztunnel has no word for those that serve while they terminate.
        HealthStatus::Unhealthy | HealthStatus::Terminating => "Unhealthy",
    }
}
