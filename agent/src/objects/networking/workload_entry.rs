//! WorkloadEntry, and the endpoints of a ServiceEntry, which have the same shape.
//!
//! Weir's own: Istio's WorkloadEntry has room for one address. A workload with several (dual stack) names all of them in
//! the annotation `weir.dev/addresses`, separated by commas, in order of preference; `spec.address`, if set, must be one
//! of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::objects::labels::{self, Labels};
use crate::objects::metadata::Metadata;
use crate::objects::reading::{Fields, Report, names};

/// All addresses of a workload that has several.
pub const ADDRESSES_ANNOTATION: &str = "weir.dev/addresses";

/// `spec` of a WorkloadEntry, or one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkloadEntry {
    pub address: WorkloadAddress,
    /// Ports of this workload, by the name of the service's port.
    pub ports: BTreeMap<String, u16>,
    pub labels: Labels,
    pub network: String,
    /// `region/zone/subzone`, as written.
    pub locality: String,
    /// 0 is unset.
    pub weight: u32,
    pub service_account: String,
}

/// How a workload is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WorkloadAddress {
    /// Behind its network's gateway only.
    #[default]
    None,
    /// The address as written, which is part of an endpoint's resource name, and its value; more than one from the
    /// annotation only.
    Ips { written: String, addresses: Vec<IpAddr> },
    /// A host name or `unix://` path.
    Name(String),
}

impl WorkloadAddress {
    /// The text in `address`.
    #[must_use]
    pub fn written(&self) -> &str {
        match self {
            Self::None => "",
            Self::Ips { written, .. } | Self::Name(written) => written,
        }
    }
}

/// Reads the `spec` of a WorkloadEntry.
pub(in crate::objects) fn read(fields: Fields<'_>, metadata: &Metadata) -> WorkloadEntry {
    let report = fields.report();
    let mut entry = read_endpoint(fields);
    let Some(text) = metadata.annotations.get(ADDRESSES_ANNOTATION) else { return entry };
    let field = format!("metadata.annotations[{ADDRESSES_ANNOTATION}]");
    match text.split(',').map(|part| part.trim().parse::<IpAddr>()).collect::<Result<Vec<_>, _>>() {
        Err(_) => report.error(field, 1, format!("{text:?} is not a list of IP addresses: separate them by commas")),
        Ok(addresses) => match &entry.address {
            WorkloadAddress::Ips { addresses: own, .. } if own.iter().all(|ip| addresses.contains(ip)) => {
                entry.address = WorkloadAddress::Ips { written: entry.address.written().to_owned(), addresses };
            }
            WorkloadAddress::None => {
                let written = addresses.first().map(IpAddr::to_string).unwrap_or_default();
                entry.address = WorkloadAddress::Ips { written, addresses };
            }
            _ => report.error(field, 1, "must contain spec.address: add it to the list"),
        },
    }
    entry
}

/// Reads one endpoint of a ServiceEntry, or the common part of a WorkloadEntry.
pub(in crate::objects) fn read_endpoint(mut fields: Fields<'_>) -> WorkloadEntry {
    let report = fields.report();
    let mut ports = BTreeMap::new();
    for (name, item) in fields.entries("ports").unwrap_or_default() {
        if let Err(reason) = names::label(name) {
            item.error(report, reason);
        }
        if let Some(port) = names::port(&item, report) {
            ports.insert(name.to_owned(), port);
        }
    }
    let weight = fields.get("weight").and_then(|item| item.number(0..=u32::MAX.into(), report)).unwrap_or(0);
    let address = address(&mut fields, !ports.is_empty());
    let entry = WorkloadEntry {
        address,
        ports,
        labels: labels::read(&mut fields, "labels"),
        network: fields.text("network").unwrap_or_default(),
        locality: fields.text("locality").unwrap_or_default(),
        weight: u32::try_from(weight).unwrap_or(0),
        service_account: fields.text("serviceAccount").unwrap_or_default(),
    };
    if entry.locality.split('/').count() > 3 {
        fields.error("locality", "has too many parts: write region/zone/subzone");
    }
    fields.finish();
    entry
}

fn address(fields: &mut Fields<'_>, has_ports: bool) -> WorkloadAddress {
    let text = fields.text("address").unwrap_or_default();
    if text.is_empty() {
        return WorkloadAddress::None;
    }
    if let Ok(ip) = text.parse() {
        return WorkloadAddress::Ips { written: text, addresses: vec![ip] };
    }
    if let Some(path) = text.strip_prefix("unix://") {
        if !path.starts_with(['/', '@']) {
            fields.error("address", "a Unix socket needs an absolute path: unix:///path");
        }
        if has_ports {
            fields.error("ports", "a Unix socket has no ports: remove them");
        }
    } else if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        // Allowed in a host name, but surely meant as an IP address.
        fields.error("address", format!("{text:?} is neither an IP address nor a host name: four numbers are needed"));
    } else if let Err(reason) = names::fqdn(&text) {
        fields.error("address", format!("{text:?} is neither an IP address nor a host name: {reason}"));
    }
    WorkloadAddress::Name(text)
}

/// Checks a WorkloadEntry that stands alone.
pub(in crate::objects) fn check(entry: &WorkloadEntry, fields_path: &str, report: &Report) {
    if entry.address != WorkloadAddress::None {
        return;
    }
    let field = format!("{fields_path}.address");
    if entry.network.is_empty() {
        report.error(field, 1, "an address is needed: set it, or set network to reach the workload by its gateway");
    } else {
        report.notice(field, 1, "without an address the workload is only reached through its network's gateway");
    }
}
