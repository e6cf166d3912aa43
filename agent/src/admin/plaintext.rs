//! `/plaintext`: the plaintext connections between pods of the mesh that could be over HBONE by now, and their end.

use std::time::SystemTime;

use http::Method;
use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::query::parameter;
use super::response::{AdminResponse, json};
use super::sources::AdminSources;
use crate::telemetry::connection::LiveConnection;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlaintextConnection {
    /// The pod of this node, as `namespace/name`; empty where the mesh does not know it.
    pub pod: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    pub source: String,
    pub destination: String,
    pub seconds_open: u64,
}

/// What became of a request to end them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedPlaintext {
    pub ended: usize,
}

/// Lists them (GET), or ends them (POST): all, or with `?pod=namespace/name` those of one pod of this node.
pub(super) fn plaintext(sources: &AdminSources, request: &Parts) -> AdminResponse {
    if request.method == Method::POST {
        let pod = parameter(&request.uri, "pod");
        return json(serde_json::to_vec(&EndedPlaintext { ended: sources.late_plaintext.end(pod.as_deref()) }));
    }
    let mut list: Vec<_> = sources.late_plaintext.list().iter().map(PlaintextConnection::of).collect();
    list.sort();
    json(serde_json::to_vec(&list))
}

impl PlaintextConnection {
    fn of(connection: &LiveConnection) -> Self {
        let ends = &connection.ends;
        let own = ends.own_workload();
        Self {
            pod: own.map(|own| format!("{}/{}", own.namespace, own.name)).unwrap_or_default(),
            direction: ends.reporter.direction().to_owned(),
            source: ends.source_addr.to_string(),
            destination: ends.endpoint.to_string(),
            seconds_open: SystemTime::now().duration_since(connection.opened_at).unwrap_or_default().as_secs(),
        }
    }
}
