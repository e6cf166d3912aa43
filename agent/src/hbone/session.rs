//! An HTTP/2 session inside TLS records. Its own task drives it (see `transport`); streams' tasks add to what is sent and
//! take what came. All of them run on one thread, so the lock around a session is hardly ever waited for.

use std::io::{self, IoSlice};

use super::application::ApplicationSide;
use super::input::{self, Batch, Input, tls_failure};
use super::output::Output;
use crate::h2::{Event, LARGEST_MESSAGE_WINDOW_BYTES, Piece, Role, Session, SessionError, Usage, WindowBudget};
use crate::http::{Detected, detect};
use crate::tls::records::RecordLayer;

/// Frames of ours that may gather while one read is handled, before they are laid into records.
const MAX_GATHERED_BYTES: usize = 16 * 1024;

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// There may be more; whether the kernel has it now, the runtime knows.
    More,
    /// The peer closed its side, or the session is over.
    End,
}

/// Data of one stream, gathered over several frames for one write.
#[derive(Default)]
struct Gathered<'a> {
    stream: u32,
    slices: Vec<IoSlice<'a>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SecuredSession {
    pub(super) http2: Session<ApplicationSide>,
    pub(super) records: RecordLayer,
    pub(super) output: Output,
    input: Input,
    /// Pieces of HTTP/2 that the last read brought.
    pieces: usize,
}

impl SecuredSession {
    /// A session on a connection whose handshake is over. `received`: what came with its end, still sealed.
    /// `budget`: what slow readers of its streams may make us hold. `has_request_streams`: whether requests may be streams of their own.
    pub(super) fn new(
        role: Role,
        records: RecordLayer,
        received: Vec<u8>,
        budget: WindowBudget,
        has_request_streams: bool,
    ) -> Self {
        let usage = if has_request_streams { Usage::HBONE_WITH_REQUESTS } else { Usage::HBONE };
        let (http2, input) = (Session::new(role, usage, budget), Input::new(role, received));
        Self { http2, records, output: Output::default(), input, pieces: 0 }
    }

    /// The keys, once the connection is of no more use.
    #[cfg(fuzzing)]
    pub(super) fn into_records(self) -> RecordLayer {
        self.records
    }

