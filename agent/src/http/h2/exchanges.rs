//! The exchanges of one connection: what its driver reads goes to the streams, what the streams send goes to the output.
//!
//! Streams only queue, and the driver lays frames down before it writes: what many streams send in one turn leaves in one
//! write, and the end of a message in the frame of its last content. Streams get their turns frame by frame.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::output::Output;
use super::side::{End, StreamSide};
use crate::h2::{
    Event, FrameReader, MAX_SENT_FRAME_BYTES, Reason, Response, Role, Session, SessionError, Stream, StreamError,
    Usage, WindowBudget,
};
use crate::http::stream::{ExchangeError, Received};

/// Bytes that wait for the network, above which streams lay nothing down.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// Bytes that wait for the network, above which nothing is read from a client: what it asks for would have to wait, too.
const MAX_BACKLOG_BYTES: usize = 256 * 1024;
/// Bytes of content that a stream queues before its owner has to wait.
const MAX_STREAM_QUEUE_BYTES: usize = 64 * 1024;
/// Bytes of content that all streams of a connection queue before each may queue one part at a time only.
const MAX_CONNECTION_QUEUE_BYTES: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Exchanges {
    pub(super) session: Session<StreamSide>,
    pub(super) role: Role,
    pub(super) output: Output,
    frames: FrameReader,
    /// Streams that have something to send, in turn; and those of them that wait for a window.
    sendable: VecDeque<u32>,
    stalled: VecDeque<u32>,
    /// Streams whose owners wait until all is written.
    flushing: Vec<u32>,
    /// Bytes of content that streams have queued.
    queued: usize,
    /// Whether this side opens no more streams.
    is_leaving: bool,
    /// When the connection began, or its last stream ended.
    idle_since: Instant,
}

/// What is left of a stream's queue.
enum Left {
    Nothing,
    More,
    /// More than its windows allow.
    Stalled,
}

impl Exchanges {
    pub(super) fn new(role: Role, budget: WindowBudget) -> Self {
        Self {
            session: Session::new(role, Usage::REQUESTS, budget),
            role,
            output: Output::default(),
            frames: FrameReader::new(role),
            sendable: VecDeque::new(),
            stalled: VecDeque::new(),
            flushing: Vec::new(),
            queued: 0,
            is_leaving: false,
            idle_since: Instant::now(),
        }
    }

    /// Takes what was read at once. Returns how many pieces of HTTP/2 that was.
    ///
    /// # Errors
    /// Why the connection is over.
    pub(super) fn receive(&mut self, block: &Bytes) -> Result<usize, SessionError> {
        self.session.check_in_time()?;
        let (mut rest, mut pieces) = (&block[..], 0);
        while let Some(piece) = self.frames.next(&mut rest)? {
            if self.session.ended().is_some() {
                break;
            }
            pieces += 1;
            match self.session.receive(piece)? {
                Event::Data { stream, bytes, .. } => self.deliver(stream, block, bytes),
                Event::Ended { stream } => self.deliver(stream, block, &[]),
                Event::None => {}
            }
        }
        Ok(pieces)
    }

    fn deliver(&mut self, id: u32, block: &Bytes, content: &[u8]) {
        let Some(stream) = self.session.stream_mut(id) else { return };
        if stream.attached.is_orphan {
            return self.session.consumed(id, content.len());
        }
        if !content.is_empty() {
            stream.attached.inbox.push(block, content);
        }
        stream.wake();
    }

