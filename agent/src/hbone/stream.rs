//! One HBONE stream as its owner holds it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use parking_lot::MutexGuard;
use tokio::net::TcpStream;

use super::application::{Application, TcpEnd};
use super::connection::StreamSlot;
use super::optimistic::OptimisticData;
use super::relay::RelayError;
use super::session::SecuredSession;
use super::transport::Transport;
use crate::h2::{Reason, StreamError};
use crate::model::http::head::HttpFields;
use crate::model::http::hop;
use crate::telemetry::connection::ByteCounts;

/// An open stream to a peer's workload. Dropped before both sides ended it, it is reset.
#[derive(Debug)]
pub(crate) struct HboneStream {
    transport: Arc<Transport>,
    id: u32,
    /// Counts the stream among those of a connection of ours.
    slot: Option<StreamSlot>,
}

impl HboneStream {
    pub(super) fn new(transport: Arc<Transport>, id: u32, slot: Option<StreamSlot>) -> Self {
        Self { transport, id, slot }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn session(&self) -> MutexGuard<'_, SecuredSession> {
        self.transport.session()
    }

    /// The response to the request that opened the stream, and whether it wants further requests as streams of their own. Until it is here,
    /// what the application has sent is sent; `sent` counts it.
    pub(super) async fn response(
        &self,
        optimistic: Option<&OptimisticData<'_>>,
        sent: &mut usize,
    ) -> Result<(StatusCode, bool), StreamError> {
        let response = poll_fn(|cx| {
            let mut session = self.transport.session();
            let response = session.http2.poll_response(self.id, cx);
            if let (Poll::Pending, Some(data)) = (&response, optimistic) {
                data.poll_send(&mut session, self.id, sent, cx);
            }
            response
        })
        .await?;
        let wants_streams = response.head.fields.first(hop::CARRIAGE) == Some(hop::AS_STREAMS);
        let status = StatusCode::from_u16(response.head.status);
        status.map(|status| (status, wants_streams)).map_err(|_| StreamError::Malformed("no status"))
    }

    /// Grants the request that opened the stream. `reads_requests`: a peer that takes part in requests as streams of their own is told that
    /// further ones to the same destination are better sent so.
    pub(super) fn grant(&self, reads_requests: bool) -> Result<(), StreamError> {
        let mut session = self.transport.session();
        let mut fields = HttpFields::default();
        if reads_requests && session.http2.has_request_streams() {
            fields.append(hop::CARRIAGE.as_bytes(), hop::AS_STREAMS);
        }
        session.http2.grant(self.id, &fields)
    }

    /// Responds to the request that opened the stream. With `end`, that is all.
    pub(super) fn respond(&self, status: StatusCode, end: bool) -> Result<(), StreamError> {
        self.transport.session().http2.respond(self.id, status, end)
    }

    /// Says that requests of HTTP are sent on it: how much waits for a reader that stops is bounded for these.
    pub(crate) fn carries_requests(&self) {
        self.transport.session().carries_requests(self.id);
    }

    /// Whether nothing has come for the connection that its task has not read: something for this stream may be among it.
    pub(crate) fn is_silent(&self) -> bool {
        self.transport.is_silent()
    }

    /// Ready once the stream is broken: reset by the peer, or with its connection.
    pub(super) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut session = self.transport.session();
        let Some(stream) = session.http2.stream_mut(self.id) else { return Poll::Ready(()) };
        if stream.failure().is_some() {
            return Poll::Ready(());
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    /// Gives up a stream that the peer did not see, and its slot back.
    pub(super) fn into_slot(mut self) -> Option<StreamSlot> {
        self.slot.take()
    }

    /// Moves bytes between the stream and an application until both are done. What happens on one side happens on the
    /// other: the end of data, or a reset.
    ///
    /// # Errors
    /// When either side breaks.
    pub(crate) async fn relay(
        &self,
        tcp: Arc<TcpStream>,
        end: TcpEnd,
        bytes: Arc<ByteCounts>,
    ) -> Result<(), RelayError> {
        self.transport.session().attach(self.id, Application { tcp, end, bytes });
        poll_fn(|cx| self.transport.session().poll_relay(self.id, cx)).await
    }
}

impl Drop for HboneStream {
    fn drop(&mut self) {
        self.transport.session().http2.release(self.id, Reason::CANCEL);
    }
}
