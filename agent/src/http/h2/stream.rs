//! One stream as its owner holds it, on either side.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::driver::Shared;
use super::side::End;
use crate::h2::Content;
use crate::http::stream::{BodyLength, Downstream, ExchangeError, MessageStream, Received, Upstream};
use crate::model::http::head::{HttpFields, ResponseHead};
use crate::model::identity::Identity;

/// A request that came, and its response. Dropped before the end of the response was queued, it is reset with INTERNAL_ERROR; a
/// response that is whole reaches the client also after that.
pub(crate) type ServerStream = ExchangeStream<ServerSide>;

/// A request of ours, and its response. Dropped before both have ended, it is reset with CANCEL.
pub(crate) type ClientStream = ExchangeStream<ClientSide>;

/// Marks a stream whose request came.
#[derive(Debug)]
pub(crate) struct ServerSide;

/// Marks a stream whose request is ours.
#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(super) is_connect: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ExchangeStream<S> {
    shared: Arc<Shared>,
    id: u32,
    side: S,
}

impl<S> ExchangeStream<S> {
    pub(super) fn new(shared: Arc<Shared>, id: u32, side: S) -> Self {
        Self { shared, id, side }
    }

    /// The identity that the other end of the connection has proven.
    pub(crate) fn peer(&self) -> Option<&Identity> {
        self.shared.peer.get()
    }

    /// Ready once the peer has given the exchange up, or its connection is gone.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        self.shared.exchanges().poll_broken(self.id, cx)
    }

    /// Breaks the exchange off. Nothing can be received or sent after that.
    #[cfg(test)]
    pub(crate) fn reset(&mut self, reason: crate::h2::Reason) {
        self.shared.exchanges().release(self.id, reason);
    }
}

impl<S> MessageStream for ExchangeStream<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        self.shared.exchanges().poll_receive(self.id, cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.shared.exchanges().poll_room(self.id, cx)
    }

    fn send_data(&mut self, data: Bytes) {
        self.shared.exchanges().send_data(self.id, data);
    }

    fn send_trailers(&mut self, trailers: &HttpFields) {
        let end = if trailers.is_empty() { End::WithData } else { End::WithTrailers(trailers.clone()) };
        self.shared.exchanges().send_end(self.id, end);
    }

    fn send_end(&mut self) {
        self.shared.exchanges().send_end(self.id, End::WithData);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.shared.exchanges().poll_flush(self.id, cx)
    }

    fn poll_push(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        // The driver was woken by whatever was queued. How a stream breaks is seen by who receives on it, or has no room.
        Poll::Ready(Ok(()))
    }
}

impl Downstream for ServerStream {
    fn send_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), ExchangeError> {
        // RFC 9113 §8.6: HTTP/2 has no 101.
        if !(100..1000).contains(&head.status) || head.status == 101 {
            return Err(ExchangeError::Malformed("a status that HTTP/2 has not"));
        }
        let ends = length == BodyLength::Empty && !head.is_interim();
        self.shared.exchanges().session.send_response(self.id, head, ends);
        Ok(())
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        Poll::Ready(match ready!(self.poll_broken(cx)) {
            // Nothing can be sent on a connection that has ended.
            ExchangeError::Truncated => ExchangeError::Reset,
            error => error,
        })
    }
}

impl Upstream for ClientStream {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>> {
        let response = ready!(self.shared.exchanges().poll_response(self.id, cx))?;
        *head = response.head;
        let is_tunnel = self.side.is_connect && (200..300).contains(&head.status);
        Poll::Ready(Ok(body_length(response.content, is_tunnel)))
    }
}

impl<S> Drop for ExchangeStream<S> {
    fn drop(&mut self) {
        self.shared.exchanges().give_up(self.id);
    }
}

/// What follows a head. `is_tunnel`: after a CONNECT request, or after a response that accepts it.
pub(crate) fn body_length(content: Content, is_tunnel: bool) -> BodyLength {
    match content {
        _ if is_tunnel => BodyLength::Tunnel,
        Content::None => BodyLength::Empty,
        Content::Bytes(bytes) => BodyLength::Known(bytes),
        Content::Unknown => BodyLength::Unknown,
    }
}
