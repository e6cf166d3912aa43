//! Which waypoint a service or workload is behind: named by a label on the object, else on its namespace.

use weir_common::HBONE_PORT;

use super::context::Context;
use super::fields::octets;
use crate::objects::{AllowedNamespaces, EntryVisibility, Gateway, Labels, Metadata, Object, WaypointAddress};
use crate::proto::istio::workload::{
    GatewayAddress as Waypoint, NamespacedHostname, NetworkAddress, gateway_address::Destination,
};

const USE_WAYPOINT: &str = "istio.io/use-waypoint";
const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
const INGRESS_USE_WAYPOINT: &str = "istio.io/ingress-use-waypoint";
/// Label with the traffic that a waypoint is for: `service` (the default), `workload`, `all` or `none`.
const WAYPOINT_FOR: &str = "istio.io/waypoint-for";
const MANAGED_BY: &str = "gateway.istio.io/managed";

/// What asks for a waypoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    Service,
    Workload,
}

/// The waypoint of an object with these labels in this namespace. One that is named and cannot be used is noted; the
/// namespace's does not take its place.
pub(super) fn waypoint(
    context: &Context<'_>,
    metadata: &Metadata,
    labels: &Labels,
    traffic: Traffic,
    visibility: EntryVisibility,
) -> Option<Waypoint> {
    let namespace = metadata.namespace.as_str();
    let (waypoint_namespace, name) = named(labels, namespace).or_else(|| {
        let inherited = context.objects.namespace(namespace)?;
        named(&inherited.labels, namespace)
    })?;
    if name == "none" {
        return None;
    }
    let usable = usable(context, namespace, waypoint_namespace, name, traffic, visibility);
    usable.map_err(|reason| context.note(format!("{namespace}/{}: {reason}", metadata.name))).ok()
}

fn named<'a>(labels: &'a Labels, namespace: &'a str) -> Option<(&'a str, &'a str)> {
    let name = labels.get(USE_WAYPOINT)?;
    Some((labels.get(USE_WAYPOINT_NAMESPACE).map_or(namespace, String::as_str), name))
}

fn usable(
    context: &Context<'_>,
    user_namespace: &str,
    namespace: &str,
    name: &str,
    traffic: Traffic,
    visibility: EntryVisibility,
) -> Result<Waypoint, String> {
    let found = context.objects.gateway(namespace, name).filter(|gateway| context.is_ours(gateway.metadata));
    let gateway = found.ok_or_else(|| format!("waypoint {namespace}/{name} does not exist and is not used"))?;
    if namespace != user_namespace && !admits(context, gateway.spec, user_namespace) {
        return Err(format!("waypoint {namespace}/{name} does not admit this namespace and is not used"));
    }
    if namespace != user_namespace && visibility == EntryVisibility::Namespace {
        return Err(format!("waypoint {namespace}/{name} is in a namespace that does not see the service"));
    }
    let serves = gateway.metadata.labels.get(WAYPOINT_FOR).map_or("service", String::as_str);
    let wanted = if traffic == Traffic::Service { "service" } else { "workload" };
    if serves != "all" && serves != wanted {
        return Err(format!("waypoint {namespace}/{name} is for {serves} traffic and is not used"));
    }
    address(context, gateway).ok_or_else(|| format!("waypoint {namespace}/{name} has no address and is not used"))
}

fn admits(context: &Context<'_>, gateway: &Gateway, namespace: &str) -> bool {
    match &gateway.allowed_namespaces {
        None | Some(AllowedNamespaces::Same) => false,
        Some(AllowedNamespaces::All) => true,
        Some(AllowedNamespaces::Selector(selector)) => selector.matches(&context.namespace_labels(namespace)),
    }
}

/// The first host name, else the first IP address.
fn address(context: &Context<'_>, gateway: Object<'_, Gateway>) -> Option<Waypoint> {
    let addresses = || gateway.spec.addresses.iter();
    let hostname = addresses().find_map(|address| match address {
        WaypointAddress::Hostname(hostname) => Some(Destination::Hostname(NamespacedHostname {
            namespace: gateway.metadata.namespace.clone(),
            hostname: hostname.clone(),
        })),
        WaypointAddress::Ip(_) => None,
    });
    let ip = || {
        addresses().find_map(|address| match address {
            WaypointAddress::Hostname(_) => None,
            WaypointAddress::Ip(ip) => Some(Destination::Address(NetworkAddress {
                network: context.options.network.clone(),
                address: octets(*ip),
                length: None,
            })),
        })
    };
    let destination = hostname.or_else(ip)?;
    Some(Waypoint { destination: Some(destination), hbone_mtls_port: HBONE_PORT.into() })
}

/// True for the service of a waypoint or gateway itself: it has none.
pub(super) fn is_gateways_own(metadata: &Metadata) -> bool {
    let manager = metadata.labels.get(MANAGED_BY).map(String::as_str);
    matches!(manager, Some("istio.io-mesh-controller" | "istio.io-eastwest-controller"))
}

/// True if traffic from ingress gateways takes the service's waypoint too: a label on the object, else its namespace.
pub(super) fn is_for_ingress(context: &Context<'_>, metadata: &Metadata) -> bool {
    let own = metadata.labels.get(INGRESS_USE_WAYPOINT);
    let inherited = || context.objects.namespace(&metadata.namespace)?.labels.get(INGRESS_USE_WAYPOINT);
    let value = own.or_else(inherited).map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}
