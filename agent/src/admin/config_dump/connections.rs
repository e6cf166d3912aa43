//! The enrolled pods and their open connections in ztunnel's form.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::admin::sources::PodEntry;
use crate::telemetry::connection::LiveConnection;
use crate::telemetry::ends::Reporter;

/// By pod uid.
pub(super) type PodsView<'a> = BTreeMap<&'a str, PodView<'a>>;

#[derive(Serialize)]
pub(super) struct PodView<'a> {
    state: &'static str,
    connections: ConnectionsView,
    info: InfoView<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InfoView<'a> {
    name: &'a str,
    namespace: &'a str,
    trust_domain: &'a str,
    service_account: &'a str,
}

#[derive(Serialize, Default)]
struct ConnectionsView {
    inbound: Vec<ConnectionView>,
    outbound: Vec<ConnectionView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionView {
    src: String,
    /// The address that the application dialled (outbound), or the hostname of the service (inbound).
    original_dst: Option<String>,
    /// The address that the agent dialled (outbound), or the application's (inbound).
    actual_dst: String,
    protocol: &'static str,
}

/// Every pod with its connections.
pub(super) fn by_pod<'a>(pods: &'a [PodEntry], connections: &[LiveConnection]) -> PodsView<'a> {
    let mut by_workload: HashMap<&str, ConnectionsView> = HashMap::new();
    for connection in connections {
        let Some(own) = connection.ends.own_workload() else { continue };
        let of_workload = by_workload.entry(&own.uid).or_default();
        match connection.ends.reporter {
            Reporter::Source => of_workload.outbound.push(outbound(connection)),
            Reporter::Destination => of_workload.inbound.push(inbound(connection)),
        }
    }
    pods.iter()
        .map(|pod| {
            let connections = pod.workload_uid.as_deref().and_then(|uid| by_workload.remove(uid)).unwrap_or_default();
            (&*pod.uid, PodView::new(pod, connections))
        })
        .collect()
}

impl<'a> PodView<'a> {
    fn new(pod: &'a PodEntry, connections: ConnectionsView) -> Self {
        Self {
            state: if pod.captured { "Up" } else { "Pending" },
            connections,
            info: InfoView {
                name: &pod.name,
                namespace: &pod.namespace,
                trust_domain: pod.identity.trust_domain.as_str(),
                service_account: &pod.identity.service_account,
            },
        }
    }
}

fn outbound(connection: &LiveConnection) -> ConnectionView {
    let ends = &connection.ends;
    ConnectionView {
        src: ends.source_addr.to_string(),
        original_dst: ends.original_dst.map(|original| original.0.to_string()),
        actual_dst: ends.dialled_addr().to_string(),
        protocol: protocol(connection),
    }
}

fn inbound(connection: &LiveConnection) -> ConnectionView {
    let ends = &connection.ends;
    ConnectionView {
        src: ends.source_addr.to_string(),
        original_dst: ends.service.as_ref().map(|service| service.key.hostname.to_string()),
        actual_dst: ends.endpoint.to_string(),
        protocol: protocol(connection),
    }
}

fn protocol(connection: &LiveConnection) -> &'static str {
    if connection.ends.mutual_tls { "HBONE" } else { "TCP" }
}