    /// The next part of the message that came on a stream.
    pub(super) fn poll_receive(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        let Some(stream) = self.session.stream_mut(id) else { return Poll::Ready(Err(ExchangeError::Reset)) };
        if let Some(failure) = stream.reset_midway() {
            return Poll::Ready(Err(broken_exchange(self.role, stream, failure)));
        }
        if let Some(content) = stream.attached.inbox.pop() {
            self.session.consumed(id, content.len());
            return Poll::Ready(Ok(Received::Data(content)));
        }
        if stream.remote_ended() {
            return Poll::Ready(Ok(self.session.take_trailers(id).map_or(Received::End, Received::Trailers)));
        }
        if let Some(failure) = stream.failure() {
            return Poll::Ready(Err(broken_exchange(self.role, stream, failure)));
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    /// The next response to a request of ours.
    pub(super) fn poll_response(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Response, ExchangeError>> {
        let response = ready!(self.session.poll_response(id, cx));
        Poll::Ready(response.map_err(|failure| match self.session.stream(id) {
            Some(stream) => broken_exchange(self.role, stream, &failure),
            None => ExchangeError::Reset,
        }))
    }

    /// Ready once the stream is broken.
    pub(super) fn poll_broken(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        let Some(stream) = self.session.stream_mut(id) else { return Poll::Ready(ExchangeError::Reset) };
        if let Some(failure) = stream.failure() {
            return Poll::Ready(broken_exchange(self.role, stream, failure));
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    /// Ready once a stream may queue content.
    pub(super) fn poll_room(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let is_crowded = self.queued >= MAX_CONNECTION_QUEUE_BYTES;
        let Some(stream) = self.session.stream_mut(id) else { return Poll::Ready(Err(ExchangeError::Reset)) };
        if let Some(failure) = stream.failure() {
            return Poll::Ready(Err(broken_exchange(self.role, stream, failure)));
        }
        let most = if is_crowded { 1 } else { MAX_STREAM_QUEUE_BYTES };
        if stream.attached.outbox.bytes() < most {
            return Poll::Ready(Ok(()));
        }
        stream.attached.waits_for_room = true;
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    pub(super) fn send_data(&mut self, id: u32, content: Bytes) {
        let Some(stream) = self.session.stream_mut(id).filter(|stream| stream.failure().is_none()) else { return };
        let side = &mut stream.attached;
        if content.is_empty() || side.outbox.end.is_some() || stream.local_ended() {
            return;
        }
        self.queued += content.len();
        stream.attached.outbox.push(content);
        self.list(id);
    }

    pub(super) fn send_end(&mut self, id: u32, end: End) {
        let Some(stream) = self.session.stream_mut(id).filter(|stream| stream.failure().is_none()) else { return };
        if stream.local_ended() {
            return;
        }
        stream.attached.outbox.end.get_or_insert(end);
        self.list(id);
    }

    /// Puts a stream among those that have something to send.
    fn list(&mut self, id: u32) {
        if let Some(stream) = self.session.stream_mut(id) {
            stream.attached.flushed_at = None;
            if !std::mem::replace(&mut stream.attached.is_listed, true) {
                self.sendable.push_back(id);
                self.session.wake_driver();
            }
        }
    }

    /// Ready once the network has all that a stream has sent so far.
    pub(super) fn poll_flush(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let (laid, written) = (self.output.laid(), self.output.written());
        let is_laid = self.session.outgoing().is_empty();
        let Some(stream) = self.session.stream_mut(id) else { return Poll::Ready(Err(ExchangeError::Reset)) };
        if let Some(failure) = stream.failure() {
            return Poll::Ready(Err(broken_exchange(self.role, stream, failure)));
        }
        let side = &mut stream.attached;
        if is_laid && !side.is_listed {
            let flushed_at = *side.flushed_at.get_or_insert(laid);
            if written >= flushed_at {
                return Poll::Ready(Ok(()));
            }
        }
        stream.set_waker(cx.waker());
        if !self.flushing.contains(&id) {
            self.flushing.push(id);
        }
        Poll::Pending
    }

    /// Whether streams wait for the network so much that its peer has to read first.
    pub(super) fn is_backlogged(&self) -> bool {
        self.output.waiting() + self.session.outgoing().len() > MAX_BACKLOG_BYTES
    }

    /// Lays frames down, as far as there is room and the windows allow.
    pub(super) fn lay(&mut self) {
        if self.session.take_sendable_changed() {
            self.sendable.append(&mut self.stalled);
        }
        while self.output.waiting() < MAX_OUTPUT_BYTES {
            // Heads go before the content that follows them.
            self.lay_frames();
            let Some(id) = self.sendable.pop_front() else { return };
            match self.lay_next(id) {
                Left::More => self.sendable.push_back(id),
                Left::Stalled => self.stalled.push_back(id),
                Left::Nothing => {}
            }
        }
    }

    fn lay_frames(&mut self) {
        let frames = self.session.outgoing();
        let count = frames.len();
        if count > 0 {
            self.output.lay_frames(frames);
            self.session.advance_outgoing(count);
        }
    }

    /// Lays down a stream's next frame.
    fn lay_next(&mut self, id: u32) -> Left {
        let connection_window = self.session.connection_send_window();
        let Some(stream) = self.session.stream_mut(id) else { return Left::Nothing };
        if stream.failure().is_some() {
            return self.forget(id);
        }
        let window = usize::try_from(stream.send_window().min(connection_window)).unwrap_or(0);
        let outbox = &mut stream.attached.outbox;
        let queued = outbox.bytes();
        let length = queued.min(window).min(MAX_SENT_FRAME_BYTES);
        if length == 0 && queued > 0 {
            return Left::Stalled;
        }
        let end = if length == queued { outbox.end.take() } else { None };
        let ends_with_data = matches!(end, Some(End::WithData));
        if length > 0 || ends_with_data {
            let header = self.session.begin_data(id, length, ends_with_data);
            self.output.lay_frames(&header);
        }
        if let Some(stream) = self.session.stream_mut(id) {
            let side = &mut stream.attached;
            side.outbox.lay(length, &mut self.output);
            self.queued -= length;
            side.is_listed = length < queued;
            // The owner is woken when there is nothing left, or enough room again for a while.
            if side.waits_for_room && side.outbox.bytes() < MAX_STREAM_QUEUE_BYTES / 2 {
                side.waits_for_room = false;
                stream.wake();
            }
        }
        if let Some(End::WithTrailers(fields)) = &end {
            self.session.send_trailers(id, fields);
        }
        match end {
            Some(_) => self.forget(id),
            None if length < queued => Left::More,
            None => Left::Nothing,
        }
    }

    /// Ends the turns of a stream that has nothing to send any more.
    fn forget(&mut self, id: u32) -> Left {
        let Some(stream) = self.session.stream_mut(id) else { return Left::Nothing };
        stream.attached.is_listed = false;
        if stream.attached.is_orphan {
            self.release(id, Reason::NO_ERROR);
        }
        Left::Nothing
    }

    /// The network took something.
    pub(super) fn wrote(&mut self) {
        for id in self.flushing.drain(..) {
            if let Some(stream) = self.session.stream(id) {
                stream.wake();
            }
        }
    }

    /// Opens no more streams; the connection ends after the last that there is.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        self.session.wake_driver();
    }

    /// For how long there has been no stream; `None` while there are some.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        (self.session.open_streams() == 0).then(|| self.idle_since.elapsed())
    }

    /// Ends a connection that has come to its natural end, once everything is sent; gives memory back where it has no streams.
    pub(super) fn end_if_done(&mut self) {
        let has_no_streams = self.session.open_streams() == 0;
        if !has_no_streams || !self.output.is_empty() || !self.session.outgoing().is_empty() {
            return;
        }
        if self.session.is_done() || self.is_leaving {
            self.session.end(SessionError::Done);
        }
        self.output.shrink();
    }

    /// The owner of a stream is gone. A whole response still reaches its client; anything else is reset.
    pub(super) fn give_up(&mut self, id: u32) {
        let Some(stream) = self.session.stream_mut(id) else { return };
        let is_answered = self.role == Role::Server && (stream.local_ended() || stream.attached.outbox.end.is_some());
        match self.role {
            Role::Server if is_answered && !stream.local_ended() && stream.failure().is_none() => {
                stream.attached.is_orphan = true;
                while let Some(content) = self.session.stream_mut(id).and_then(|stream| stream.attached.inbox.pop()) {
                    self.session.consumed(id, content.len());
                }
            }
            // RFC 9113 §8.1: what else the client has to send is of no use any more.
            Role::Server if is_answered => self.release(id, Reason::NO_ERROR),
            Role::Server => self.release(id, Reason::INTERNAL_ERROR),
            Role::Client => self.release(id, Reason::CANCEL),
        }
    }

    /// Ends a stream at once.
    pub(super) fn release(&mut self, id: u32, reason: Reason) {
        if let Some(stream) = self.session.stream(id) {
            self.queued -= stream.attached.outbox.bytes();
            if stream.attached.is_listed {
                self.stalled.retain(|stalled| *stalled != id);
            }
            self.session.release(id, reason);
        }
        if self.session.open_streams() == 0 {
            self.idle_since = Instant::now();
            self.session.wake_driver();
        }
    }
}

/// How an exchange broke whose stream did.
pub(crate) fn broken_exchange<A>(role: Role, stream: &Stream<A>, failure: &StreamError) -> ExchangeError {
    let error = match failure {
        StreamError::Reset(_) => return ExchangeError::Reset,
        StreamError::NotSeen => return ExchangeError::Refused,
        StreamError::Malformed(what) => return ExchangeError::Malformed(what),
        StreamError::Connection(error) => error,
    };
    let awaits_response = role == Role::Client && stream.awaits_response();
    let broken_rule = |what| match awaits_response {
        true => ExchangeError::BrokenConnection(what),
        false => ExchangeError::Malformed(what),
    };
    match &**error {
        SessionError::GoAway(_) => ExchangeError::Reset,
        SessionError::Protocol { what, .. } => broken_rule(what),
        SessionError::HeaderBlock(_) => broken_rule("a header block that is none"),
        _ if awaits_response => ExchangeError::NoResponse,
        SessionError::Io(error) => ExchangeError::Io(Arc::new(io::Error::new(error.kind(), error.to_string()))),
        SessionError::Closed | SessionError::Aborted | SessionError::Done => ExchangeError::Truncated,
    }
}
