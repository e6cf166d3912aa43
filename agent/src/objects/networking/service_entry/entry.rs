//! The fields of a ServiceEntry (`istio.networking.v1.ServiceEntry`) after they are checked.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::objects::labels::Labels;
use crate::objects::networking::workload_entry::WorkloadEntry;

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
    /// Addresses that an allocator wrote to `status`, with their host.
    pub allocated: Vec<(String, IpAddr)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntryPort {
    pub number: u16,
    pub name: String,
    /// As written; empty if unset.
    pub protocol: String,
    pub target_port: Option<u16>,
}

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
