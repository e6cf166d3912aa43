//! `istio.workload.Service` to the model's service.

use super::fields::{block, gateway, known, not_empty, port};
use super::malformed::{Flaw, Malformed};
use crate::model::service::{
    AppProtocol, BalancingMode, CLIENT_IP_AFFINITY_EXTENSION, IpFamilies, LoadBalancing, Scope, Service, ServiceKey,
    ServicePort, Vip, Visibility,
};
use crate::proto::istio::workload as pb;

pub(super) fn service(wire: pb::Service) -> Result<Service, Malformed> {
    not_empty("hostname", &wire.hostname)?;
    let vips = wire.addresses.into_iter().enumerate().map(|(i, address)| vip(&format!("addresses[{i}]"), address));
    let ports = wire.ports.iter().enumerate().map(|(i, port)| service_port(&format!("ports[{i}]"), port));
    Ok(Service {
        vips: vips.collect::<Result<_, _>>()?,
        ports: ports.collect::<Result<_, _>>()?,
        waypoint: gateway("waypoint", wire.waypoint)?,
        load_balancing: wire.load_balancing.map(|wire| load_balancing(&wire)).transpose()?,
        visibility: visibility(wire.visibility)?,
        ip_families: ip_families(wire.ip_families)?,
        key: ServiceKey::new(&wire.namespace, &wire.hostname),
        name: wire.name.into(),
        subject_alt_names: wire.subject_alt_names.into_iter().map(Into::into).collect(),
        canonical: wire.canonical,
        ingress_use_waypoint: wire.ingress_use_waypoint,
        client_ip_affinity: wire.extensions.iter().any(|extension| extension.name == CLIENT_IP_AFFINITY_EXTENSION),
    })
}

fn vip(field: &str, wire: pb::NetworkAddress) -> Result<Vip, Malformed> {
    Ok(Vip { block: block(field, &wire.address, wire.length)?, network: wire.network.into() })
}

fn service_port(field: &str, wire: &pb::Port) -> Result<ServicePort, Malformed> {
    Ok(ServicePort {
        service_port: port(&format!("{field}.service_port"), wire.service_port)?,
        target_port: port(&format!("{field}.target_port"), wire.target_port)?,
        app_protocol: match known(&format!("{field}.app_protocol"), wire.app_protocol)? {
            pb::AppProtocol::Unknown => AppProtocol::Unknown,
            pb::AppProtocol::Http11 => AppProtocol::Http11,
            pb::AppProtocol::Http2 => AppProtocol::Http2,
            pb::AppProtocol::Grpc => AppProtocol::Grpc,
            pb::AppProtocol::Tcp => AppProtocol::Tcp,
            pb::AppProtocol::Tls => AppProtocol::Tls,
        },
    })
}

fn load_balancing(wire: &pb::LoadBalancing) -> Result<LoadBalancing, Malformed> {
    use pb::load_balancing::{HealthPolicy, Mode};
    let scopes = wire.routing_preference.iter().map(|value| scope(*value));
    Ok(LoadBalancing {
        routing_preference: scopes.collect::<Result<_, _>>()?,
        mode: match known("load_balancing.mode", wire.mode)? {
            Mode::UnspecifiedMode => BalancingMode::Unspecified,
            Mode::Strict => BalancingMode::Strict,
            Mode::Failover => BalancingMode::Failover,
            Mode::Passthrough => BalancingMode::Passthrough,
        },
        allow_unhealthy: known::<HealthPolicy>("load_balancing.health_policy", wire.health_policy)?
            == HealthPolicy::AllowAll,
    })
}

fn scope(value: i32) -> Result<Scope, Malformed> {
    const FIELD: &str = "load_balancing.routing_preference";
    use pb::load_balancing::Scope as Wire;
    Ok(match known(FIELD, value)? {
        Wire::UnspecifiedScope => return Err(Malformed::new(FIELD, Flaw::Unsupported("UNSPECIFIED_SCOPE"))),
        Wire::Region => Scope::Region,
        Wire::Zone => Scope::Zone,
        Wire::Subzone => Scope::Subzone,
        Wire::Node => Scope::Node,
        Wire::Cluster => Scope::Cluster,
        Wire::Network => Scope::Network,
    })
}

fn visibility(value: i32) -> Result<Visibility, Malformed> {
    Ok(match known("visibility", value)? {
        pb::service::Visibility::Public => Visibility::Public,
        pb::service::Visibility::Namespace => Visibility::Namespace,
    })
}

fn ip_families(value: i32) -> Result<IpFamilies, Malformed> {
    Ok(match known("ip_families", value)? {
        pb::IpFamilies::Automatic => IpFamilies::Automatic,
        pb::IpFamilies::Ipv4Only => IpFamilies::Ipv4Only,
        pb::IpFamilies::Ipv6Only => IpFamilies::Ipv6Only,
        pb::IpFamilies::Dual => IpFamilies::Dual,
    })
}
