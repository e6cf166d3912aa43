//! Gateway in its use as a waypoint: its addresses and who may use it.
//!
//! Istio takes a waypoint's addresses from its status, which a controller writes. Files have no controller: where the status
//! has none, the addresses asked for in `spec` stand.

use std::net::IpAddr;

use weir_common::HBONE_PORT;

use crate::objects::labels::{self, LabelSelector};
use crate::objects::reading::Fields;
use crate::objects::reading::yaml::Node;

/// A Gateway that services and workloads may name as their waypoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateway {
    pub addresses: Vec<WaypointAddress>,
    /// Of the HBONE listener on port 15008; `None` without one.
    pub allowed_namespaces: Option<AllowedNamespaces>,
}

/// An item of `status.addresses` or `spec.addresses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaypointAddress {
    Hostname(String),
    Ip(IpAddr),
}

/// `allowedRoutes.namespaces` of a listener: whose services and workloads may use the waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedNamespaces {
    Same,
    All,
    Selector(LabelSelector),
}

/// Reads `spec` and `status`. Fields for other purposes than a waypoint's are left unread.
pub(in crate::objects) fn read(mut spec: Fields<'_>, status: Option<&Node>) -> Gateway {
    let report = spec.report();
    let mut gateway = Gateway::default();
    if let Some(mut status) = status.and_then(|node| Fields::of(node, "status", report)) {
        gateway.addresses = addresses(&mut status);
    }
    let wanted = addresses(&mut spec);
    if gateway.addresses.is_empty() {
        gateway.addresses = wanted;
    }
    for item in spec.items("listeners") {
        let Some(mut listener) = item.fields(report) else { continue };
        let port = listener.get("port").and_then(|item| item.number(1..=65_535, report));
        if port == Some(HBONE_PORT.into()) && listener.text("protocol").as_deref() == Some("HBONE") {
            gateway.allowed_namespaces = Some(allowed_namespaces(&mut listener));
        }
    }
    gateway
}

fn addresses(fields: &mut Fields<'_>) -> Vec<WaypointAddress> {
    let report = fields.report();
    let mut found = Vec::new();
    for item in fields.items("addresses") {
        let Some(mut address) = item.fields(report) else { continue };
        let kind = address.text("type").unwrap_or_else(|| "IPAddress".to_owned());
        let value = address.text("value").unwrap_or_default();
        match (kind.as_str(), value.parse()) {
            ("Hostname", _) if !value.is_empty() => found.push(WaypointAddress::Hostname(value)),
            ("IPAddress", Ok(ip)) => found.push(WaypointAddress::Ip(ip)),
            ("IPAddress", Err(_)) => address.error("value", format!("{value:?} is not an IP address")),
            _ => {}
        }
    }
    found
}

fn allowed_namespaces(listener: &mut Fields<'_>) -> AllowedNamespaces {
    let Some(mut namespaces) = listener.fields("allowedRoutes").and_then(|mut routes| routes.fields("namespaces"))
    else {
        return AllowedNamespaces::Same;
    };
    match namespaces.text("from").as_deref() {
        Some("All") => AllowedNamespaces::All,
        Some("Selector") => {
            let selector = namespaces.fields("selector").map(labels::selector);
            selector.map_or(AllowedNamespaces::Same, AllowedNamespaces::Selector)
        }
        _ => AllowedNamespaces::Same,
    }
}
