//! An outbound connection from accept to its end. One to a port that carries HTTP is handed to `http`; any other is moved as bytes,
//! and no protocol above TCP is looked at.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::candidate::Candidate;
use super::error::OutboundError;
use super::http::{HttpPort, Opened, serve_connection};
use super::own_tls;
use super::reach::Reach;
use super::upstream::{Outbound, UpstreamStream};
use crate::enrollment::pod::EnrolledPod;
use crate::model::address::canonical;
use crate::model::resolve::{Transport, Unresolved, Upstream};
use crate::proxy::budget::Budget;
use crate::proxy::client;
use crate::proxy::pod::PodProxy;
use crate::proxy::splice::{self, SpliceError};
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::{OutboundSource, Reporter};
use crate::telemetry::record::ConnectionRecord;

/// Serves one captured connection of a pod to its end.
pub(in crate::proxy) async fn serve(pod_proxy: Arc<PodProxy>, downstream: TcpStream, mut budget: Budget) {
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
    let mut received = BytesMut::new();
    if let Some(http) = HttpPort::of(&pod_proxy, &source, original_dst) {
        // It waits for its client, not for an upstream.
        budget.is_not_pending();
        // In a box each, so that a connection that carries no HTTP does not hold the room that serving HTTP takes.
        match Box::pin(http.open(&downstream)).await {
            Opened::Http(detected, first) => {
                return Box::pin(serve_connection(http, source, downstream, detected, first)).await;
            }
            Opened::Other(first) => received = first,
        }
    }
    let resolved = {
        let mesh = proxy.mesh.read();
        Reach::of(&pod_proxy, &mesh, &source, original_dst).resolve(&mesh, &source, original_dst)
    };
    Outbound { pod_proxy: &pod_proxy, source, original_dst }.run(downstream, received, resolved, budget).await;
}

impl Outbound<'_> {
    /// `received`: what was read of the connection already.
    async fn run(
        self,
        downstream: TcpStream,
        received: BytesMut,
        resolved: Result<Upstream, Unresolved>,
        mut budget: Budget,
    ) {
        let pod_proxy = self.pod_proxy;
        // The state of connecting is large and soon over. A box gives its memory back before bytes move, while this task
        // lasts as long as the connection.
        let (mut record, established) = Box::pin(self.establish(&downstream, &received, resolved)).await;
        budget.is_not_pending();
        let outcome = match established {
            Ok(upstream) => splice_until_ended(pod_proxy, downstream, received, upstream, &record).await,
            Err(error) => {
                // Its close is a reset.
                drop(downstream);
                Err(error)
            }
        };
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }

    /// Opens the record, then the upstream, for as long as the client is there.
    async fn establish(
        self,
        downstream: &TcpStream,
        received: &[u8],
        resolved: Result<Upstream, Unresolved>,
    ) -> (ConnectionRecord, Result<UpstreamStream, OutboundError>) {
        let reporting = self.pod_proxy.connection_reporting();
        let ends = self.ends(resolved.as_ref().ok());
        let upstream = match resolved {
            Ok(upstream) => upstream,
            Err(unresolved) => return (ConnectionRecord::open(reporting, ends), Err(unresolved.into())),
        };
        let candidate = Candidate::of(self.pod_proxy, &upstream);
        let may_change = candidate.is_some()
            || upstream.service.is_some()
            || matches!(upstream.transport, Transport::ResolveHostname { .. });
        let record = if may_change {
            ConnectionRecord::open_provisional(reporting, ends)
        } else {
            ConnectionRecord::open(reporting, ends)
        };
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        let connected = tokio::select! {
            connected = self.connect_upstream(&upstream, candidate.as_ref(), &record) => connected,
            // Whoever has sent something and ended may have said all that it has to say.
            () = client::left(downstream, || is_closed(pod, downstream)), if received.is_empty() => {
                Err(OutboundError::ClientLeft)
            }
            () = pod.dead.cancelled() => Err(OutboundError::PodGone),
            () = proxy.drain.closing() => Err(OutboundError::DrainEnded),
        };
        (record, connected)
    }
}

/// Moves bytes until the connection ends, somebody wants it to end, its pod dies or the drain is over.
async fn splice_until_ended(
    pod_proxy: &PodProxy,
    downstream: TcpStream,
    received: BytesMut,
    mut upstream: UpstreamStream,
    record: &ConnectionRecord,
) -> Result<(), OutboundError> {
    let bytes = record.bytes();
    let splicing = async {
        if !received.is_empty() {
            upstream.write_all(&received).await.map_err(SpliceError::Upstream)?;
            bytes.to_destination.fetch_add(received.len() as u64, Ordering::Relaxed);
            drop(received);
        }
        match upstream {
            UpstreamStream::Hbone(stream) => splice::outbound_hbone(downstream, stream, bytes).await,
            UpstreamStream::Tls(io) => own_tls::relay(downstream, *io, bytes).await,
            UpstreamStream::Tcp(tcp) => splice::outbound_tcp(downstream, tcp, bytes, &pod_proxy.budget).await,
        }
    };
    tokio::select! {
        biased;
        result = splicing => Ok(result?),
        () = record.end_wanted() => Err(OutboundError::LatePlaintext),
        () = pod_proxy.pod.dead.cancelled() => Err(OutboundError::PodGone),
        () = pod_proxy.proxy.drain.closing() => Err(OutboundError::DrainEnded),
    }
}

/// Whether the application has closed its socket, of which the agent has the other end.
fn is_closed(pod: &EnrolledPod, downstream: &TcpStream) -> bool {
    let (Ok(application), Ok(agent)) = (downstream.peer_addr(), downstream.local_addr()) else { return true };
    client::is_closed(pod, application, agent)
}
