//! One exchange between two sides of this process: the request's head was read by the one and is used by the other, as a value, and so is
//! the response's. Content passes as it was read. Nothing is written as bytes in between, so nothing is read again.
//!
//! It keeps what a connection between the two would keep: a reader that pauses holds its writer, content is as long as its head says, and
//! a side that is dropped before it has ended resets the exchange for the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::exchange::CarriedExchange;
use super::h1::{CheckedRequest, CheckedResponse, Expected, checked_trailers};
use super::stream::{BodyLength, Downstream, ExchangeError, MessageStream, Received, Upstream};
use crate::limits::Held;
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead};
use crate::model::http::hop;
use crate::model::identity::Identity;

/// Content that waits for a reader that pauses, each way: bytes, and parts.
const MAX_WAITING_BYTES: usize = 32 * 1024;
const MAX_WAITING_PARTS: usize = 64;

/// A request as the side gets it that answers.
#[derive(Debug)]
pub(crate) struct HandedRequest {
    pub(crate) stream: LocalStream<ServerSide>,
    pub(crate) head: RequestHead,
    pub(crate) length: BodyLength,
}

/// One side of an exchange. See the module.
#[derive(Debug)]
pub(crate) struct LocalStream<S: ExchangeSide> {
    shared: Arc<Mutex<Shared>>,
    side: S,
}

/// Marks the side that answers.
#[derive(Debug)]
pub(crate) struct ServerSide;

/// Marks the side that asks.
#[derive(Debug)]
pub(crate) struct ClientSide {
    /// Who the other side is.
    peer: Identity,
    /// Counts the request among what its pod may have under way.
    _held: Held,
}

/// Which side of an exchange its owner is.
pub(crate) trait ExchangeSide {
    const IS_CLIENT: bool;
}

impl ExchangeSide for ServerSide {
    const IS_CLIENT: bool = false;
}

impl ExchangeSide for ClientSide {
    const IS_CLIENT: bool = true;
}

#[derive(Debug)]
struct Shared {
    request: Way,
    response: Way,
    /// Heads of responses that the client has not taken.
    heads: VecDeque<(ResponseHead, BodyLength)>,
    /// Whether the final one is among them, or was taken.
    is_answered: bool,
    /// Whether the client has taken any.
    has_answer: bool,
    expected: Expected,
    client: Presence,
    server: Presence,
}

/// Whether a side is there, and whom to tell.
#[derive(Debug, Default)]
struct Presence {
    waker: Option<Waker>,
    is_gone: bool,
}

/// Content on its way to one side.
#[derive(Debug, Default)]
struct Way {
    parts: VecDeque<Bytes>,
    bytes: usize,
    /// How much is to come, where the head says so.
    left: Option<u64>,
    has_ended: bool,
    trailers: Option<HttpFields>,
    /// Whatever is sent is no part of the message.
    discards: bool,
    /// Its writer waits for room.
    is_awaited: bool,
    /// Why what its writer sends is no message. Nothing is sent any more.
    fault: Option<&'static str>,
}

/// Begins an exchange. `peer`: who answers. `held`: what counts it among what the asking pod may have under way.
pub(crate) fn hand_over(
    request: CheckedRequest,
    peer: Identity,
    held: Held,
) -> (LocalStream<ClientSide>, HandedRequest) {
    let (head, length) = request.into_parts();
    let expected = Expected { is_head: head.method == b"HEAD", is_http2: head.version == HttpVersion::Http2 };
    let shared = Arc::new(Mutex::new(Shared {
        request: Way::of(length),
        response: Way::default(),
        heads: VecDeque::new(),
        is_answered: false,
        has_answer: false,
        expected,
        client: Presence::default(),
        server: Presence::default(),
    }));
    let stream = LocalStream { shared: shared.clone(), side: ServerSide };
    (LocalStream { shared, side: ClientSide { peer, _held: held } }, HandedRequest { stream, head, length })
}

impl Way {
    fn of(length: BodyLength) -> Self {
        let left = match length {
            BodyLength::Empty => Some(0),
            BodyLength::Known(bytes) => Some(bytes),
            BodyLength::Unknown | BodyLength::Tunnel => None,
        };
        Self { left, has_ended: left == Some(0), ..Self::default() }
    }

    fn has_room(&self) -> bool {
        self.bytes < MAX_WAITING_BYTES && self.parts.len() < MAX_WAITING_PARTS
    }

    fn check_fault(&self) -> Result<(), ExchangeError> {
        self.fault.map_or(Ok(()), |fault| Err(ExchangeError::Malformed(fault)))
    }

    fn push(&mut self, data: Bytes) {
        if self.discards || data.is_empty() || self.fault.is_some() {
            return;
        }
        if let Some(left) = self.left {
            let rest = left.checked_sub(data.len() as u64);
            self.left = rest;
            if rest.is_none() {
                self.fault = Some("more content than Content-Length says");
                return;
            }
        } else if self.has_ended {
            self.fault = Some("content behind the end of the message");
            return;
        }
        self.bytes += data.len();
        self.parts.push_back(data);
    }

    fn end(&mut self, trailers: Option<HttpFields>) {
        if self.has_ended || self.fault.is_some() {
            return;
        }
        if self.left.is_some_and(|left| left > 0) {
            self.fault = Some("less content than Content-Length says");
            return;
        }
        (self.has_ended, self.trailers) = (true, trailers);
    }

    /// The next part of the message.
    fn pop(&mut self) -> Option<Received> {
        if let Some(data) = self.parts.pop_front() {
            self.bytes -= data.len();
            return Some(Received::Data(data));
        }
        self.has_ended.then(|| self.trailers.take().map_or(Received::End, Received::Trailers))
    }

