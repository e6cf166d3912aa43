//! An outbound connection from accept to its end. One to a port that carries HTTP is handed to `http`, any other is moved as bytes; one
//! of which nobody knows that yet goes to `undeclared`.

use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::bytes::Spliced;
use super::http::{HttpPort, Opened, serve_connection};
use super::reach::Reach;
use super::undeclared::Undeclared;
use super::upstream::Outbound;
use crate::enrollment::pod::OpenConnection;
use crate::model::address::canonical;
use crate::proxy::budget::Budget;
use crate::proxy::pod::PodProxy;
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::{OutboundSource, Reporter};

/// Serves one captured connection of a pod to its end.
pub(in crate::proxy) fn serve(
    pod_proxy: Arc<PodProxy>,
    downstream: TcpStream,
    budget: Budget,
) -> impl Future<Output = ()> + Send + 'static {
    // No asynchronous function: the state of opening a connection is large and soon over, and its future would have room for that as
    // long as the connection lasts.
    let opening = Box::pin(open_or_serve(pod_proxy.clone(), downstream, budget));
    async move {
        if let Some((spliced, _counted)) = opening.await {
            Box::pin(spliced.run(&pod_proxy)).await;
        }
    }
}

/// What counts a connection while it is open.
type Counted = (Budget, OpenConnection);

/// Opens a connection whose bytes are moved. `None` where that fails, or where it carried requests: then it was served to its end.
async fn open_or_serve(
    pod_proxy: Arc<PodProxy>,
    mut downstream: TcpStream,
    mut budget: Budget,
) -> Option<(Spliced, Counted)> {
    let PodProxy { proxy, pod, .. } = &*pod_proxy;
    let source_addr = downstream.peer_addr().map(canonical).ok()?;
    let Some(original_dst) = proxy.capture.original_dst(downstream.as_fd()) else {
        let listener = downstream.local_addr().ok()?;
        let (reporter, flag) = (Reporter::Source, ResponseFlag::Denied);
        let refused = RefusedConnection { reporter, source_addr, listener, flag };
        refused.record(&proxy.metrics, &pod.telemetry, &"the agent's listener was dialled directly");
        return None;
    };
    let open = pod.count_connection();
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
                Box::pin(serve_connection(http, source, downstream, detected, first)).await;
                return None;
            }
            Opened::Other(first) => received = first,
            Opened::Undecided(first) => {
                let undeclared = Undeclared { port: http, resolved: resolve(&source), source, first };
                Box::pin(undeclared.serve(downstream, budget)).await;
                return None;
            }
        }
    }
    let resolved = resolve(&source);
    let is_near = pod_proxy.suggestions.are_taken() && resolved.as_ref().is_ok_and(|to| pod_proxy.is_of_this_node(to));
    let outbound = Outbound { pod_proxy: &pod_proxy, source, original_dst };
    let spliced = outbound.open_for_bytes(downstream, received, resolved, &mut budget).await?;
    if is_near {
        pod_proxy.suggestions.suggest(&pod_proxy, pod.netns.cookie(), canonical(original_dst.0));
    }
    Some((spliced, (budget, open)))
}
