//! The state of one side of an HTTP/2 connection, and how it begins and ends.
//!
//! What the peer sends changes it in `receive`, `data` and `headers`; what its owner asks for in `requests`. Nothing here
//! reads or writes: [`outgoing`](Session::outgoing) is what the owner has to send, in order.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::budget::{FirstWindow, WindowBudget};
use super::error::{SessionError, StreamError};
use super::fields::{FieldBlocks, Malformed};
use super::frame::{self, Reason, kind};
use super::liveness::Liveness;
use super::pace::Pace;
use super::section::Request;
use super::settings::{self, CONNECTION_WINDOW_BYTES, PeerSettings, Role};
use super::stream::{IdHasher, Stream};
use super::usage::Usage;
use super::window::{DEFAULT_WINDOW, Windows};

/// The largest buffer for outgoing frames that a connection with streams keeps while there are none.
const KEPT_OUTGOING_BYTES: usize = 512;

/// How long the connection's window stays used up before the connection gets no further streams. A peer that reads gives it
/// back within a round trip.
pub(super) const STALLED_AFTER: Duration = Duration::from_millis(50);

/// The highest stream identifier (RFC 9113 §5.1.1): in a GOAWAY frame it names no last stream yet.
pub(super) const MAX_STREAM_ID: u32 = u32::MAX / 2;

/// Streams for which a connection without any keeps room.
const KEPT_STREAMS: usize = 32;

/// How many streams are remembered of those that the peer has ended.
const FINISHED_STREAMS: usize = 16;

/// The payload of the PING that follows our first GOAWAY: once it is acknowledged, the peer has read the GOAWAY.
pub(super) const GOAWAY_PING: [u8; 8] = *b"leaving!";

/// How far we are in asking the peer to open no more streams (RFC 9113 §6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goaway {
    NotSent,
    /// Sent without naming the last stream; the acknowledgement of our PING will show that the peer has read it.
    Announced,
    /// We named the last stream: no other will be served.
    Final,
}

/// The connection on its way down.
#[derive(Debug)]
pub(super) struct Shutdown {
    pub(super) goaway: Goaway,
    /// The last of our streams that the peer serves, once it has sent GOAWAY.
    pub(super) peer_last_stream: Option<u32>,
    pub(super) ended: Option<Arc<SessionError>>,
}

/// The streams, by their identifiers.
#[derive(Debug)]
pub(super) struct Streams<A> {
    /// Until their owner releases them, whether they are still open for the peer or not.
    pub(super) table: HashMap<u32, Stream<A>, BuildHasherDefault<IdHasher>>,
    /// The next stream that we open.
    pub(super) next_local: u32,
    /// The last stream that the peer opened.
    pub(super) last_remote: u32,
    /// Identifiers below it that the peer passed over last: they are closed without having been open (RFC 9113 §5.1.1).
    pub(super) passed_over: Range<u32>,
    /// Streams that the peer itself has ended or reset, and that were released last.
    finished: [u32; FINISHED_STREAMS],
    /// Requests that the owner has not taken yet.
    pub(super) requests: VecDeque<(u32, Request)>,
    /// Streams that wait for the connection's window, or for room to write.
    pub(super) waiting: VecDeque<u32>,
}

impl<A> Streams<A> {
    /// The peer opens a stream, which is above all others that it has opened.
    pub(super) fn open_remote(&mut self, id: u32) {
        if id > self.last_remote + 2 {
            self.passed_over = self.last_remote + 1..id;
        }
        self.last_remote = id;
    }

    /// Remembers a stream after which the peer sends nothing that belongs to it.
    pub(super) fn finish(&mut self, id: u32) {
        self.finished.rotate_right(1);
        self.finished[0] = id;
    }

    /// Gives back what many streams needed, once there are none.
    pub(super) fn shrink(&mut self) {
        if self.table.is_empty() && self.table.capacity() > KEPT_STREAMS {
            self.table = HashMap::default();
        }
    }

    /// Whether a stream that is not in the table is known to be over for the peer, too.
    pub(super) fn is_finished(&self, id: u32) -> bool {
        self.finished.contains(&id)
    }
}

