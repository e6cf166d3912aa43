//! Sidecar (`istio.networking.v1.Sidecar`): which services the pods of a namespace know, and what becomes of connections to
//! others. There is no sidecar here: what the object says counts for the pods themselves.

use super::mesh_config::outbound_traffic_policy;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::objects::labels::{self, Labels};
use crate::objects::reading::{Fields, names};

/// `spec` of a Sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sidecar {
    /// Empty: all pods of the namespace.
    pub selector: Labels,
    /// Empty: everything that is exported.
    pub egress: Vec<EgressListener>,
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// An item of `egress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressListener {
    /// The one port of the services that is known; `None`: all of them.
    pub port: Option<u16>,
    pub hosts: Vec<EgressHost>,
}

/// An item of `hosts`: `namespace/host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressHost {
    /// `*`, `.` or a name.
    pub namespace: String,
    /// With a star at its beginning, perhaps.
    pub host: String,
    /// Written as `~namespace/host`: it is not imported, whatever else says so.
    pub excludes: bool,
}

/// Reads and checks `spec`.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> Sidecar {
    let report = fields.report();
    let selector = fields.fields("workloadSelector").map(|mut selector| {
        let labels = labels::read_selector(&mut selector, "labels");
        selector.finish();
        labels
    });
    let found = Sidecar {
        selector: selector.unwrap_or_default(),
        egress: fields.items("egress").iter().filter_map(|item| Some(listener(item.fields(report)?))).collect(),
        outbound_traffic_policy: fields.fields("outboundTrafficPolicy").map(outbound_traffic_policy),
    };
    fields.without_effect("ingress", "has no effect: connections reach the application at its own ports");
    fields.without_effect("inboundConnectionPool", "has no effect: limits are those of clients");
    fields.finish();
    found
}

fn listener(mut fields: Fields<'_>) -> EgressListener {
    let port = fields.fields("port").and_then(|mut port| {
        let number = port.number("number", 0..=65_535).filter(|number| *number != 0);
        for name in ["protocol", "name", "targetPort"] {
            port.skip(name);
        }
        port.finish();
        number
    });
    let hosts: Vec<EgressHost> = fields
        .placed_texts("hosts")
        .iter()
        .filter_map(|text| match host(text.text) {
            Ok(host) => Some(host),
            Err(reason) => {
                text.place.error(reason);
                None
            }
        })
        .collect();
    if hosts.is_empty() && !fields.place().has_errors() {
        fields.error("hosts", "an egress listener needs hosts, such as ./* or */*");
    }
    fields.without_effect("bind", "has no effect: pods dial the addresses of services");
    fields.without_effect("captureMode", "has no effect: pods dial the addresses of services");
    fields.finish();
    EgressListener { port, hosts }
}

fn host(text: &str) -> Result<EgressHost, String> {
    let (namespace, host) =
        text.split_once('/').ok_or_else(|| format!("{text:?} is not of the form namespace/host, such as ./*"))?;
    let (excludes, namespace) = match namespace.strip_prefix('~') {
        Some("") => (true, "*"),
        Some(namespace) => (true, namespace),
        None => (false, namespace),
    };
    if !matches!(namespace, "*" | ".") {
        names::label(namespace)?;
    }
    if host != "*" {
        names::wildcard_host(host)?;
    }
    Ok(EgressHost { namespace: namespace.to_owned(), host: host.to_owned(), excludes })
}
