//! A request of HTTP as a stream of its own on a connection between two agents, and its response: on either side, as its owner
//! holds it.
//!
//! What the owner sends waits with the stream until the windows and the records have room for it, heads too: a reader that pauses
//! holds its sender, and no stream takes the room of the others. The task that drives the connection sends what was laid down.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use super::connection::StreamSlot;
use super::session::SecuredSession;
use super::transport::Transport;
use crate::h2::{Reason, Role};
use crate::http::h2::{body_length, broken_exchange};
use crate::http::{BodyLength, CarriedExchange, Downstream, ExchangeError, MessageStream, Received, Upstream};
use crate::limits::Held;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::http::hop;
use crate::model::identity::Identity;

/// Bytes of content that wait before the owner has to.
const MAX_QUEUE_BYTES: usize = 32 * 1024;
/// Pieces of content that are laid down at once.
const MAX_SLICES: usize = 16;
/// What the pseudo-header fields and our own may take of a header list beside the fields of a request.
const OTHER_FIELDS_BYTES: usize = 1024;

/// A place for a request on a connection to a peer that wants it as a stream of its own.
#[derive(Debug)]
pub(crate) struct RequestSlot {
    slot: StreamSlot,
    /// Whether the peer still wants that.
    is_wanted: Arc<AtomicBool>,
}

/// What is to be sent.
#[derive(Debug)]
enum Queued {
    /// The head of a response; whether nothing follows.
    Head(Box<ResponseHead>, bool),
    Data(Bytes),
    Trailers(HttpFields),
    End,
}

/// Marks a stream whose request came.
#[derive(Debug)]
pub(crate) struct ServerSide;

/// Marks a stream whose request is ours.
#[derive(Debug)]
pub(crate) struct ClientSide {
    slot: StreamSlot,
    is_wanted: Arc<AtomicBool>,
    /// Counts it among what its pod may have under way.
    _held: Held,
}

/// Which side of a stream its owner is.
pub(crate) trait ExchangeSide {
    const ROLE: Role;
    /// Why a stream is reset that is dropped before it is over. `is_sent`: our side has ended.
    fn reset_reason(is_sent: bool) -> Reason;
}

impl ExchangeSide for ServerSide {
    const ROLE: Role = Role::Server;

    fn reset_reason(is_sent: bool) -> Reason {
        // RFC 9113 §8.1: after a whole response, what else the client has to send is of no use any more.
        if is_sent { Reason::NO_ERROR } else { Reason::INTERNAL_ERROR }
    }
}

impl ExchangeSide for ClientSide {
    const ROLE: Role = Role::Client;

    fn reset_reason(_is_sent: bool) -> Reason {
        Reason::CANCEL
    }
}

/// See the module. Dropped before both sides have ended, it is reset.
#[derive(Debug)]
pub(crate) struct RequestStream<S: ExchangeSide> {
    transport: Arc<Transport>,
    id: u32,
    side: S,
    queue: VecDeque<Queued>,
    /// Bytes of content in the queue.
    queued: usize,
}

impl RequestSlot {
    pub(super) fn new(slot: StreamSlot, is_wanted: Arc<AtomicBool>) -> Self {
        Self { slot, is_wanted }
    }

    /// Sends the head of a request, with more fields behind its own. `held`: what counts it among what its pod may have under way. `None`
    /// where the connection has no room for it now, or its peer accepts no head that long.
    pub(crate) fn send(
        self,
        head: &RequestHead,
        length: BodyLength,
        more: &[(&str, &[u8])],
        held: Held,
    ) -> Option<RequestStream<ClientSide>> {
        let transport = self.slot.connection().transport.clone();
        let mut session = transport.session();
        let others = head.target.len() + head.authority.len() + OTHER_FIELDS_BYTES;
        if !session.http2.accepts_section(&head.fields, others) || !session.has_room() {
            return None;
        }
        let id = session.http2.request_with(head, length == BodyLength::Empty, more)?;
        session.carries_requests(id);
        session.lay_frames();
        drop(session);
        let Self { slot, is_wanted } = self;
        Some(RequestStream::new(transport, id, ClientSide { slot, is_wanted, _held: held }))
    }
}

