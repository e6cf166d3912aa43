//! Streams as their owner opens, answers and releases them; and what else it asks of the peer.

use std::task::{Context, Poll};

use http::StatusCode;

use super::budget::FirstWindow;
use super::compose;
use super::error::StreamError;
use super::frame::{self, Reason, flag, kind};
use super::hpack;
use super::liveness::QUESTION;
use super::section::{Request, RequestKind, Response};
use super::session::{Goaway, Session};
use super::stream::Stream;
use super::usage::WORK_EARNED_PER_MESSAGE;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

impl<A: Default> Session<A> {
    /// Asks the peer whether it is there, unless it still owes an answer.
    pub(crate) fn ask_whether_there(&mut self) {
        if self.liveness.ask() {
            self.send(|out| frame::append(out, kind::PING, 0, 0, &QUESTION));
        }
    }

    /// Ready once the peer owes no answer to that.
    pub(crate) fn poll_is_there(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.liveness.poll_answered(cx)
    }

    /// Opens a stream with a CONNECT request of these fields, pseudo-header fields first. `None` when the connection takes no
    /// more, or the pod has as many streams as may begin with its window: another connection may have a smaller one.
    pub(crate) fn open<'f>(&mut self, fields: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Option<u32> {
        self.open_with(RequestKind::Tunnel, false, |block| {
            block.reserve(512);
            for (name, value) in fields {
                hpack::encode(block, name.as_bytes(), value);
            }
        })
    }

    /// Opens a stream with a request. `end`: no content follows. `None` when the connection takes no more.
    pub(crate) fn request(&mut self, head: &RequestHead, end: bool) -> Option<u32> {
        self.request_with(head, end, &[])
    }

    /// The same, with more fields behind those of the head.
    pub(crate) fn request_with(&mut self, head: &RequestHead, end: bool, more: &[(&str, &[u8])]) -> Option<u32> {
        self.open_with(RequestKind::by_method(&head.method), end, |block| {
            compose::request(block, head);
            for (name, value) in more {
                hpack::encode(block, name.as_bytes(), value);
            }
        })
    }

    /// Whether both sides take part in requests as streams of their own.
    pub(crate) fn has_request_streams(&self) -> bool {
        self.usage.has_request_streams && self.peer.has_request_streams
    }

    /// Whether the peer accepts a section of these fields beside others of so many bytes (SETTINGS_MAX_HEADER_LIST_SIZE).
    pub(crate) fn accepts_section(&self, fields: &HttpFields, others: usize) -> bool {
        fields.list_bytes() + others <= self.peer.max_header_list as usize
    }

    fn open_with(&mut self, asked: RequestKind, end: bool, fields: impl FnOnce(&mut Vec<u8>)) -> Option<u32> {
        if !self.accepts_streams() || self.shutdown.goaway != Goaway::NotSent {
            return None;
        }
        let window = self.first_stream_window;
        let is_counted = self.budget.begin_stream(window);
        if !is_counted && self.usage.has_ample_windows {
            return None;
        }
        let id = self.streams.next_local;
        self.streams.next_local += 2;
        let mut stream = Stream::new(self.peer.initial_window, window, asked);
        stream.counted = is_counted.then_some(window);
        stream.local_ended = end;
        self.streams.table.insert(id, stream);
        self.send_block(id, end, fields);
        if asked == RequestKind::Tunnel && !end && self.usage.has_ample_windows {
            self.widen(id, FirstWindow::Ample);
        }
        Some(id)
    }

    /// The next response to a request of ours, once it is here: interim ones, then the final one.
    pub(crate) fn poll_response(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Response, StreamError>> {
        let Some(stream) = self.streams.table.get_mut(&id) else { return Poll::Ready(Err(StreamError::NotSeen)) };
        let arrived = stream.responses.interim.pop_front().or_else(|| stream.responses.last.take());
        if let Some(response) = arrived {
            return Poll::Ready(Ok(response));
        }
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    /// A request that came and that nobody has taken yet.
    pub(crate) fn next_request(&mut self) -> Option<(u32, Request)> {
        while let Some((id, request)) = self.streams.requests.pop_front() {
            if self.streams.table.get(&id).is_some_and(|stream| stream.failure.is_none()) {
                return Some((id, request));
            }
            // Reset before anybody looked at it.
            self.release(id, Reason::CANCEL);
        }
        None
    }

    /// Grants a CONNECT request with 200 and these fields; its tunnel goes on with a larger window where there is one.
    ///
    /// # Errors
    /// When the stream is broken already.
    pub(crate) fn grant(&mut self, id: u32, fields: &HttpFields) -> Result<(), StreamError> {
        let Some(stream) = self.streams.table.get(&id) else { return Err(StreamError::NotSeen) };
        if let Some(failure) = &stream.failure {
            return Err(failure.clone());
        }
        let head = ResponseHead { status: 200, fields: fields.clone(), ..ResponseHead::default() };
        self.send_block(id, false, |block| compose::response(block, &head));
        if self.usage.has_ample_windows {
            self.widen(id, FirstWindow::Granted);
        }
        Ok(())
    }

    /// Answers a request with a status alone. With `end`, that is the whole response.
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
        if !end && self.usage.has_ample_windows {
            self.widen(id, FirstWindow::Granted);
        }
        if end && let Some(stream) = self.streams.table.get_mut(&id).filter(|stream| !stream.remote_ended) {
            // RFC 9113 §8.1: what else the client has to send is of no use any more.
            stream.fail(StreamError::Reset(Reason::NO_ERROR));
            self.send(|out| frame::append_reset(out, id, Reason::NO_ERROR));
        }
        Ok(())
    }

    /// Has a tunnel begin with a larger window than its connection has announced, where not too many of the pod have it.
    fn widen(&mut self, id: u32, window: FirstWindow) {
        let budget = &self.budget;
        let Some(stream) = self.streams.table.get_mut(&id).filter(|stream| !stream.remote_ended) else { return };
        if stream.budgeted() > 0 || !stream.is_below(window) || !budget.begin_stream(window) {
            return;
        }
        if let Some(before) = stream.counted.replace(window) {
            budget.end_stream(before);
        }
        let more = stream.begin_with(window);
        self.send(|out| frame::append_window_update(out, id, more));
    }

    pub(super) fn send_status(&mut self, id: u32, status: StatusCode, end: bool) {
        self.send_block(id, end, |block| compose::status(block, status.as_u16()));
    }

    /// Sends a response, interim or final. `end`: no content follows. Nothing where the stream is broken or has ended.
    pub(crate) fn send_response(&mut self, id: u32, head: &ResponseHead, end: bool) {
        if self.may_send(id, end) {
            self.send_block(id, end, |block| compose::response(block, head));
        }
    }

    /// Sends a trailer section, with which our side ends. Nothing where the stream is broken or has ended.
    pub(crate) fn send_trailers(&mut self, id: u32, fields: &HttpFields) {
        if self.may_send(id, true) {
            self.send_block(id, true, |block| compose::fields(block, fields));
        }
    }

    /// Whether something may still be sent on a stream, after which our side has ended if `end` says so.
    fn may_send(&mut self, id: u32, end: bool) -> bool {
        let stream = self.streams.table.get_mut(&id);
        let Some(stream) = stream.filter(|stream| stream.failure.is_none() && !stream.local_ended) else {
            return false;
        };
        stream.local_ended = end;
        true
    }

    /// The trailer section with which the peer has ended its side, if it has sent one.
    pub(crate) fn take_trailers(&mut self, id: u32) -> Option<HttpFields> {
        self.streams.table.get_mut(&id)?.trailers.take()
    }

    /// Gives a stream up: it is reset unless both sides have ended it.
    pub(crate) fn release(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.streams.table.remove(&id) else { return };
        if stream.remote_ended || stream.remote_reset {
            self.streams.finish(id);
        }
        self.budget.give_back(stream.budgeted());
        if let Some(window) = stream.counted {
            self.budget.end_stream(window);
        }
        let is_whole = stream.local_ended && stream.remote_ended;
        if stream.failure.is_none() && !is_whole {
            self.send(|out| frame::append_reset(out, id, reason));
        }
        if stream.failure.is_none() && is_whole {
            let earned = if stream.is_message { WORK_EARNED_PER_MESSAGE } else { self.usage.work_earned_per_tunnel };
            self.pace.earn(earned);
        }
        self.streams.shrink();
        if self.is_done() {
            self.wake_driver();
        }
    }

    /// Ends our side of a stream.
    pub(crate) fn end_stream(&mut self, id: u32) {
        let Some(stream) = self.streams.table.get_mut(&id) else { return };
        stream.local_ended = true;
        if stream.failure.is_none() {
            self.send(|out| frame::append(out, kind::DATA, flag::END_STREAM, id, &[]));
        }
    }
}
