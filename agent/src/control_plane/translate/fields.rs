//! Fields that several resources of the workload API share: their names, addresses, and which endpoints a service prefers.

use std::net::IpAddr;

use ipnet::IpNet;

use super::context::{Context, Options};
use crate::model::naming;
use crate::model::pod::workload_uid;
use crate::objects::{Labels, Metadata};
use crate::proto::istio::workload::{LoadBalancing, NetworkAddress, load_balancing::Mode, load_balancing::Scope};

/// Annotation with the endpoints that a service, or those of a namespace, prefer.
const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// Uid of the workload of a Pod; its group is the empty one.
pub(super) fn pod_uid(options: &Options, namespace: &str, name: &str) -> String {
    workload_uid(&options.cluster_id, namespace, name)
}

/// Uid of the workload of a WorkloadEntry.
pub(super) fn workload_entry_uid(options: &Options, namespace: &str, name: &str) -> String {
    format!("{}/networking.istio.io/WorkloadEntry/{namespace}/{name}", options.cluster_id)
}

/// Uid of one endpoint of a ServiceEntry: its address as written, or the host it is found by.
pub(super) fn endpoint_uid(options: &Options, namespace: &str, entry: &str, endpoint: &str) -> String {
    format!("{}/networking.istio.io/ServiceEntry/{namespace}/{entry}/{endpoint}", options.cluster_id)
}

/// Uid of one endpoint of an EndpointSlice.
pub(super) fn slice_endpoint_uid(options: &Options, namespace: &str, slice: &str, address: &str) -> String {
    format!("{}/discovery.k8s.io/EndpointSlice/{namespace}/{slice}/{address}", options.cluster_id)
}

/// Key of a service, and its name in a workload's `services`.
pub(super) fn service_key(namespace: &str, hostname: &str) -> String {
    format!("{namespace}/{hostname}")
}

/// Key of a policy.
pub(super) fn policy_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Name of the workload of a WorkloadEntry.
pub(super) fn workload_entry_workload_name<'a>(annotations: &'a Labels, labels: &'a Labels, name: &'a str) -> &'a str {
    let group = annotations.get("istio.io/autoRegistrationGroup").map(String::as_str);
    group.or_else(|| naming::named_by_label(labels)).unwrap_or(name)
}

/// An address or block in a network. Only a real block has a length on the wire.
pub(super) fn network_address(network: &str, block: IpNet) -> NetworkAddress {
    let is_block = block.prefix_len() != block.max_prefix_len();
    NetworkAddress {
        network: network.to_owned(),
        address: octets(block.addr()),
        length: is_block.then(|| u32::from(block.prefix_len())),
    }
}

/// The bytes of an address, 4 or 16.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The preference in an object's spec, else in its annotation, else in its namespace's.
pub(super) fn traffic_distribution(
    context: &Context<'_>,
    metadata: &Metadata,
    spec: Option<&str>,
) -> Option<LoadBalancing> {
    let own = || metadata.annotations.get(TRAFFIC_DISTRIBUTION).map(String::as_str);
    let inherited = || context.namespace_annotation(&metadata.namespace, TRAFFIC_DISTRIBUTION);
    let wish = spec.or_else(own).or_else(inherited)?;
    let scopes: &[Scope] = match wish.to_ascii_lowercase().as_str() {
        "preferclose" | "prefersamezone" => &[Scope::Network, Scope::Region, Scope::Zone],
        "prefersamenode" => &[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
        // An unknown wish ends the search: the namespace's is not asked.
        _ => return None,
    };
    Some(LoadBalancing {
        routing_preference: scopes.iter().map(|scope| (*scope).into()).collect(),
        mode: Mode::Failover.into(),
        ..LoadBalancing::default()
    })
}
