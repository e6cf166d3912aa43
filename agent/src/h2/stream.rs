//! The state of one stream (RFC 9113 §5.1).

use std::collections::VecDeque;
use std::hash::Hasher;
use std::task::Waker;

use super::budget::FirstWindow;
use super::error::StreamError;
use super::section::{RequestKind, Response};
use super::window::Windows;
use crate::model::http::head::HttpFields;

/// Spreads stream identifiers over a table. Those of a connection are few at a time, so that a peer gains little by choosing
/// identifiers that meet.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Fibonacci hashing: the high bits depend on all bits of the identifier.
        let spread = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What came in response to a request of ours.
#[derive(Debug)]
pub(super) struct Responses {
    pub(super) asked: RequestKind,
    /// Whether the final one is still to come.
    pub(super) is_awaited: bool,
    /// Interim ones that the owner has not taken.
    pub(super) interim: VecDeque<Response>,
    /// The final one until the owner takes it.
    pub(super) last: Option<Response>,
}

impl Responses {
    fn to(asked: RequestKind) -> Self {
        Self { asked, is_awaited: true, interim: VecDeque::new(), last: None }
    }
}

/// One stream, and what the session's owner keeps with it.
#[derive(Debug)]
pub(crate) struct Stream<A> {
    pub(super) windows: Windows,
    /// The size of the receive window at first, and now: what the peer may have sent and the owner not consumed.
    first_receive_window: u32,
    pub(super) receive_window: u32,
    /// What the receive window may grow to, where that is less than streams of such a connection may have.
    pub(super) largest_receive_window: u32,
    /// The window that the stream counts as in the budget.
    pub(super) counted: Option<FirstWindow>,
    /// Whether we sent END_STREAM, and whether the peer did.
    pub(super) local_ended: bool,
    pub(super) remote_ended: bool,
    /// Whether the peer has reset it.
    pub(super) remote_reset: bool,
    /// How the stream broke: the first reason stays.
    pub(super) failure: Option<StreamError>,
    pub(super) responses: Responses,
    /// Whether it is no tunnel, but a request and its response.
    pub(super) is_message: bool,
    /// Bytes of content that the peer still has to send, where its head said how many.
    pub(super) content_left: Option<u64>,
    /// The peer's trailer section, with which it has ended its side.
    pub(super) trailers: Option<HttpFields>,
    /// Bytes of DATA that the owner was given and has not consumed yet.
    pub(super) unconsumed: usize,
    /// Whether it is in line for the connection's window, or for room to write.
    pub(super) is_waiting: bool,
    waker: Option<Waker>,
    /// Whatever the owner needs for the stream.
    pub(crate) attached: A,
}

impl<A: Default> Stream<A> {
    /// A stream of ours is asked for what its request wants; one of the peer's is never asked.
    pub(super) fn new(send_window: i64, receive_window: FirstWindow, asked: RequestKind) -> Self {
        let receive_window = receive_window.bytes();
        Self {
            windows: Windows::new(send_window, receive_window),
            first_receive_window: receive_window,
            receive_window,
            largest_receive_window: u32::MAX,
            counted: None,
            local_ended: false,
            remote_ended: false,
            remote_reset: false,
            failure: None,
            responses: Responses::to(asked),
            is_message: asked != RequestKind::Tunnel,
            content_left: None,
            trailers: None,
            unconsumed: 0,
            is_waiting: false,
            waker: None,
            attached: A::default(),
        }
    }
}

impl<A> Stream<A> {
    /// Whether we sent the end of the stream.
    pub(crate) fn local_ended(&self) -> bool {
        self.local_ended
    }

    /// Whether the peer sent the end of the stream.
    pub(crate) fn remote_ended(&self) -> bool {
        self.remote_ended
    }

    /// Whether the final response to a request of ours is still to come.
    pub(crate) fn awaits_response(&self) -> bool {
        self.responses.is_awaited
    }

    /// Bytes of DATA that we may send on it, as far as its own window goes.
    pub(crate) fn send_window(&self) -> i64 {
        self.windows.send()
    }

    /// How the stream broke, if it did.
    pub(crate) fn failure(&self) -> Option<&StreamError> {
        self.failure.as_ref()
    }

    /// Why what came and was not delivered yet is not to be delivered: the peer reset the stream before it had sent all, and
    /// a reset overtakes what was not delivered, as it does in TCP. What the peer sent whole, up to its end, stands, whatever
    /// became of the stream or of its connection afterwards (RFC 9113 §8.1); so does what came before the connection ended.
    pub(crate) fn reset_midway(&self) -> Option<&StreamError> {
        let of_stream = |failure: &&StreamError| !matches!(failure, StreamError::Connection(_));
        self.failure.as_ref().filter(|_| !self.remote_ended).filter(of_stream)
    }

    /// Counts content against what the head said of it. False where it is more than that, or ends before.
    #[must_use]
    pub(super) fn count_content(&mut self, bytes: usize, end: bool) -> bool {
        let Some(left) = &mut self.content_left else { return true };
        let Some(rest) = left.checked_sub(bytes as u64) else { return false };
        *left = rest;
        !end || rest == 0
    }

    /// Whether its window is smaller than such a one.
    pub(super) fn is_below(&self, window: FirstWindow) -> bool {
        self.receive_window < window.bytes()
    }

    /// Has it begin with another, larger window, of which nothing is taken from the budget. Returns what it is larger by.
    pub(super) fn begin_with(&mut self, window: FirstWindow) -> u32 {
        let more = window.bytes().saturating_sub(self.receive_window);
        self.windows.grow_receive(more);
        self.receive_window += more;
        self.first_receive_window += more;
        more
    }

    /// What its receive window took of the budget.
    pub(super) fn budgeted(&self) -> u32 {
        self.receive_window.saturating_sub(self.first_receive_window)
    }

    /// Remembers whom to wake when the stream's state changes.
    pub(crate) fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Breaks the stream; the first reason stays.
    pub(super) fn fail(&mut self, error: StreamError) {
        self.failure.get_or_insert(error);
        self.wake();
    }
}
