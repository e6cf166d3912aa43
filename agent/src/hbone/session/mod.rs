//! One HBONE connection's state: its keys, its streams and windows, what waits to be sent. Its own task drives it (see
//! `transport`); streams' tasks add to what is sent and take what came. All of them run on one thread, so the lock
//! around a session is hardly ever waited for.
//!
//! HTTP/2 as far as CONNECT needs it (RFC 9113): no push, no priorities, no trailers.

mod frames;
mod heads;
mod relay;
mod requests;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Waker;

pub use self::relay::JoinError;
use self::stream::Stream;
pub(super) use self::stream::{Attached, Head};
use super::error::{SessionError, StreamError};
use super::input::{Input, Received};
use super::output::Output;
use super::{CONNECTION_WINDOW_BYTES, FRAME_BYTES, HEADER_LIST_BYTES, MAX_CONCURRENT_STREAMS, STREAM_WINDOW_BYTES};
use crate::h2::frame::{self, Reason, kind, setting};
use crate::h2::hpack::Decoder;
use crate::tls::records::RecordLayer;

/// The window of a stream and of the connection until somebody changes it (RFC 9113 §6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// What the ping after a GOAWAY carries.
const LEAVING_PING: [u8; 8] = *b"leaving!";

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What the peer allows.
#[derive(Debug)]
struct PeerLimits {
    /// Whether its settings came.
    known: bool,
    max_streams: u32,
    initial_window: i64,
}

/// A connection on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// We said GOAWAY without naming the last stream; the peer's answer to our ping shows that it has read it.
    Announced,
    /// We named the last stream: no other will be served.
    Final,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    side: Side,
    records: RecordLayer,
    input: Input,
    output: Output,
    decoder: Decoder,
    streams: HashMap<u32, Stream>,
    limits: PeerLimits,
    /// What we may still send.
    send_window: i64,
    /// What the peer may still send, and what we have not told it yet that it may send again.
    receive_window: i64,
    receive_credit: u32,
    /// Bytes that wait for applications that do not read.
    held: usize,
    /// The next stream that we open.
    next_stream: u32,
    /// The last stream that the peer opened.
    last_peer_stream: u32,
    /// A head of which CONTINUATION frames are still to come: its stream, whether it ends it, and its block so far.
    open_head: Option<(u32, bool, Vec<u8>)>,
    /// Requests that nobody has taken yet.
    arrived: VecDeque<(u32, Head)>,
    /// Requests of the peer that are being served, whether their streams are still open or not.
    served: u32,
    settings_acknowledged: bool,
    leaving: Leaving,
    /// The last of our streams that the peer serves, once it has said GOAWAY.
    peer_leaves_after: Option<u32>,
    /// Streams that wait for room in the output, or for the connection's window.
    waiting: VecDeque<u32>,
    driver: Option<Waker>,
    ended: Option<Arc<SessionError>>,
}

impl Session {
    pub(super) fn new(side: Side, records: RecordLayer, received: Vec<u8>) -> Self {
        let mut session = Self {
            side,
            records,
            input: Input::new(received, side == Side::Server),
            output: Output::default(),
            decoder: Decoder::new(HEADER_LIST_BYTES as usize),
            streams: HashMap::new(),
            limits: PeerLimits { known: false, max_streams: u32::MAX, initial_window: FIRST_WINDOW },
            send_window: FIRST_WINDOW,
            receive_window: i64::from(CONNECTION_WINDOW_BYTES),
            receive_credit: 0,
            held: 0,
            next_stream: 1,
            last_peer_stream: 0,
            open_head: None,
            arrived: VecDeque::new(),
            served: 0,
            settings_acknowledged: false,
            leaving: Leaving::No,
            peer_leaves_after: None,
            waiting: VecDeque::new(),
            driver: None,
            ended: None,
        };
        session.greet();
        session
    }

    fn greet(&mut self) {
        let mut greeting = Vec::new();
        if self.side == Side::Client {
            greeting.extend_from_slice(frame::PREFACE);
        }
        greeting.extend(frame::settings(&[
            match self.side {
                Side::Client => (setting::ENABLE_PUSH, 0),
                Side::Server => (setting::MAX_CONCURRENT_STREAMS, MAX_CONCURRENT_STREAMS),
            },
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (setting::MAX_FRAME_SIZE, FRAME_BYTES),
            (setting::MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES),
        ]));
        let more = CONNECTION_WINDOW_BYTES - u32::try_from(FIRST_WINDOW).expect("a constant");
        greeting.extend(frame::window_update(0, more));
        self.put(&greeting);
    }

