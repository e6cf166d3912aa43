//! `istio.workload.Workload` to the model's workload.

use std::collections::BTreeMap;

use prost::Message as _;

use super::fields::{gateway, ip, known, not_empty, port, service_key};
use super::malformed::{Flaw, Malformed};
use crate::model::identity::TrustDomain;
use crate::model::peer_authentication::Labels;
use crate::model::service::{PortMapping, ServiceKey};
use crate::model::workload::{
    ApplicationTunnel, HealthStatus, KnownLabels, LABELS_EXTENSION, Locality, NetworkMode, TERMINATING_EXTENSION,
    TunnelProtocol, Workload, WorkloadType,
};
use crate::proto::istio::workload as pb;

/// The service account of a workload that names none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

pub(super) fn workload(wire: pb::Workload) -> Result<Workload, Malformed> {
    not_empty("uid", &wire.uid)?;
    let addresses = wire
        .addresses
        .iter()
        .enumerate()
        .map(|(i, bytes)| ip(&format!("addresses[{i}]"), bytes))
        .collect::<Result<_, _>>()?;
    let service_account =
        if wire.service_account.is_empty() { DEFAULT_SERVICE_ACCOUNT.into() } else { wire.service_account.into() };
    Ok(Workload {
        addresses,
        protocol: tunnel_protocol(wire.tunnel_protocol)?,
        network_mode: network_mode(wire.network_mode)?,
        workload_type: workload_type(wire.workload_type)?,
        status: status(wire.status, &wire.extensions)?,
        labels: KnownLabels { sent: labels(&wire.extensions)?, ..KnownLabels::default() }.into(),
        waypoint: gateway("waypoint", wire.waypoint)?.map(Into::into),
        network_gateway: gateway("network_gateway", wire.network_gateway)?.map(Into::into),
        application_tunnel: wire.application_tunnel.as_ref().map(application_tunnel).transpose()?,
        services: services(&wire.services)?.into(),
        uid: wire.uid.into(),
        name: wire.name.into(),
        namespace: wire.namespace.into(),
        trust_domain: TrustDomain::new(&wire.trust_domain),
        service_account,
        hostname: wire.hostname.into(),
        network: wire.network.into(),
        cluster_id: wire.cluster_id.into(),
        node: wire.node.into(),
        native_tunnel: wire.native_tunnel,
        workload_name: wire.workload_name.into(),
        canonical_name: wire.canonical_name.into(),
        canonical_revision: wire.canonical_revision.into(),
        locality: wire.locality.map(locality).unwrap_or_default().into(),
        capacity: wire.capacity.unwrap_or(1),
        authorization_policies: wire.authorization_policies.into_iter().map(Into::into).collect(),
    })
}

fn tunnel_protocol(value: i32) -> Result<TunnelProtocol, Malformed> {
    const FIELD: &str = "tunnel_protocol";
    match known(FIELD, value)? {
        pb::TunnelProtocol::None => Ok(TunnelProtocol::None),
        pb::TunnelProtocol::Hbone => Ok(TunnelProtocol::Hbone),
        pb::TunnelProtocol::LegacyIstioMtls => Err(Malformed::new(FIELD, Flaw::Unsupported("LEGACY_ISTIO_MTLS"))),
    }
}

fn network_mode(value: i32) -> Result<NetworkMode, Malformed> {
    Ok(match known("network_mode", value)? {
        pb::NetworkMode::Standard => NetworkMode::Standard,
        pb::NetworkMode::HostNetwork => NetworkMode::HostNetwork,
    })
}

fn workload_type(value: i32) -> Result<WorkloadType, Malformed> {
    Ok(match known("workload_type", value)? {
        pb::WorkloadType::Deployment => WorkloadType::Deployment,
        pb::WorkloadType::Cronjob => WorkloadType::CronJob,
        pb::WorkloadType::Pod => WorkloadType::Pod,
        pb::WorkloadType::Job => WorkloadType::Job,
    })
}

fn status(value: i32, extensions: &[pb::Extension]) -> Result<HealthStatus, Malformed> {
    let is_terminating = || extensions.iter().any(|extension| extension.name == TERMINATING_EXTENSION);
    Ok(match known("status", value)? {
        pb::WorkloadStatus::Healthy => HealthStatus::Healthy,
        pb::WorkloadStatus::Unhealthy if is_terminating() => HealthStatus::Terminating,
        pb::WorkloadStatus::Unhealthy => HealthStatus::Unhealthy,
    })
}

fn labels(extensions: &[pb::Extension]) -> Result<Labels, Malformed> {
    let Some(extension) = extensions.iter().find(|extension| extension.name == LABELS_EXTENSION) else {
        return Ok(Labels::new());
    };
    let malformed = |flaw| Malformed::new(format!("extensions[{LABELS_EXTENSION}]"), flaw);
    let config = extension.config.as_ref().ok_or_else(|| malformed(Flaw::Missing))?;
    let decoded = prost_types::Struct::decode(&*config.value);
    let fields = decoded.map_err(|error| malformed(Flaw::NotProtobuf(error.to_string())))?.fields;
    let label = |(name, value): (String, prost_types::Value)| match value.kind {
        Some(prost_types::value::Kind::StringValue(value)) => Some((name, value)),
        _ => None,
    };
    Ok(fields.into_iter().filter_map(label).collect())
}

fn application_tunnel(wire: &pb::ApplicationTunnel) -> Result<ApplicationTunnel, Malformed> {
    use pb::application_tunnel::Protocol;
    Ok(ApplicationTunnel {
        proxy_protocol: known::<Protocol>("application_tunnel.protocol", wire.protocol)? == Protocol::Proxy,
        port: port("application_tunnel.port", wire.port)?,
    })
}

fn locality(wire: pb::Locality) -> Locality {
    Locality { region: wire.region.into(), zone: wire.zone.into(), subzone: wire.subzone.into() }
}

fn services(wire: &BTreeMap<String, pb::PortList>) -> Result<BTreeMap<ServiceKey, Vec<PortMapping>>, Malformed> {
    wire.iter()
        .map(|(name, list)| {
            let field = format!("services[{name}]");
            let ports = list
                .ports
                .iter()
                .enumerate()
                .map(|(i, wire)| {
                    Ok(PortMapping {
                        service_port: port(&format!("{field}.ports[{i}].service_port"), wire.service_port)?,
                        target_port: port(&format!("{field}.ports[{i}].target_port"), wire.target_port)?,
                    })
                })
                .collect::<Result<_, Malformed>>()?;
            Ok((service_key(&field, name)?, ports))
        })
        .collect()
}
