//! ServiceEntry to services: one per host, after it is settled which object owns a host.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::context::Context;
use super::fields::{network_address, traffic_distribution};
use super::kubernetes_service::KubernetesHost;
use super::vips::{self, HostVips};
use super::waypoint::{self, Traffic};
use crate::objects::{EntryVisibility, Object, Resolution, ServiceEntry, ServiceEntryPort};
use crate::proto::istio::workload::{
    AppProtocol, LoadBalancing, NetworkAddress, Port, Service, load_balancing::HealthPolicy, load_balancing::Mode,
    service::Visibility,
};

/// One host of a ServiceEntry that no other object of its namespace took away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) object: Object<'a, ServiceEntry>,
    pub(super) name: &'a str,
    /// It is the one other namespaces mean by this name.
    pub(super) canonical: bool,
    pub(super) visibility: EntryVisibility,
}

/// The hosts in force. `entries` come oldest first: the oldest object of a namespace owns a host there, and the oldest
/// public one of those is canonical; a Kubernetes Service of that name comes before both. Losers do not step in where the
/// winner of their namespace is not public.
pub(super) fn hosts<'a>(
    context: &Context<'_>,
    entries: &[Object<'a, ServiceEntry>],
    kubernetes: &'a [KubernetesHost<'a>],
) -> Vec<Host<'a>> {
    let owned = |host: &'a KubernetesHost<'a>| (host.object.metadata.namespace.as_str(), host.hostname.as_str());
    let mut owners: BTreeSet<(&str, &str)> = kubernetes.iter().map(owned).collect();
    let mut canonical: BTreeSet<&str> = kubernetes.iter().map(|host| host.hostname.as_str()).collect();
    let mut found = Vec::new();
    for object in entries {
        let visibility = context.visibility(&object.metadata.namespace);
        if visibility == EntryVisibility::None {
            continue;
        }
        for name in &object.spec.hosts {
            if !owners.insert((&object.metadata.namespace, name)) {
                continue;
            }
            let canonical = visibility == EntryVisibility::Public && canonical.insert(name);
            found.push(Host { object: *object, name, canonical, visibility });
        }
    }
    found
}

/// The service of a host.
pub(super) fn service(context: &Context<'_>, vips: &HostVips, host: &Host<'_>) -> Service {
    let (metadata, spec) = (host.object.metadata, host.object.spec);
    let visibility = match host.visibility {
        EntryVisibility::Namespace => Visibility::Namespace,
        EntryVisibility::Public | EntryVisibility::None => Visibility::Public,
    };
    let waypoint = waypoint::waypoint(context, metadata, &metadata.labels, Traffic::Service, host.visibility);
    Service {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        hostname: host.name.to_owned(),
        addresses: addresses(context, vips, host),
        ports: spec.ports.iter().map(service_port).collect(),
        subject_alt_names: spec.subject_alt_names.clone(),
        ingress_use_waypoint: waypoint.is_some() && waypoint::is_for_ingress(context, metadata),
        waypoint,
        load_balancing: load_balancing(context, host.object),
        canonical: host.canonical,
        visibility: visibility.into(),
        ..Service::default()
    }
}

fn addresses(context: &Context<'_>, vips: &HostVips, host: &Host<'_>) -> Vec<NetworkAddress> {
    let network = &context.options.network;
    if host.object.spec.addresses.is_empty() {
        let allocated = vips::of_host(vips, host.object, host.name);
        return allocated.iter().map(|ip| network_address(network, IpNet::from(*ip))).collect();
    }
    host.object.spec.addresses.iter().map(|block| network_address(network, *block)).collect()
}

fn service_port(port: &ServiceEntryPort) -> Port {
    Port {
        service_port: port.number.into(),
        target_port: port.target_port.unwrap_or(port.number).into(),
        app_protocol: app_protocol(&port.protocol).into(),
    }
}

/// A ServiceEntry names its protocol; unlike a Kubernetes Service's, the port's name has no meaning.
fn app_protocol(protocol: &str) -> AppProtocol {
    match protocol.to_ascii_lowercase().as_str() {
        "http" => AppProtocol::Http11,
        "http2" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "https" | "tls" => AppProtocol::Tls,
        "tcp" => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}

fn load_balancing(context: &Context<'_>, object: Object<'_, ServiceEntry>) -> Option<LoadBalancing> {
    if object.spec.resolution == Resolution::None {
        return Some(LoadBalancing {
            mode: Mode::Passthrough.into(),
            health_policy: HealthPolicy::AllowAll.into(),
            ..LoadBalancing::default()
        });
    }
    traffic_distribution(context, object.metadata, None)
}