    /// Whether its writer waits, and is to go on.
    fn takes_up(&mut self) -> bool {
        let has_much_room = self.bytes <= MAX_WAITING_BYTES / 2 && self.parts.len() <= MAX_WAITING_PARTS / 2;
        has_much_room && std::mem::take(&mut self.is_awaited)
    }

    fn clear(&mut self) {
        (self.parts, self.bytes, self.trailers) = (VecDeque::new(), 0, None);
    }
}

impl Shared {
    fn side(&mut self, is_client: bool) -> &mut Presence {
        if is_client { &mut self.client } else { &mut self.server }
    }

    /// What comes to a side.
    fn incoming(&mut self, is_client: bool) -> &mut Way {
        if is_client { &mut self.response } else { &mut self.request }
    }

    fn outgoing(&mut self, is_client: bool) -> &mut Way {
        self.incoming(!is_client)
    }

    /// Whether the other side is gone too early. Its reset overtakes what it has sent.
    fn is_reset(&self, is_client: bool) -> bool {
        if is_client { self.server.is_gone && !self.response.has_ended } else { self.client.is_gone }
    }

    fn wait(&mut self, is_client: bool, cx: &mut Context<'_>) {
        let waker = &mut self.side(is_client).waker;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// Wakes a side, without the lock.
fn wake(mut shared: MutexGuard<'_, Shared>, is_client: bool) {
    let waker = shared.side(is_client).waker.take();
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<S: ExchangeSide> MessageStream for LocalStream<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        let mut shared = self.shared.lock();
        if shared.is_reset(S::IS_CLIENT) {
            return Poll::Ready(Err(ExchangeError::Reset));
        }
        let way = shared.incoming(S::IS_CLIENT);
        let Some(received) = way.pop() else {
            shared.wait(S::IS_CLIENT, cx);
            return Poll::Pending;
        };
        if way.takes_up() {
            wake(shared, !S::IS_CLIENT);
        }
        Poll::Ready(Ok(received))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let mut shared = self.shared.lock();
        if shared.side(!S::IS_CLIENT).is_gone {
            return Poll::Ready(Err(ExchangeError::Reset));
        }
        let way = shared.outgoing(S::IS_CLIENT);
        way.check_fault()?;
        if way.has_room() {
            return Poll::Ready(Ok(()));
        }
        way.is_awaited = true;
        shared.wait(S::IS_CLIENT, cx);
        Poll::Pending
    }

    fn send_data(&mut self, data: Bytes) {
        let mut shared = self.shared.lock();
        shared.outgoing(S::IS_CLIENT).push(data);
        wake(shared, !S::IS_CLIENT);
    }

    fn send_trailers(&mut self, trailers: &HttpFields) {
        let mut shared = self.shared.lock();
        let way = shared.outgoing(S::IS_CLIENT);
        match checked_trailers(trailers) {
            Ok(mut trailers) => {
                hop::remove(&mut trailers);
                way.end(Some(trailers).filter(|trailers| !trailers.is_empty()));
            }
            Err(why) => way.fault = Some(why),
        }
        wake(shared, !S::IS_CLIENT);
    }

    fn send_end(&mut self) {
        let mut shared = self.shared.lock();
        shared.outgoing(S::IS_CLIENT).end(None);
        wake(shared, !S::IS_CLIENT);
    }

    /// What is sent is there at once. An interim response is waited for until the client has taken it: nothing else bounds them.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let mut shared = self.shared.lock();
        shared.outgoing(S::IS_CLIENT).check_fault()?;
        if S::IS_CLIENT || shared.response.has_ended {
            return Poll::Ready(Ok(()));
        }
        if shared.client.is_gone {
            return Poll::Ready(Err(ExchangeError::Reset));
        }
        if shared.heads.is_empty() || shared.is_answered {
            return Poll::Ready(Ok(()));
        }
        shared.wait(false, cx);
        Poll::Pending
    }
}

impl Downstream for LocalStream<ServerSide> {
    fn send_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), ExchangeError> {
        let mut shared = self.shared.lock();
        if shared.is_answered {
            return Err(ExchangeError::Malformed("more than one final response"));
        }
        let checked = CheckedResponse::of(head, length, shared.expected).map_err(ExchangeError::Malformed)?;
        let CheckedResponse { head, length, has_no_content } = checked;
        if !head.is_interim() {
            shared.is_answered = true;
            shared.response = Way { discards: has_no_content, ..Way::of(length) };
        }
        shared.heads.push_back((head, length));
        wake(shared, true);
        Ok(())
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        let mut shared = self.shared.lock();
        if shared.client.is_gone {
            return Poll::Ready(ExchangeError::Reset);
        }
        shared.wait(false, cx);
        Poll::Pending
    }
}

impl Upstream for LocalStream<ClientSide> {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>> {
        let mut shared = self.shared.lock();
        if shared.is_reset(true) {
            // As on a connection of its own.
            let is_silent = !shared.expected.is_http2 && !shared.has_answer;
            return Poll::Ready(Err(if is_silent { ExchangeError::NoResponse } else { ExchangeError::Reset }));
        }
        let Some((response, length)) = shared.heads.pop_front() else {
            shared.wait(true, cx);
            return Poll::Pending;
        };
        *head = response;
        shared.has_answer = true;
        if head.is_interim() {
            wake(shared, false);
        }
        Poll::Ready(Ok(length))
    }
}

impl CarriedExchange for LocalStream<ClientSide> {
    fn peer(&self) -> &Identity {
        &self.side.peer
    }
}

impl<S: ExchangeSide> Drop for LocalStream<S> {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.side(S::IS_CLIENT).is_gone = true;
        // What nobody reads any more is not held.
        shared.incoming(S::IS_CLIENT).clear();
        wake(shared, !S::IS_CLIENT);
    }
}
