//! An outbound connection that is moved as bytes: its record, its upstream, and its bytes until it ends. No protocol above TCP is
//! looked at.

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::candidate::Candidate;
use super::error::OutboundError;
use super::own_tls;
use super::upstream::{Outbound, UpstreamStream};
use crate::enrollment::pod::EnrolledPod;
use crate::lifecycle::when_woken;
use crate::model::resolve::{Transport, Unresolved, Upstream};
use crate::proxy::already_read::AlreadyRead;
use crate::proxy::budget::Budget;
use crate::proxy::client;
use crate::proxy::pod::PodProxy;
use crate::proxy::splice;
use crate::telemetry::record::ConnectionRecord;

/// What the record of a connection says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordedAs {
    /// It carries no requests.
    Bytes,
    /// That is not known yet.
    Undecided,
}

impl Outbound<'_> {
    /// Serves a connection to its end. `received`: what was read of the client already.
    pub(super) async fn run(
        self,
        downstream: TcpStream,
        received: BytesMut,
        resolved: Result<Upstream, Unresolved>,
        mut budget: Budget,
    ) {
        let pod_proxy = self.pod_proxy;
        // The state of connecting is large and soon over. A box gives its memory back before bytes move, while this task
        // lasts as long as the connection.
        let establishing = self.establish(&downstream, &received, resolved, RecordedAs::Bytes);
        let (mut record, established) = Box::pin(establishing).await;
        budget.is_not_pending();
        let outcome = match established {
            Ok(upstream) => {
                let read = AlreadyRead { of_client: received, of_server: BytesMut::new() };
                splice_until_ended(pod_proxy, downstream, read, upstream, &record).await
            }
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
    pub(super) async fn establish(
        self,
        downstream: &TcpStream,
        received: &[u8],
        resolved: Result<Upstream, Unresolved>,
        recorded_as: RecordedAs,
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
        let record = match recorded_as {
            RecordedAs::Undecided => ConnectionRecord::open_undecided(reporting, ends),
            RecordedAs::Bytes if may_change => ConnectionRecord::open_provisional(reporting, ends),
            RecordedAs::Bytes => ConnectionRecord::open(reporting, ends),
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
pub(super) async fn splice_until_ended(
    pod_proxy: &PodProxy,
    mut downstream: TcpStream,
    read: AlreadyRead,
    mut upstream: UpstreamStream,
    record: &ConnectionRecord,
) -> Result<(), OutboundError> {
    let bytes = record.bytes();
    let splicing = async {
        read.pass_on(&mut downstream, upstream.writer(), &bytes).await?;
        match upstream {
            UpstreamStream::Hbone(stream) => splice::outbound_hbone(downstream, stream, bytes).await,
            UpstreamStream::Tls(io) => own_tls::relay(downstream, *io, bytes).await,
            UpstreamStream::Tcp(tcp) => splice::outbound_tcp(downstream, tcp, bytes, &pod_proxy.budget).await,
        }
    };
    let stopped = when_woken(async {
        tokio::select! {
            () = record.end_wanted() => OutboundError::LatePlaintext,
            () = pod_proxy.pod.dead.cancelled() => OutboundError::PodGone,
            () = pod_proxy.proxy.drain.closing() => OutboundError::DrainEnded,
        }
    });
    tokio::select! {
        biased;
        result = splicing => Ok(result?),
        error = stopped => Err(error),
    }
}

/// Whether the application has closed its socket, of which the agent has the other end.
fn is_closed(pod: &EnrolledPod, downstream: &TcpStream) -> bool {
    let (Ok(application), Ok(agent)) = (downstream.peer_addr(), downstream.local_addr()) else { return true };
    client::is_closed(pod, application, agent)
}