/// One side of a connection. `A` is what the owner keeps with each stream.
#[derive(Debug)]
pub(crate) struct Session<A> {
    pub(super) role: Role,
    pub(super) usage: Usage,
    pub(super) peer: PeerSettings,
    pub(super) pace: Pace,
    /// The connection's own flow control.
    pub(super) windows: Windows,
    /// Since when the connection's window allows us no more data.
    pub(super) stalled_since: Option<Instant>,
    pub(super) budget: WindowBudget,
    /// The window with which streams begin, as our settings say.
    pub(super) first_stream_window: FirstWindow,
    pub(super) streams: Streams<A>,
    pub(super) blocks: FieldBlocks,
    pub(super) shutdown: Shutdown,
    pub(super) liveness: Liveness,
    /// Whether streams may have more to send, or nothing any more, since the owner asked last.
    pub(super) sendable_changed: bool,
    outgoing: Vec<u8>,
    driver: Option<Waker>,
    /// Whether the driver is at work, and needs not be woken.
    is_driven: bool,
}

impl<A: Default> Session<A> {
    /// Begins a connection: the preface and our settings are queued.
    pub(crate) fn new(role: Role, usage: Usage, budget: WindowBudget) -> Self {
        let first_stream_window = settings::first_stream_window(role, &usage, &budget);
        let mut session = Self {
            role,
            usage,
            peer: PeerSettings::default(),
            pace: Pace::new(),
            windows: Windows::new(DEFAULT_WINDOW, CONNECTION_WINDOW_BYTES),
            stalled_since: None,
            budget,
            first_stream_window,
            streams: Streams {
                table: HashMap::default(),
                next_local: 1,
                last_remote: 0,
                passed_over: 0..0,
                finished: [0; FINISHED_STREAMS],
                requests: VecDeque::new(),
                waiting: VecDeque::new(),
            },
            blocks: FieldBlocks::new(&usage),
            shutdown: Shutdown { goaway: Goaway::NotSent, peer_last_stream: None, ended: None },
            liveness: Liveness::default(),
            sendable_changed: false,
            outgoing: Vec::new(),
            driver: None,
            is_driven: false,
        };
        session.send(|out| settings::append_preface(out, role, &usage, first_stream_window));
        session
    }

    /// Whether the peer has said what it allows.
    pub(crate) fn is_ready(&self) -> bool {
        self.peer.received
    }