impl<S: ExchangeSide> RequestStream<S> {
    pub(super) fn new(transport: Arc<Transport>, id: u32, side: S) -> Self {
        Self { transport, id, side, queue: VecDeque::new(), queued: 0 }
    }

    /// Ready once the peer has given the exchange up, or its connection is gone.
    fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        let mut session = self.transport.session();
        if let Some(error) = failure::<S>(&session, self.id) {
            return Poll::Ready(error);
        }
        if let Some(stream) = session.http2.stream_mut(self.id) {
            stream.set_waker(cx.waker());
        }
        Poll::Pending
    }

    /// Lays down what is queued; ready once that is all of it.
    fn poll_lay(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.queue.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut session = self.transport.session();
        while let Some(first) = self.queue.front() {
            if let Some(error) = failure::<S>(&session, self.id) {
                return Poll::Ready(Err(error));
            }
            if let Queued::Data(_) = first {
                let laid = ready!(lay_content(&mut session, self.id, cx, &self.queue))?;
                self.queued -= laid;
                advance(&mut self.queue, laid);
                continue;
            }
            if !session.has_room() {
                wait_for_room(&mut session, self.id, cx);
                return Poll::Pending;
            }
            match first {
                Queued::Head(head, ends) => session.http2.send_response(self.id, head, *ends),
                Queued::Trailers(fields) => session.http2.send_trailers(self.id, fields),
                // It may have gone with the last of the content.
                Queued::End if session.http2.stream(self.id).is_some_and(|stream| stream.local_ended()) => {}
                Queued::End => session.http2.end_stream(self.id),
                Queued::Data(_) => {}
            }
            session.lay_frames();
            self.queue.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

/// How a stream is broken, if it is.
fn failure<S: ExchangeSide>(session: &SecuredSession, id: u32) -> Option<ExchangeError> {
    let Some(stream) = session.http2.stream(id) else { return Some(ExchangeError::Reset) };
    stream.failure().map(|failure| broken_exchange(S::ROLE, stream, failure))
}

fn wait_for_room(session: &mut SecuredSession, id: u32, cx: &mut Context<'_>) {
    if let Some(stream) = session.http2.stream_mut(id) {
        stream.set_waker(cx.waker());
    }
    session.http2.wait_for_room(id);
}

/// Lays down content from the front of a queue, with the end where that is right behind it. Ready with how much.
fn lay_content(
    session: &mut SecuredSession,
    id: u32,
    cx: &mut Context<'_>,
    queue: &VecDeque<Queued>,
) -> Poll<Result<usize, ExchangeError>> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    for (slice, queued) in slices.iter_mut().zip(queue) {
        let Queued::Data(data) = queued else { break };
        *slice = IoSlice::new(data);
        count += 1;
    }
    let ends = matches!(queue.get(count), Some(Queued::End));
    // How a stream is broken was seen before: this one takes no content behind its end.
    session.poll_lay_part(id, cx, &slices[..count], ends).map_err(|_| ExchangeError::Reset)
}

/// Forgets so many bytes of content at the front of a queue.
fn advance(queue: &mut VecDeque<Queued>, mut count: usize) {
    while let Some(Queued::Data(data)) = queue.front_mut() {
        if data.len() > count {
            return data.advance(count);
        }
        count -= data.len();
        queue.pop_front();
        if count == 0 {
            return;
        }
    }
}

impl<S: ExchangeSide> MessageStream for RequestStream<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        let mut session = self.transport.session();
        let Some(stream) = session.http2.stream_mut(self.id) else { return Poll::Ready(Err(ExchangeError::Reset)) };
        if let Some(failure) = stream.reset_midway() {
            return Poll::Ready(Err(broken_exchange(S::ROLE, stream, failure)));
        }
        if let Some(content) = stream.attached.pending.pop() {
            session.http2.consumed(self.id, content.len());
            return Poll::Ready(Ok(Received::Data(content)));
        }
        if stream.remote_ended() {
            let trailers = session.http2.take_trailers(self.id);
            let trailers = trailers.map(|mut fields| {
                hop::remove(&mut fields);
                fields
            });
            return Poll::Ready(Ok(trailers.map_or(Received::End, Received::Trailers)));
        }
        if let Some(failure) = stream.failure() {
            return Poll::Ready(Err(broken_exchange(S::ROLE, stream, failure)));
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.queued >= MAX_QUEUE_BYTES {
            ready!(self.poll_lay(cx))?;
        }
        Poll::Ready(failure::<S>(&self.transport.session(), self.id).map_or(Ok(()), Err))
    }

    fn send_data(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.queued += data.len();
            self.queue.push_back(Queued::Data(data));
        }
    }

    fn send_trailers(&mut self, trailers: &HttpFields) {
        let mut trailers = trailers.clone();
        hop::remove(&mut trailers);
        self.queue.push_back(if trailers.is_empty() { Queued::End } else { Queued::Trailers(trailers) });
    }

    fn send_end(&mut self) {
        self.queue.push_back(Queued::End);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.poll_lay(cx)
    }
}

