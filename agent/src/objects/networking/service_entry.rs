//! ServiceEntry (`istio.networking.v1.ServiceEntry`): a service by its host names; and which of its fields may stand
//! together, with Istio's rules. It is read by `service_entry_yaml`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::workload_entry::{WorkloadAddress, WorkloadEntry};
use crate::objects::labels::Labels;
use crate::objects::metadata::Metadata;
use crate::objects::reading::{Fields, names};

/// `spec` of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceEntry {
    pub hosts: Vec<String>,
    /// Virtual addresses; a block stands for every address in it. Masked.
    pub addresses: Vec<IpNet>,
    pub ports: Vec<ServiceEntryPort>,
    pub resolution: Resolution,
    /// `location: MESH_INTERNAL`.
    pub mesh_internal: bool,
    pub endpoints: Vec<WorkloadEntry>,
    pub workload_selector: Option<Labels>,
    pub subject_alt_names: Vec<String>,
    /// `status.addresses`, which an allocator wrote: hosts and their addresses.
    pub allocated: Vec<(String, IpAddr)>,
}

/// An item of `ports` (`istio.networking.v1.ServicePort`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntryPort {
    pub number: u16,
    pub name: String,
    /// As written; empty if unset.
    pub protocol: String,
    pub target_port: Option<u16>,
}

impl ServiceEntryPort {
    /// All protocols are spoken over TCP but UDP itself.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        !self.protocol.eq_ignore_ascii_case("udp")
    }
}

/// `resolution`: how the endpoints of a connection are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolution {
    #[default]
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}

impl Resolution {
    /// True where endpoints are found by name.
    #[must_use]
    pub fn is_dns(self) -> bool {
        matches!(self, Self::Dns | Self::DnsRoundRobin | Self::DynamicDns)
    }
}

const HTTP_CLASS: [&str; 5] = ["http", "http2", "grpc", "grpc-web", "http_proxy"];
const TLS_CLASS: [&str; 2] = ["https", "tls"];
const OTHER_PROTOCOLS: [&str; 5] = ["tcp", "udp", "mongo", "redis", "mysql"];

/// True for a protocol Istio knows, in any case; unset is one.
pub(super) fn is_protocol(text: &str) -> bool {
    let folded = text.to_ascii_lowercase();
    let known = [HTTP_CLASS.as_slice(), &TLS_CLASS, &OTHER_PROTOCOLS];
    folded.is_empty() || known.iter().any(|class| class.contains(&folded.as_str()))
}

fn is_http_or_tls(protocol: &str) -> bool {
    let folded = protocol.to_ascii_lowercase();
    HTTP_CLASS.contains(&folded.as_str()) || TLS_CLASS.contains(&folded.as_str())
}

/// Checks what was read from `fields`.
pub(super) fn check(entry: &ServiceEntry, metadata: &Metadata, fields: &mut Fields<'_>) {
    check_hosts(entry, fields);
    check_addresses(entry, metadata, fields);
    check_endpoints(entry, fields);
    check_export_to(fields);
    match entry.resolution {
        Resolution::None => check_no_resolution(entry, fields),
        Resolution::Static => check_static(entry, fields),
        Resolution::Dns | Resolution::DnsRoundRobin => check_dns(entry, fields),
        Resolution::DynamicDns => check_dynamic_dns(entry, metadata, fields),
    }
    let mixed = entry.ports.iter().any(|port| !is_http_or_tls(&port.protocol));
    if entry.hosts.len() > 1 && mixed && entry.resolution != Resolution::None {
        let reason = "several hosts with a port that is neither HTTP nor TLS cannot be distinguished: write one ServiceEntry per host";
        fields.error("hosts", reason);
    }
}

fn check_hosts(entry: &ServiceEntry, fields: &Fields<'_>) {
    if entry.hosts.is_empty() {
        fields.error("hosts", "at least one host is needed");
    }
    for (at, host) in entry.hosts.iter().enumerate() {
        let field = format!("hosts[{at}]");
        if let Err(reason) = names::wildcard_host(host) {
            fields.error(&field, reason);
        } else if names::is_partial_wildcard(host) && entry.resolution != Resolution::DynamicDns {
            fields.notice(&field, "a partial wildcard works with resolution DYNAMIC_DNS only");
        }
        if entry.hosts[..at].contains(host) {
            fields.error(&field, "this host is already listed: remove one of the two");
        }
    }
}

fn check_addresses(entry: &ServiceEntry, metadata: &Metadata, fields: &Fields<'_>) {
    // A /32 or /128 is an address however it is written.
    let is_block = |block: &IpNet| block.prefix_len() != block.max_prefix_len();
    if entry.resolution.is_dns() && entry.addresses.iter().any(is_block) {
        fields.error("addresses", "CIDR blocks are allowed with resolution NONE or STATIC only: list single addresses");
    }
    let opted_out = metadata.labels.get("networking.istio.io/enable-autoallocate-ip");
    let allocates =
        entry.resolution != Resolution::None && !opted_out.is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let is_tcp = |protocol: &str| protocol.is_empty() || protocol == "TCP";
    if entry.addresses.is_empty() && !allocates && entry.ports.iter().any(|port| is_tcp(&port.protocol)) {
        fields.notice(
            "addresses",
            "addresses are required for TCP ports when none are allocated: nothing can reach them",
        );
    }
}

