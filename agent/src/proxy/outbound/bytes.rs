//! An outbound connection that is moved as bytes: its record, its upstream, and its bytes until it ends. No protocol above TCP is
//! looked at.

use std::pin::pin;
use std::sync::atomic::Ordering;

use bytes::{Buf as _, BytesMut};
use tokio::net::TcpStream;

use super::candidate::Candidate;
use super::error::OutboundError;
use super::own_tls;
use super::upstream::{OpenedUpstream, Outbound, UpstreamStream};
use crate::enrollment::pod::EnrolledPod;
use crate::hbone::OptimisticData;
use crate::lifecycle::when_woken;
use crate::model::resolve::{Transport, Unresolved, Upstream};
use crate::proxy::already_read::AlreadyRead;
use crate::proxy::budget::Budget;
use crate::proxy::client;
use crate::proxy::pod::PodProxy;
use crate::proxy::splice;
use crate::telemetry::record::ConnectionRecord;

/// What the client of a connection may do until its upstream is open.
#[derive(Clone, Copy)]
pub(super) enum Meanwhile<'a> {
    /// The connection carries no requests: what the client sends may go before the upstream is open.
    MaySend(&'a OptimisticData<'a>),
    /// Whether it carries requests is not known yet.
    Waits { has_sent: bool },
}

impl<'a> Meanwhile<'a> {
    fn optimistic(self) -> Option<&'a OptimisticData<'a>> {
        match self {
            Self::MaySend(data) => Some(data),
            Self::Waits { .. } => None,
        }
    }

    /// Whether nothing was read of the client.
    fn has_sent_nothing(self) -> bool {
        match self {
            Self::MaySend(data) => data.is_empty(),
            Self::Waits { has_sent } => !has_sent,
        }
    }
}

impl Outbound<'_> {
    /// Opens the upstream of a connection. `received`: what was read of the client already. `None` where that fails, which the record tells.
    pub(super) async fn open_for_bytes(
        self,
        downstream: TcpStream,
        received: BytesMut,
        resolved: Result<Upstream, Unresolved>,
        budget: &mut Budget,
    ) -> Option<Spliced> {
        let optimistic = OptimisticData::new(&downstream, received);
        let establishing = self.establish(&downstream, Meanwhile::MaySend(&optimistic), resolved, budget);
        let (mut record, established) = Box::pin(establishing).await;
        let mut of_client = optimistic.into_read();
        match established {
            Ok(OpenedUpstream { stream, data_sent }) => {
                record.bytes().to_destination.fetch_add(data_sent as u64, Ordering::Relaxed);
                of_client.advance(data_sent);
                let is_over = of_client.is_empty();
                let read = (!is_over).then(|| Box::new(AlreadyRead { of_client, of_server: BytesMut::new() }));
                Some(Spliced { record, downstream, upstream: stream, read })
            }
            Err(error) => {
                // Its close is a reset.
                drop(downstream);
                record.fail(error.flag(), &error);
                None
            }
        }
    }

    /// Opens the record, then the upstream, for as long as the client is there. Until then the connection counts as pending.
    pub(super) async fn establish(
        self,
        downstream: &TcpStream,
        meanwhile: Meanwhile<'_>,
        resolved: Result<Upstream, Unresolved>,
        budget: &mut Budget,
    ) -> (ConnectionRecord, Result<OpenedUpstream, OutboundError>) {
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
        let record = match meanwhile {
            Meanwhile::Waits { .. } => ConnectionRecord::open_undecided(reporting, ends),
            Meanwhile::MaySend(_) if may_change => ConnectionRecord::open_provisional(reporting, ends),
            Meanwhile::MaySend(_) => ConnectionRecord::open(reporting, ends),
        };
        let optimistic = meanwhile.optimistic();
        if let (Some(data), Transport::Hbone { .. }) = (optimistic, &upstream.transport) {
            data.read_what_is_here();
        }
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        let client_left = async {
            // Whoever has sent something and ended may have said all that it has to say.
            if meanwhile.has_sent_nothing() {
                client::left(downstream, || meanwhile.has_sent_nothing() && is_closed(pod, downstream)).await;
            } else {
                client::reset(downstream).await;
            }
        };
        let connected = tokio::select! {
            connected = async {
                budget.count_as_pending(&pod.limits).await;
                self.connect_upstream(&upstream, candidate.as_ref(), optimistic, &record).await
            } => connected,
            () = client_left => Err(OutboundError::ClientLeft),
            () = pod.dead.cancelled() => Err(OutboundError::PodGone),
            () = proxy.drain.closing() => Err(OutboundError::DrainEnded),
        };
        budget.stop_counting_as_pending();
        (record, connected)
    }
}

/// A connection whose upstream is open, and whose bytes are moved as they come.
pub(super) struct Spliced {
    pub(super) record: ConnectionRecord,
    pub(super) downstream: TcpStream,
    pub(super) upstream: UpstreamStream,
    /// What was read of both sides already, if anything was.
    pub(super) read: Option<Box<AlreadyRead>>,
}

impl Spliced {
    /// Moves bytes until the connection ends, somebody wants it to end, its pod dies or the drain is over. Then the record is complete.
    pub(super) async fn run(self, pod_proxy: &PodProxy) {
        let Self { mut record, mut downstream, mut upstream, read } = self;
        let bytes = record.bytes();
        let splicing = async {
            if let Some(read) = read {
                Box::pin(read.pass_on(&mut downstream, upstream.writer(), &bytes)).await?;
            }
            match upstream {
                UpstreamStream::Hbone(stream) => splice::outbound_hbone(downstream, stream, bytes).await,
                // In boxes, so that a connection over HBONE does not hold the room that others take.
                UpstreamStream::Tls(io) => Box::pin(own_tls::relay(downstream, *io, bytes)).await,
                UpstreamStream::Tcp(tcp) => {
                    Box::pin(splice::outbound_tcp(downstream, tcp, bytes, &pod_proxy.budget)).await
                }
            }
        };
        let outcome = {
            let stopped = pin!(async {
                tokio::select! {
                    () = record.end_wanted() => OutboundError::LatePlaintext,
                    () = pod_proxy.pod.dead.cancelled() => OutboundError::PodGone,
                    () = pod_proxy.proxy.drain.closing() => OutboundError::DrainEnded,
                }
            });
            tokio::select! {
                biased;
                result = splicing => result.map_err(OutboundError::from),
                error = when_woken(stopped) => Err(error),
            }
        };
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }
}

/// Whether the application has closed its socket, of which the agent has the other end.
fn is_closed(pod: &EnrolledPod, downstream: &TcpStream) -> bool {
    let (Ok(application), Ok(agent)) = (downstream.peer_addr(), downstream.local_addr()) else { return true };
    client::is_closed(pod, application, agent)
}
