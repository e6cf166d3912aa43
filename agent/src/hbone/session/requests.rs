//! Streams as their owners open, answer and leave them.

use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};

use super::stream::{Head, Stream};
use super::{Reason, STREAM_WINDOW_BYTES, Session, Side, StreamError, frame, kind};
use crate::h2::frame::flag;
use crate::h2::hpack;

impl Session {
    /// Opens a stream with a CONNECT request. `None` when the connection takes no more.
    pub(in crate::hbone) fn open(&mut self, authority: &str, fields: &HeaderMap) -> Option<u32> {
        if !self.takes_requests() || self.leaving != super::Leaving::No {
            return None;
        }
        let id = self.next_stream;
        self.next_stream += 2;
        let mut block = Vec::with_capacity(512);
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        hpack::encode_connect(&mut block, authority, fields);
        self.streams.insert(id, Stream::new(self.limits.initial_window, STREAM_WINDOW_BYTES));
        // Our own heads are far below the smallest maximum of a frame.
        self.put(&frame::frame(kind::HEADERS, flag::END_HEADERS, id, &block));
        Some(id)
    }

    /// The answer's status, once it is here.
    pub(in crate::hbone) fn poll_answer(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StatusCode, StreamError>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(StreamError::NotSeen)) };
        if let Some(head) = stream.answer.take() {
            let status = head.status.and_then(|status| StatusCode::from_u16(status).ok());
            return Poll::Ready(status.ok_or(StreamError::NoStatus));
        }
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        stream.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A request that came and that nobody serves yet.
    pub(in crate::hbone) fn next_request(&mut self) -> Option<(u32, Head)> {
        while let Some((id, head)) = self.arrived.pop_front() {
            if self.streams.get(&id).is_some_and(|stream| stream.failure.is_none()) {
                return Some((id, head));
            }
            // Reset before anybody looked at it.
            self.release(id, Reason::CANCEL);
        }
        None
    }

    /// Answers a request. With `end`, that was all.
    pub(in crate::hbone) fn answer(&mut self, id: u32, status: StatusCode, end: bool) -> Result<(), StreamError> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(StreamError::NotSeen) };
        if let Some(failure) = &stream.failure {
            return Err(failure.clone());
        }
        stream.local_ended = end;
        self.put_status(id, status, end);
        if end && let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.remote_ended) {
            // RFC 9113 §8.1: what else the client has to say is of no use any more.
            stream.fail(StreamError::Reset(Reason::NO_ERROR));
            self.put(&frame::reset(id, Reason::NO_ERROR));
        }
        Ok(())
    }

    pub(super) fn put_status(&mut self, id: u32, status: StatusCode, end: bool) {
        let mut block = Vec::new();
        hpack::encode_status(&mut block, status);
        let flags = if end { flag::END_HEADERS | flag::END_STREAM } else { flag::END_HEADERS };
        self.put(&frame::frame(kind::HEADERS, flags, id, &block));
    }

    /// Gives a stream up: reset unless both sides said their last.
    pub(in crate::hbone) fn release(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.forget_held(stream.pending.len());
        if self.side == Side::Server {
            self.served -= 1;
        }
        if stream.failure.is_none() && !(stream.local_ended && stream.remote_ended) {
            self.put(&frame::reset(id, reason));
        }
        if self.is_done() {
            self.wake_driver();
        }
    }
}
