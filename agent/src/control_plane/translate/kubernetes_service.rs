//! Kubernetes Service to a service of the mesh.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::context::Context;
use super::fields::{network_address, traffic_distribution};
use super::waypoint::{self, Traffic};
use crate::model::service::CLIENT_IP_AFFINITY_EXTENSION;
use crate::objects::{EntryVisibility, IpFamily, KubernetesPort, Object, Service, TargetPort};
use crate::proto::istio::workload::{
    AppProtocol, Extension, IpFamilies, LoadBalancing, Port, PortList, Service as MeshService,
    load_balancing::HealthPolicy, load_balancing::Mode, load_balancing::Scope,
};

/// A Kubernetes Service and the name it has in DNS.
#[derive(Debug, Clone)]
pub(super) struct KubernetesHost<'a> {
    pub(super) object: Object<'a, Service>,
    pub(super) hostname: String,
}

/// Services that Pods serve because an EndpointSlice says so, by the Pod's namespace and name; each with the Pod's address there.
pub(super) type JoinedPods<'a> = BTreeMap<(&'a str, &'a str), Vec<Joined>>;

/// One service that a Pod serves.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) addresses: Vec<Bytes>,
    pub(super) service: (String, PortList),
}

impl Joined {
    /// The service, if the Pod has an address that the slice gives it: another Pod may have had its name before.
    pub(super) fn service_of(&self, pod_addresses: &[Bytes]) -> Option<(String, PortList)> {
        let is_it = self.addresses.iter().any(|address| pod_addresses.contains(address));
        is_it.then(|| self.service.clone())
    }
}

/// The services that count: aliases in DNS do not.
pub(super) fn hosts<'a>(context: &Context<'a>) -> Vec<KubernetesHost<'a>> {
    let counts = |object: &Object<'_, Service>| context.is_ours(object.metadata) && !object.spec.external_name;
    let host = |object: Object<'a, Service>| {
        let (name, namespace) = (&object.metadata.name, &object.metadata.namespace);
        KubernetesHost { object, hostname: format!("{name}.{namespace}.svc.{}", context.options.dns_suffix) }
    };
    context.objects.services().filter(counts).map(host).collect()
}

/// The service of the mesh.
pub(super) fn service(context: &Context<'_>, host: &KubernetesHost<'_>) -> MeshService {
    let (metadata, spec) = (host.object.metadata, host.object.spec);
    let waypoint = if waypoint::is_gateways_own(metadata) {
        None
    } else {
        waypoint::waypoint(context, metadata, &metadata.labels, Traffic::Service, EntryVisibility::Public)
    };
    let network = &context.options.network;
    MeshService {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        hostname: host.hostname.clone(),
        addresses: spec.cluster_ips.iter().map(|ip| network_address(network, (*ip).into())).collect(),
        ports: spec.ports.iter().filter(|port| port.is_tcp).map(service_port).collect(),
        ingress_use_waypoint: waypoint.is_some() && waypoint::is_for_ingress(context, metadata),
        waypoint,
        load_balancing: load_balancing(context, host.object),
        ip_families: ip_families(&spec.ip_families).into(),
        canonical: true,
        extensions: extensions(spec),
        ..MeshService::default()
    }
}

/// What of a Service the workload API has no field for.
fn extensions(spec: &Service) -> Vec<Extension> {
    let affinity =
        spec.client_ip_affinity.then(|| Extension { name: CLIENT_IP_AFFINITY_EXTENSION.to_owned(), config: None });
    affinity.into_iter().collect()
}

fn service_port(port: &KubernetesPort) -> Port {
    let target_port = match port.target {
        TargetPort::Number(number) => number,
        // Each workload brings its own.
        TargetPort::Name(_) => 0,
    };
    Port { service_port: port.number.into(), target_port: target_port.into(), app_protocol: app_protocol(port).into() }
}

fn app_protocol(port: &KubernetesPort) -> AppProtocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => return AppProtocol::Http2,
        Some("kubernetes.io/ws") => return AppProtocol::Http11,
        Some("kubernetes.io/wss") => return AppProtocol::Tls,
        _ => {}
    }
    let name = port.app_protocol.as_ref().unwrap_or(&port.name).to_ascii_lowercase();
    if name.starts_with("grpc-web") {
        return AppProtocol::Unknown;
    }
    match name.split('-').next().unwrap_or_default() {
        "http" => AppProtocol::Http11,
        "http2" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "https" | "tls" => AppProtocol::Tls,
        "tcp" => AppProtocol::Tcp,
        "mongo" | "redis" | "mysql" | "udp" => AppProtocol::Unknown,
        // Ports of protocols in which the server speaks first.
        _ if matches!(port.number, 25 | 53 | 3306 | 27017) => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}

fn ip_families(families: &[IpFamily]) -> IpFamilies {
    match families {
        [] => IpFamilies::Automatic,
        [IpFamily::V4] => IpFamilies::Ipv4Only,
        [IpFamily::V6] => IpFamilies::Ipv6Only,
        _ => IpFamilies::Dual,
    }
}

fn load_balancing(context: &Context<'_>, object: Object<'_, Service>) -> Option<LoadBalancing> {
    let spec = object.spec;
    let mut found = if spec.node_local {
        let node = vec![Scope::Node.into()];
        Some(LoadBalancing { routing_preference: node, mode: Mode::Strict.into(), ..LoadBalancing::default() })
    } else {
        // The spec's words are compared exactly, those of annotations in any case; an unknown one in the spec is none.
        let exact = ["PreferClose", "PreferSameZone", "PreferSameNode"].contains(&spec.traffic_distribution.as_str());
        let own = exact.then_some(spec.traffic_distribution.as_str());
        traffic_distribution(context, object.metadata, own)
    };
    if spec.publish_not_ready {
        found.get_or_insert_default().health_policy = HealthPolicy::AllowAll.into();
    }
    found
}