fn check_endpoints(entry: &ServiceEntry, fields: &Fields<'_>) {
    if entry.workload_selector.is_some() && !entry.endpoints.is_empty() {
        fields.error("endpoints", "only one of workloadSelector and endpoints is allowed: remove one of the two");
    }
    for (at, endpoint) in entry.endpoints.iter().enumerate() {
        for name in endpoint.ports.keys().filter(|name| !entry.ports.iter().any(|port| port.name == **name)) {
            let reason = "this port is not defined by the service entry: use the name of one of its ports";
            fields.error(&format!("endpoints[{at}].ports[{name}]"), reason);
        }
    }
}

fn check_export_to(fields: &mut Fields<'_>) {
    let export_to = fields.texts("exportTo");
    for (at, value) in export_to.iter().enumerate() {
        let field = format!("exportTo[{at}]");
        if !matches!(value.as_str(), "." | "*" | "~") && names::label(value).is_err() {
            fields.error(&field, format!("{value:?} is not a namespace: use \".\", \"*\", \"~\" or a name"));
        }
        if export_to[..at].contains(value) {
            fields.error(&field, "this namespace is already listed: remove one of the two");
        }
        if value == "*" && export_to.len() > 1 {
            fields.error(&field, "\"*\" must stand alone: it already means every namespace");
        }
    }
    if export_to.iter().any(|value| value != "*") {
        fields.notice("exportTo", "does not limit who sees the service here: use MeshConfig's serviceEntryVisibility");
    }
}

fn check_no_resolution(entry: &ServiceEntry, fields: &Fields<'_>) {
    if !entry.endpoints.is_empty() {
        fields.error("endpoints", "resolution NONE has no endpoints: remove them, or set resolution to STATIC");
    }
    if entry.workload_selector.is_some() {
        fields.notice("workloadSelector", "has no effect on where connections go with resolution NONE");
    }
}

fn check_static(entry: &ServiceEntry, fields: &Fields<'_>) {
    for (at, endpoint) in entry.endpoints.iter().enumerate() {
        let field = format!("endpoints[{at}].address");
        match &endpoint.address {
            WorkloadAddress::Name(name) if !name.starts_with("unix://") => {
                fields.error(&field, format!("{name:?} is not a valid IP address, which resolution STATIC needs"));
            }
            WorkloadAddress::None if endpoint.network.is_empty() => {
                fields.error(&field, "an endpoint needs an address")
            }
            _ => {}
        }
    }
}

fn check_dns(entry: &ServiceEntry, fields: &Fields<'_>) {
    if entry.endpoints.is_empty() {
        for (at, host) in entry.hosts.iter().enumerate().filter(|(_, host)| host.contains('*')) {
            let reason =
                format!("{host:?} cannot be looked up: hosts must be complete names where there are no endpoints");
            fields.error(&format!("hosts[{at}]"), reason);
        }
    }
    for (at, endpoint) in entry.endpoints.iter().enumerate() {
        let field = format!("endpoints[{at}].address");
        match &endpoint.address {
            WorkloadAddress::Name(name) if name.starts_with("unix://") => {
                fields.error(
                    &field,
                    format!("{name:?} is neither a host name nor an IP address, which DNS resolution needs"),
                );
            }
            WorkloadAddress::None if endpoint.network.is_empty() => {
                fields.error(&field, "an endpoint needs an address")
            }
            _ => {}
        }
    }
    if entry.resolution == Resolution::DnsRoundRobin && entry.endpoints.len() > 1 {
        fields.error("endpoints", "resolution DNS_ROUND_ROBIN has at most one endpoint");
    }
}

fn check_dynamic_dns(entry: &ServiceEntry, metadata: &Metadata, fields: &Fields<'_>) {
    for (at, _) in entry.hosts.iter().enumerate().filter(|(_, host)| !host.starts_with('*')) {
        fields.error(&format!("hosts[{at}]"), "resolution DYNAMIC_DNS is for wildcard hosts: use DNS for a plain one");
    }
    if !entry.addresses.is_empty() {
        fields.error("addresses", "resolution DYNAMIC_DNS has no addresses: remove them");
    }
    if !entry.endpoints.is_empty() {
        fields.error("endpoints", "resolution DYNAMIC_DNS has no endpoints: remove them");
    }
    let named = |protocol: &str| ["http", "http2", "grpc", "tls"].contains(&protocol.to_ascii_lowercase().as_str());
    for (at, _) in entry.ports.iter().enumerate().filter(|(_, port)| !named(&port.protocol)) {
        fields.error(&format!("ports[{at}].protocol"), "resolution DYNAMIC_DNS needs HTTP, HTTP2, GRPC or TLS");
    }
    if entry.mesh_internal && metadata.labels.contains_key("istio.io/use-waypoint") {
        fields.error("location", "resolution DYNAMIC_DNS with a waypoint must be MESH_EXTERNAL");
    }
}