    /// Opens a stream with a request of these fields. `None` when the connection takes no more. Requests of many streams
    /// may come in one turn: each goes into a record at once, where there is room, so that few of them wait as frames.
    pub(super) fn open<'f>(&mut self, fields: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Option<u32> {
        let id = self.http2.open(fields)?;
        self.lay_frames();
        Some(id)
    }

    /// Handles what came with the end of the handshake.
    pub(super) fn receive_early(&mut self) {
        while self.input.has_early() {
            // Nothing is read, so nothing can block.
            let _ = self.receive(|_| Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Reads once from the network, and handles all that came.
    ///
    /// # Errors
    /// `WouldBlock` only: any other error ends the session.
    pub(super) fn receive(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Received> {
        let outcome = input::with_scratch(|scratch| {
            self.http2.check_in_time()?;
            let mut batch = self.input.fill(scratch, read)?;
            self.pieces = 0;
            let handled = self.handle(&mut batch);
            self.input.pace_reads(self.pieces);
            handled?;
            Ok(batch.is_last())
        });
        match outcome {
            Ok(false) if self.http2.ended().is_none() => return Ok(Received::More),
            Ok(_) => self.http2.end(SessionError::Closed),
            Err(SessionError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => self.http2.end(error),
        }
        Ok(Received::End)
    }

    fn handle(&mut self, batch: &mut Batch<'_>) -> Result<(), SessionError> {
        let mut gathered = Gathered::default();
        let outcome = self.take_pieces(batch, &mut gathered);
        // Also what came before something that ends the connection.
        self.deliver(&mut gathered);
        outcome
    }

    fn take_pieces<'s>(&mut self, batch: &mut Batch<'s>, gathered: &mut Gathered<'s>) -> Result<(), SessionError> {
        while let Some(piece) = self.input.next(batch, &mut self.records)? {
            if self.http2.ended().is_some() {
                return Ok(());
            }
            self.pieces += 1;
            if !matches!(piece, Piece::Data { .. }) {
                self.deliver(gathered);
            }
            match self.http2.receive(piece)? {
                Event::Data { stream, bytes, end } => {
                    if gathered.stream != stream {
                        self.deliver(gathered);
                        gathered.stream = stream;
                    }
                    if !bytes.is_empty() {
                        gathered.slices.push(IoSlice::new(bytes));
                    }
                    if end {
                        self.deliver(gathered);
                        self.shut_down_application(stream);
                    }
                }
                Event::Ended { stream } => self.shut_down_application(stream),
                Event::None => {}
            }
            if self.http2.outgoing().len() > MAX_GATHERED_BYTES {
                self.lay_frames();
            }
        }
        Ok(())
    }

    /// Writes gathered data to its application.
    fn deliver(&mut self, gathered: &mut Gathered<'_>) {
        if !gathered.slices.is_empty()
            && let Some(stream) = self.http2.stream_mut(gathered.stream)
        {
            let is_first = !std::mem::replace(&mut stream.attached.is_content_known, true);
            let carries_requests = is_first && begins_request(&gathered.slices);
            let accepted = stream.attached.deliver(&gathered.slices);
            if stream.attached.needs_task() {
                stream.wake();
            }
            if carries_requests {
                self.http2.limit_window(gathered.stream, LARGEST_MESSAGE_WINDOW_BYTES);
            }
            self.http2.consumed(gathered.stream, accepted);
        }
        gathered.slices.clear();
    }

    /// Says that a stream carries requests: a reader that stops in the middle of a message makes both agents hold less than others may.
    pub(super) fn carries_requests(&mut self, id: u32) {
        if let Some(stream) = self.http2.stream_mut(id) {
            stream.attached.is_content_known = true;
            self.http2.limit_window(id, LARGEST_MESSAGE_WINDOW_BYTES);
        }
    }

    fn shut_down_application(&mut self, id: u32) {
        if let Some(stream) = self.http2.stream_mut(id)
            && (stream.attached.shut_down() || stream.attached.application.is_none())
        {
            stream.wake();
        }
    }

    /// Pieces of HTTP/2 that the last read brought.
    pub(super) fn pieces_read(&self) -> usize {
        self.pieces
    }

    /// Lays the session's frames into records, as far as there is room.
    pub(super) fn lay_frames(&mut self) {
        let laid = self.output.lay_down(&mut self.records, self.http2.outgoing());
        if laid > 0 {
            self.http2.advance_outgoing(laid);
        }
    }

    /// Whether application data may be read into the output now: what was to be sent before it has its place.
    pub(super) fn has_room(&mut self) -> bool {
        self.lay_frames();
        self.http2.outgoing().is_empty() && self.output.has_room()
    }

    /// What the network should take next, sealed; empty when there is nothing.
    pub(super) fn sealed_output(&mut self) -> &[u8] {
        self.lay_frames();
        // Without new keys the old ones must not go on being used; rustls never refuses them.
        if let Err(error) = self.output.seal(&mut self.records) {
            self.http2.end(tls_failure(error));
            return &[];
        }
        self.output.unsent()
    }

    /// The network took so many bytes of [`sealed_output`](Self::sealed_output).
    pub(super) fn sent(&mut self, count: usize) {
        self.output.advance(count);
        if self.has_room() {
            self.http2.wake_waiting();
        }
    }

    /// Ends the session once one side has left, the last stream has ended, and everything is sent.
    pub(super) fn end_if_done(&mut self) {
        if self.http2.is_done() && self.is_all_sent() {
            self.http2.end(SessionError::Done);
        }
    }

    /// Whether the network has everything that was to be sent so far: only a whole record may follow.
    pub(super) fn is_all_sent(&self) -> bool {
        self.http2.outgoing().is_empty() && self.output.is_empty()
    }

    /// The close_notify alert (RFC 8446 §6.1): nothing follows from this side.
    pub(super) fn close_notify(&mut self) -> impl AsRef<[u8]> + use<> {
        self.records.close_notify()
    }
}

/// Whether the first bytes of a stream are those of a client of HTTP: nobody has to declare what a stream carries. A head of which the
/// first frame has too little to tell is not waited for.
fn begins_request(first: &[IoSlice<'_>]) -> bool {
    first.first().is_some_and(|bytes| matches!(detect(bytes), Detected::Http1 | Detected::Http2))
}
