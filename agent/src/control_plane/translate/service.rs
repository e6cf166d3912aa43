//! ServiceEntry to services: one per host, after it is settled which object owns a host.

use std::collections::{BTreeMap, BTreeSet};

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

/// One host of a ServiceEntry, with what of it counts.
#[derive(Debug, Clone)]
pub(super) struct Host<'a> {
    pub(super) object: Object<'a, ServiceEntry>,
    pub(super) name: &'a str,
    /// Ports of TCP that no older object of its namespace has for this host.
    pub(super) ports: Vec<&'a ServiceEntryPort>,
    /// It is the one other namespaces mean by this name.
    pub(super) canonical: bool,
    pub(super) visibility: EntryVisibility,
}

/// The object of a namespace that was the first to name a host.
enum Owner<'a> {
    Kubernetes,
    /// With the ports that it and those merged into it have, and who has them.
    Entry {
        object: Object<'a, ServiceEntry>,
        canonical: bool,
        ports: BTreeMap<u16, &'a str>,
    },
}

/// The hosts in force, an owner before those that are merged into it. `entries` come oldest first: the oldest object of a
/// namespace owns a host there, and the oldest public one of those is canonical; a Kubernetes Service of that name comes
/// before both. Losers do not step in where the winner of their namespace is not public.
///
/// A younger object of the namespace adds the ports that the owner does not have, as with Istio's sidecars
/// (`canMergeServices`). What has no effect is noted.
pub(super) fn hosts<'a>(
    context: &Context<'_>,
    entries: &[Object<'a, ServiceEntry>],
    kubernetes: &'a [KubernetesHost<'a>],
) -> Vec<Host<'a>> {
    let owned = |host: &'a KubernetesHost<'a>| (host.object.metadata.namespace.as_str(), host.hostname.as_str());
    let mut owners: BTreeMap<(&str, &str), Owner<'a>> =
        kubernetes.iter().map(|host| (owned(host), Owner::Kubernetes)).collect();
    let mut canonicals: BTreeSet<&str> = kubernetes.iter().map(|host| host.hostname.as_str()).collect();
    let mut found = Vec::new();
    for object in entries {
        let (namespace, entry) = (object.metadata.namespace.as_str(), object.metadata.name.as_str());
        let visibility = context.visibility(namespace);
        if visibility == EntryVisibility::None {
            continue;
        }
        for name in &object.spec.hosts {
            let ports: Vec<&ServiceEntryPort> = object.spec.ports.iter().filter(|port| port.is_tcp()).collect();
            let (ports, canonical) = match owners.get_mut(&(namespace, name)) {
                None => {
                    let canonical = visibility == EntryVisibility::Public && canonicals.insert(name);
                    let owner = Owner::Entry {
                        object: *object,
                        canonical,
                        ports: ports.iter().map(|port| (port.number, entry)).collect(),
                    };
                    owners.insert((namespace, name), owner);
                    (ports, canonical)
                }
                Some(owner) => {
                    let added = merge(owner, *object, ports, |reason| {
                        context.note(format!("ServiceEntry {namespace}/{entry}: host {name:?}: {reason}"));
                    });
                    match added {
                        Some(added) => added,
                        None => continue,
                    }
                }
            };
            found.push(Host { object: *object, name, ports, canonical, visibility });
        }
    }
    found
}

/// Merges a younger object into the owner of a host. Returns the ports that it adds, and whether the owner is canonical;
/// `None` where it adds nothing.
fn merge<'a>(
    owner: &mut Owner<'a>,
    object: Object<'a, ServiceEntry>,
    ports: Vec<&'a ServiceEntryPort>,
    note: impl Fn(String),
) -> Option<(Vec<&'a ServiceEntryPort>, bool)> {
    let Owner::Entry { object: older, canonical, ports: had } = owner else {
        note("it has no effect: a Kubernetes Service has this name".to_owned());
        return None;
    };
    if let Some(field) = differing(*older, object) {
        let owner = &older.metadata.name;
        note(format!(
            "it has no effect: it belongs to the older ServiceEntry {owner:?}, and {field} is not the same there"
        ));
        return None;
    }
    let mut added = Vec::new();
    for port in ports {
        match had.get(&port.number) {
            Some(owner) => note(format!("port {} has no effect: the older ServiceEntry {owner:?} has it", port.number)),
            None => added.push(port),
        }
    }
    had.extend(added.iter().map(|port| (port.number, object.metadata.name.as_str())));
    (!added.is_empty()).then_some((added, *canonical))
}

/// The first field in which two objects must agree, and do not, for one to be merged into the other.
fn differing(older: Object<'_, ServiceEntry>, object: Object<'_, ServiceEntry>) -> Option<&'static str> {
    if older.spec.resolution != object.spec.resolution {
        return Some("spec.resolution");
    }
    if older.spec.workload_selector != object.spec.workload_selector {
        return Some("spec.workloadSelector");
    }
    (older.metadata.labels != object.metadata.labels).then_some("metadata.labels")
}

/// Adds a host of a younger object to the service of its owner: its ports and its addresses.
pub(super) fn add(service: &mut Service, younger: Service) {
    service.ports.extend(younger.ports);
    for address in younger.addresses {
        if !service.addresses.contains(&address) {
            service.addresses.push(address);
        }
    }
    for name in younger.subject_alt_names {
        if !service.subject_alt_names.contains(&name) {
            service.subject_alt_names.push(name);
        }
    }
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
        ports: host.ports.iter().map(|port| service_port(port)).collect(),
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
