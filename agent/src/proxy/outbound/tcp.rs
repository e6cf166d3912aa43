//! An outbound connection from accept to its end. One to a port that carries HTTP is handed to `http`, any other is moved as bytes; one
//! of which nobody knows that yet goes to `undeclared`.

use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::http::{HttpPort, Opened, serve_connection};
use super::reach::Reach;
use super::undeclared::Undeclared;
use super::upstream::Outbound;
use crate::model::address::canonical;
use crate::proxy::budget::Budget;
use crate::proxy::pod::PodProxy;
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::{OutboundSource, Reporter};

/// Serves one captured connection of a pod to its end.
pub(in crate::proxy) async fn serve(pod_proxy: Arc<PodProxy>, mut downstream: TcpStream, mut budget: Budget) {
    let PodProxy { proxy, pod, .. } = &*pod_proxy;
    let Ok(source_addr) = downstream.peer_addr().map(canonical) else { return };
    let Some(original_dst) = proxy.capture.original_dst(downstream.as_fd()) else {
        let Ok(listener) = downstream.local_addr() else { return };
        let (reporter, flag) = (Reporter::Source, ResponseFlag::Denied);
        let refused = RefusedConnection { reporter, source_addr, listener, flag };
        refused.record(&proxy.metrics, &pod.telemetry, &"the agent's listener was dialled directly");
        return;
    };
    let _open = pod.count_connection();
    let source = {
        let mesh = proxy.mesh.read();
        let workload = pod_proxy.source_workload(&mesh);
        let identity = pod.identity(&mesh.settings().trust_domain);
        OutboundSource { addr: source_addr, workload, identity }
    };
    let resolve = |source: &OutboundSource| {
        let mesh = proxy.mesh.read();
        Reach::of(&pod_proxy, &mesh, source, original_dst).resolve(&mesh, source, original_dst)
    };
    let mut received = BytesMut::new();
    if let Some(http) = HttpPort::of(&pod_proxy, &source, original_dst) {
        // It waits for its client, not for an upstream.
        budget.stop_counting_as_pending();
        // In a box each, so that a connection that carries no HTTP does not hold the room that serving HTTP takes.
        match Box::pin(http.open(&mut downstream)).await {
            Opened::Http(detected, first) => {
                return Box::pin(serve_connection(http, source, downstream, detected, first)).await;
            }
            Opened::Other(first) => received = first,
            Opened::Undecided(first) => {
                let undeclared = Undeclared { port: http, resolved: resolve(&source), source, first };
                return Box::pin(undeclared.serve(downstream, budget)).await;
            }
        }
    }
    let resolved = resolve(&source);
    Outbound { pod_proxy: &pod_proxy, source, original_dst }.run(downstream, received, resolved, budget).await;
}
