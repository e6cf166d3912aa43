//! `spec` and `status` of a ServiceEntry as YAML has them, field by field.

use std::net::IpAddr;

use ipnet::IpNet;

use super::service_entry::{self, Resolution, ServiceEntry, ServiceEntryPort};
use super::workload_entry;
use crate::objects::labels::{self, Labels};
use crate::objects::metadata::Metadata;
use crate::objects::reading::yaml::Node;
use crate::objects::reading::{Fields, Report, names};

const RESOLUTIONS: [(&str, Resolution); 5] = [
    ("NONE", Resolution::None),
    ("STATIC", Resolution::Static),
    ("DNS", Resolution::Dns),
    ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
    ("DYNAMIC_DNS", Resolution::DynamicDns),
];

/// Reads and checks `spec`; `allocated` is what [`allocated`] found.
pub(in crate::objects) fn read(
    mut fields: Fields<'_>,
    allocated: Vec<(String, IpAddr)>,
    metadata: &Metadata,
) -> ServiceEntry {
    let report = fields.report();
    let entry = ServiceEntry {
        hosts: fields.texts("hosts"),
        addresses: addresses(&mut fields),
        ports: ports(&mut fields),
        resolution: fields.word("resolution", &RESOLUTIONS).unwrap_or_default(),
        mesh_internal: fields.word("location", &[("MESH_EXTERNAL", false), ("MESH_INTERNAL", true)]).unwrap_or(true)
            && fields.any("location").is_some(),
        endpoints: fields
            .items("endpoints")
            .iter()
            .filter_map(|item| Some(workload_entry::read_endpoint(item.fields(report)?)))
            .collect(),
        workload_selector: workload_selector(&mut fields),
        subject_alt_names: fields.texts("subjectAltNames"),
        allocated,
    };
    service_entry::check(&entry, metadata, &mut fields);
    fields.finish();
    entry
}

fn addresses(fields: &mut Fields<'_>) -> Vec<IpNet> {
    let report = fields.report();
    let mut found = Vec::new();
    for item in fields.items("addresses") {
        let Some(text) = item.text(report) else { continue };
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(block) => found.push(block.trunc()),
            Err(_) => item.error(report, format!("{text:?} is not a valid IP address or CIDR block")),
        }
    }
    found
}

fn ports(fields: &mut Fields<'_>) -> Vec<ServiceEntryPort> {
    let report = fields.report();
    let mut found: Vec<ServiceEntryPort> = Vec::new();
    for item in fields.items("ports") {
        let Some(mut port) = item.fields(report) else { continue };
        let number = port.get("number").and_then(|item| names::port(&item, report));
        if number.is_none() && port.get("number").is_none() {
            port.error("number", "a port needs its number, 1..65535");
        }
        let name = port.text("name").unwrap_or_default();
        if let Err(reason) = names::label(&name) {
            port.error("name", format!("invalid port name: {reason}"));
        }
        let protocol = port.text("protocol").unwrap_or_default();
        if !service_entry::is_protocol(&protocol) {
            port.error(
                "protocol",
                format!("unsupported protocol {protocol:?}: use TCP, TLS, HTTP, HTTP2, HTTPS or GRPC"),
            );
        }
        let target_port = port.get("targetPort").and_then(|item| names::port(&item, report));
        if found.iter().any(|other| other.name == name) {
            port.error("name", format!("port name {name:?} is already defined: give each port a name of its own"));
        }
        if found.iter().any(|other| Some(other.number) == number) {
            port.error("number", "this port number is already defined: remove one of the two");
        }
        port.finish();
        if let Some(number) = number {
            found.push(ServiceEntryPort { number, name, protocol, target_port });
        }
    }
    found
}

fn workload_selector(fields: &mut Fields<'_>) -> Option<Labels> {
    let mut selector = fields.fields("workloadSelector")?;
    let labels = labels::read_selector(&mut selector, "labels");
    if labels.is_empty() {
        selector.notice("labels", "a selector without labels selects nothing: name at least one label");
    }
    selector.finish();
    Some(labels)
}

/// The addresses in `status`, with their hosts.
pub(in crate::objects) fn allocated(status: &Node, report: &Report) -> Option<Vec<(String, IpAddr)>> {
    let mut status = Fields::of(status, "status", report)?;
    let mut found = Vec::new();
    for item in status.items("addresses") {
        let Some(mut address) = item.fields(report) else { continue };
        let (host, value) = (address.text("host").unwrap_or_default(), address.text("value").unwrap_or_default());
        match value.parse() {
            Ok(ip) => found.push((host, ip)),
            Err(_) => address.error("value", format!("{value:?} is not an IP address")),
        }
        address.finish();
    }
    status.skip("conditions");
    status.skip("validationMessages");
    status.skip("observedGeneration");
    status.finish();
    Some(found)
}