    /// How many streams the peer allows us at once.
    pub(crate) fn max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    /// Whether the peer has given us nothing of the connection's window for a while, after it was used up: some servers
    /// withhold it while the reader of one stream is slow (Envoy does). A further stream would stand still, too.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled_since.is_some_and(|since| since.elapsed() >= STALLED_AFTER)
    }

    /// Whether the peer still accepts streams of ours.
    pub(crate) fn accepts_streams(&self) -> bool {
        // Stream identifiers are not used twice: a connection ends with them.
        self.shutdown.ended.is_none()
            && self.shutdown.peer_last_stream.is_none()
            && self.streams.next_local < MAX_STREAM_ID
    }

    /// How many streams we have opened.
    pub(crate) fn streams_opened(&self) -> u32 {
        self.streams.next_local / 2
    }

    /// Why the connection is over, once it is.
    pub(crate) fn ended(&self) -> Option<&Arc<SessionError>> {
        self.shutdown.ended.as_ref()
    }

    /// A stream that has not been released yet.
    pub(crate) fn stream(&self, id: u32) -> Option<&Stream<A>> {
        self.streams.table.get(&id)
    }

    /// A stream that has not been released yet.
    pub(crate) fn stream_mut(&mut self, id: u32) -> Option<&mut Stream<A>> {
        self.streams.table.get_mut(&id)
    }

    /// Remembers whom to wake when there is something to send, or the connection is over.
    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = self.driver.as_ref().filter(|_| !self.is_driven) {
            driver.wake_by_ref();
        }
    }

    /// Says whether the driver is at work: until it is not, it is not woken for what it will see anyway.
    pub(crate) fn set_driven(&mut self, is_driven: bool) {
        self.is_driven = is_driven;
    }

    /// Whether, since this was asked last, streams may have got windows, or have broken.
    pub(crate) fn take_sendable_changed(&mut self) -> bool {
        std::mem::take(&mut self.sendable_changed)
    }

    /// Streams that have not been released yet.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.table.len()
    }

    /// Frames that wait to be sent. They go before DATA that the owner lays down later.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So many of the outgoing bytes are on their way. While the connection has streams, a small buffer is kept for what
    /// follows: frames of control come one at a time, and often. An idle connection holds none.
    pub(crate) fn advance_outgoing(&mut self, count: usize) {
        let is_kept = self.outgoing.capacity() <= KEPT_OUTGOING_BYTES && !self.streams.table.is_empty();
        if count == self.outgoing.len() && !is_kept {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..count);
        }
    }

    /// Queues frames, which `append` writes.
    pub(super) fn send(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        if self.shutdown.ended.is_some() {
            return;
        }
        append(&mut self.outgoing);
        self.outgoing_grew();
    }

    /// Queues the frames of a field block, whose fields `append` writes. `end`: they are the last of the stream.
    pub(super) fn send_block(&mut self, id: u32, end: bool, append: impl FnOnce(&mut Vec<u8>)) {
        if self.shutdown.ended.is_some() {
            return;
        }
        let start = frame::begin_block(&mut self.outgoing);
        self.blocks.encoder.begin(&mut self.outgoing);
        append(&mut self.outgoing);
        frame::finish_block(&mut self.outgoing, start, id, end);
        self.outgoing_grew();
    }

    fn outgoing_grew(&mut self) {
        if self.outgoing.len() <= self.usage.max_outgoing_bytes {
            return self.wake_driver();
        }
        self.outgoing = Vec::new();
        self.end(SessionError::enhance_your_calm("answers are not read"));
    }

    /// Breaks a stream on which something came that is no message (RFC 9113 §8.1.1).
    pub(super) fn break_stream(&mut self, id: u32, what: Malformed) {
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.fail(StreamError::Malformed(what));
        }
        self.sendable_changed = true;
        self.send(|out| frame::append_reset(out, id, Reason::PROTOCOL_ERROR));
    }

    /// Asks the peer to open no more streams; those that are open go on.
    pub(crate) fn leave(&mut self) {
        if self.shutdown.goaway != Goaway::NotSent {
            return;
        }
        self.shutdown.goaway = Goaway::Announced;
        self.send(|out| {
            frame::append_goaway(out, MAX_STREAM_ID, Reason::NO_ERROR);
            frame::append(out, kind::PING, 0, 0, &GOAWAY_PING);
        });
    }

    /// Whether the connection has come to its natural end: one side has left, and no stream is there any more.
    pub(crate) fn is_done(&self) -> bool {
        let left = self.shutdown.goaway == Goaway::Final || self.shutdown.peer_last_stream.is_some();
        left && self.streams.table.is_empty()
    }

    /// Ends the connection: a GOAWAY says why where it can reach the peer, and all streams break.
    pub(crate) fn end(&mut self, error: SessionError) {
        if self.shutdown.ended.is_some() {
            return;
        }
        if error.can_be_reported() {
            let (last, reason) = (self.streams.last_remote, error.reason());
            self.send(|out| frame::append_goaway(out, last, reason));
        }
        let error = Arc::new(error);
        self.shutdown.ended = Some(error.clone());
        for stream in self.streams.table.values_mut() {
            stream.fail(StreamError::Connection(error.clone()));
        }
        self.streams.requests.clear();
        self.sendable_changed = true;
        self.wake_driver();
    }

    /// Puts a stream in line for the connection's window, or for room to write.
    pub(crate) fn wait_for_room(&mut self, id: u32) {
        if let Some(stream) = self.streams.table.get_mut(&id).filter(|stream| !stream.is_waiting) {
            stream.is_waiting = true;
            self.streams.waiting.push_back(id);
        }
    }

    /// Wakes the streams that wait for the connection's window, or for room to write.
    pub(crate) fn wake_waiting(&mut self) {
        while let Some(id) = self.streams.waiting.pop_front() {
            if let Some(stream) = self.streams.table.get_mut(&id) {
                stream.is_waiting = false;
                stream.wake();
            }
        }
    }

    /// Whether a stream was never opened.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        let Streams { next_local, last_remote, passed_over, .. } = &self.streams;
        match self.role {
            Role::Client => id.is_multiple_of(2) || id >= *next_local,
            Role::Server => id.is_multiple_of(2) || id > *last_remote || passed_over.contains(&id),
        }
    }
}

impl<A> Drop for Session<A> {
    /// Gives back what streams that were never released took of the budget.
    fn drop(&mut self) {
        for stream in self.streams.table.values() {
            self.budget.give_back(stream.budgeted());
            if let Some(window) = stream.counted {
                self.budget.end_stream(window);
            }
        }
    }
}