impl RequestStream<ServerSide> {
    /// Ready once the client has given the request up, or its connection is gone.
    pub(crate) async fn given_up(&self) {
        poll_fn(|cx| self.poll_broken(cx)).await;
    }

    /// Says that nobody has looked at the request: it may be sent inside of CONNECT.
    pub(crate) fn refuse(self) {
        self.transport.session().http2.release(self.id, Reason::REFUSED_STREAM);
    }
}

impl Downstream for RequestStream<ServerSide> {
    fn send_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), ExchangeError> {
        // RFC 9113 §8.6: HTTP/2 has no 101. A tunnel is none of these streams.
        if !(100..1000).contains(&head.status) || head.status == 101 || length == BodyLength::Tunnel {
            return Err(ExchangeError::Malformed("a response that is none of a stream of its own"));
        }
        let mut session = self.transport.session();
        if !session.http2.accepts_section(&head.fields, OTHER_FIELDS_BYTES) {
            return Err(ExchangeError::Malformed("a head longer than the client's agent accepts"));
        }
        let ends = length == BodyLength::Empty && !head.is_interim();
        if self.queue.is_empty() && session.has_room() {
            session.http2.send_response(self.id, head, ends);
            session.lay_frames();
        } else {
            self.queue.push_back(Queued::Head(Box::new(head.clone()), ends));
        }
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

impl Upstream for RequestStream<ClientSide> {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>> {
        let mut session = self.transport.session();
        let response = match ready!(session.http2.poll_response(self.id, cx)) {
            Ok(response) => response,
            Err(_) => {
                let error = failure::<ClientSide>(&session, self.id).unwrap_or(ExchangeError::Reset);
                if matches!(error, ExchangeError::Refused) {
                    self.side.is_wanted.store(false, Ordering::Relaxed);
                }
                return Poll::Ready(Err(error));
            }
        };
        *head = response.head;
        hop::remove(&mut head.fields);
        Poll::Ready(Ok(body_length(response.content, false)))
    }
}

impl CarriedExchange for RequestStream<ClientSide> {
    fn peer(&self) -> &Identity {
        &self.side.slot.connection().peer_identity
    }
}

impl<S: ExchangeSide> Drop for RequestStream<S> {
    fn drop(&mut self) {
        let mut session = self.transport.session();
        let is_sent = session.http2.stream(self.id).is_some_and(|stream| stream.local_ended());
        session.http2.release(self.id, S::reset_reason(is_sent));
    }
}