    /// Whether the peer has said what it allows.
    pub(super) fn is_ready(&self) -> bool {
        self.limits.known && self.input.is_greeted()
    }

    /// How many streams the peer allows at once.
    pub(super) fn max_streams(&self) -> u32 {
        self.limits.max_streams
    }

    /// Whether streams can still be opened.
    pub(super) fn takes_requests(&self) -> bool {
        // Stream identifiers are not used twice: a connection ends with them.
        self.ended.is_none() && self.peer_leaves_after.is_none() && self.next_stream < u32::MAX / 2
    }

    /// The keys, once the connection is of no more use.
    #[cfg(fuzzing)]
    pub(super) fn into_records(self) -> RecordLayer {
        self.records
    }

    /// Why the connection is over, once it is.
    pub(super) fn ended(&self) -> Option<&Arc<SessionError>> {
        self.ended.as_ref()
    }

    /// Remembers whom to wake when there is something to send.
    pub(super) fn set_driver(&mut self, waker: &Waker) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Takes what came with the end of the handshake.
    pub(super) fn receive_early(&mut self) {
        while self.input.has_early() {
            // Nothing is read, so nothing can block.
            let _ = self.receive(|_| Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Reads once from the network.
    ///
    /// # Errors
    /// `WouldBlock` only: any other error ends the session.
    pub(super) fn receive(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Received> {
        let mut input = std::mem::take(&mut self.input);
        let outcome = input.receive(self, |session| &mut session.records, read, Self::handle);
        self.input = input;
        let received = match outcome {
            Ok(received) => received,
            Err(SessionError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                self.end(error);
                Received::End
            }
        };
        if received == Received::End {
            self.end(SessionError::Closed);
        }
        Ok(received)
    }

    /// What the network should take next, sealed; empty when there is nothing.
    pub(super) fn sealed_output(&mut self) -> &[u8] {
        // Without new keys the old ones must not go on being used; rustls never refuses them.
        if let Err(error) = self.output.seal(&mut self.records) {
            self.end(error.into());
            return &[];
        }
        self.output.unsent()
    }

    /// The network took so many bytes of [`sealed_output`](Self::sealed_output).
    pub(super) fn sent(&mut self, count: usize) {
        self.output.advance(&mut self.records, count);
        if self.output.has_room() {
            self.wake_waiting();
        }
    }

    /// Ends everything: the peer is told why as far as the network takes it at once, streams break.
    pub(super) fn end(&mut self, error: SessionError) {
        if self.ended.is_some() {
            return;
        }
        if !matches!(error, SessionError::Io(_) | SessionError::Record(_) | SessionError::Closed) {
            self.put(&frame::goaway(self.last_peer_stream, error.reason()));
        }
        let error = Arc::new(error);
        self.ended = Some(error.clone());
        for stream in self.streams.values_mut() {
            stream.fail(StreamError::Connection(error.clone()));
        }
        self.arrived.clear();
        self.wake_driver();
    }

    /// Asks the peer to open no more streams; those that are open go on.
    pub(super) fn leave(&mut self) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Announced;
        self.put(&frame::goaway(u32::MAX / 2, Reason::NO_ERROR));
        self.put(&frame::frame(kind::PING, 0, 0, &LEAVING_PING));
    }

    /// Whether the session has come to its natural end: one side has left, and no stream is open any more.
    fn is_done(&self) -> bool {
        let left = self.leaving == Leaving::Final || self.peer_leaves_after.is_some();
        left && self.streams.is_empty() && self.served == 0
    }

    /// Ends the session if it is done.
    pub(super) fn end_if_done(&mut self) {
        if self.is_done() && self.output.is_empty() {
            self.end(SessionError::Done);
        }
    }

    /// The record that tells the peer's TLS that nothing follows.
    pub(super) fn close_notify(&mut self) -> impl AsRef<[u8]> + use<> {
        self.records.close_notify()
    }

    /// Puts a frame in line to be sent.
    fn put(&mut self, frame: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        match self.output.put(&mut self.records, frame) {
            Ok(()) => self.wake_driver(),
            // Nothing more can be said to a peer that does not listen.
            Err(error) => {
                self.output = Output::default();
                self.end(error);
            }
        }
    }

    fn wake_waiting(&mut self) {
        while let Some(id) = self.waiting.pop_front() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.waits = false;
                stream.wake();
            }
        }
    }
}
