//! Streams as their owner opens, answers and releases them.

use std::task::{Context, Poll};

use http::StatusCode;

use super::error::StreamError;
use super::fields::HeaderSection;
use super::frame::{self, Reason, flag, kind};
use super::hpack;
use super::session::{Goaway, Session};
use super::settings::Role;
use super::stream::{Response, Stream};

impl<A: Default> Session<A> {
    /// Opens a stream with a request of these fields, pseudo-header fields first. `None` when the connection takes no more, or the pod
    /// has as many streams as may begin with its window: another connection may have a smaller one.
    pub(crate) fn open<'f>(&mut self, fields: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Option<u32> {
        if !self.accepts_streams() || self.shutdown.goaway != Goaway::NotSent {
            return None;
        }
        if !self.budget.begin_stream(self.first_stream_window) {
            return None;
        }
        let id = self.streams.next_local;
        self.streams.next_local += 2;
        let mut block = Vec::with_capacity(512);
        for (name, value) in fields {
            hpack::encode(&mut block, name, value);
        }
        self.streams.table.insert(id, Stream::new(self.peer.initial_window, self.first_stream_window.bytes()));
        // Our own header sections are far below the smallest maximum of a frame.
        self.send(|out| frame::append(out, kind::HEADERS, flag::END_HEADERS, id, &block));
        Some(id)
    }

    /// The status of the response, once it is here.
    pub(crate) fn poll_response(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<StatusCode, StreamError>> {
        let Some(stream) = self.streams.table.get_mut(&id) else { return Poll::Ready(Err(StreamError::NotSeen)) };
        if let Response::Arrived(section) = &stream.response {
            let status = section.status.and_then(|status| StatusCode::from_u16(status).ok());
            stream.response = Response::Taken;
            return Poll::Ready(status.ok_or(StreamError::NoStatus));
        }
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    /// A request that came and that nobody has taken yet.
    pub(crate) fn next_request(&mut self) -> Option<(u32, HeaderSection)> {
        while let Some((id, section)) = self.streams.requests.pop_front() {
            if self.streams.table.get(&id).is_some_and(|stream| stream.failure.is_none()) {
                return Some((id, section));
            }
            // Reset before anybody looked at it.
            self.release(id, Reason::CANCEL);
        }
        None
    }

    /// Answers a request. With `end`, that is the whole response.
    ///
    /// # Errors
    /// When the stream is broken already.
    pub(crate) fn respond(&mut self, id: u32, status: StatusCode, end: bool) -> Result<(), StreamError> {
        let Some(stream) = self.streams.table.get_mut(&id) else { return Err(StreamError::NotSeen) };
        if let Some(failure) = &stream.failure {
            return Err(failure.clone());
        }
        stream.local_ended = end;
        self.send_status(id, status, end);
        if end && let Some(stream) = self.streams.table.get_mut(&id).filter(|stream| !stream.remote_ended) {
            // RFC 9113 §8.1: what else the client has to send is of no use any more.
            stream.fail(StreamError::Reset(Reason::NO_ERROR));
            self.send(|out| frame::append_reset(out, id, Reason::NO_ERROR));
        }
        Ok(())
    }

    pub(super) fn send_status(&mut self, id: u32, status: StatusCode, end: bool) {
        let mut block = Vec::new();
        hpack::encode(&mut block, ":status", status.as_str().as_bytes());
        let flags = if end { flag::END_HEADERS | flag::END_STREAM } else { flag::END_HEADERS };
        self.send(|out| frame::append(out, kind::HEADERS, flags, id, &block));
    }

    /// Gives a stream up: it is reset unless both sides have ended it.
    pub(crate) fn release(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.streams.table.remove(&id) else { return };
        self.budget.give_back(stream.budgeted());
        if self.role == Role::Client {
            self.budget.end_stream(self.first_stream_window);
        }
        if stream.failure.is_none() && !(stream.local_ended && stream.remote_ended) {
            self.send(|out| frame::append_reset(out, id, reason));
        }
        if self.is_done() {
            self.wake_driver();
        }
    }
}
