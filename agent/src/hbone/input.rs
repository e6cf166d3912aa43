//! Bytes from the network: TLS records are opened where they were read, and cut into pieces of HTTP/2 there. Between reads
//! a connection holds no more than the beginning of a record and of a frame.

use std::cell::RefCell;
use std::io;

use crate::h2::{FrameReader, Piece, Role, SessionError};
use crate::tls::records::{self, Opened, RecordError, RecordLayer};

/// The most that is read from the network at once.
const READ_BYTES: usize = 256 * 1024;
/// The least, and what a connection begins with: a whole record always fits.
const LEAST_READ_BYTES: usize = 20 * 1024;
/// Pieces of HTTP/2 that one read should bring at most. Each may cost a system call: after a read that brought more of them
/// less is read at once, so that no peer holds a worker by cutting its data small.
const PIECES_PER_READ: usize = 1024;
/// Where a thread reads: the beginning of a record that was left over, then what comes.
const SCRATCH_BYTES: usize = READ_BYTES + records::LONGEST_RECORD;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the place where this thread reads.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}

/// A failure of TLS, as HTTP/2 sees it: what carries it is broken.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {0}")]
struct TlsError(#[source] RecordError);

/// The end of a session whose records cannot be opened or sealed any more.
pub(super) fn tls_failure(error: RecordError) -> SessionError {
    SessionError::Io(io::Error::new(io::ErrorKind::InvalidData, TlsError(error)))
}

/// Records without application data in a row that a peer may send: tickets, key updates, and some that are empty to hide
/// lengths. Each costs as much as one with data, and none is a piece of HTTP/2 that would be counted.
const MAX_EMPTY_RECORDS: u32 = 64;

/// The receiving side of one connection.
#[derive(Debug)]
pub(super) struct Input {
    /// What came with the end of the handshake, until the first read takes it.
    early: Option<Vec<u8>>,
    /// The beginning of a record.
    partial: Vec<u8>,
    frames: FrameReader,
    /// What the next read may bring, at most.
    read_bytes: usize,
    /// Records in a row that brought no application data.
    empty_records: u32,
}

/// What one read brought.
#[derive(Debug)]
pub(super) struct Batch<'s> {
    /// Records that were not opened yet.
    sealed: &'s mut [u8],
    /// What is left of the last opened record's content.
    content: &'s [u8],
    is_last: bool,
}

impl Batch<'_> {
    /// Whether the peer sends nothing after it: it closed the connection, or said by TLS that it will.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }
}

impl Input {
    /// Starts with what came with the end of the handshake.
    pub(super) fn new(role: Role, received: Vec<u8>) -> Self {
        let early = (!received.is_empty()).then_some(received);
        let (partial, frames) = (Vec::new(), FrameReader::new(role));
        Self { early, partial, frames, read_bytes: LEAST_READ_BYTES, empty_records: 0 }
    }

    /// Whether something is here already, whatever the network has.
    pub(super) fn has_early(&self) -> bool {
        self.early.is_some()
    }

    /// Fits the next read to what the last one brought, in pieces of HTTP/2.
    pub(super) fn pace_reads(&mut self, pieces: usize) {
        if pieces > PIECES_PER_READ {
            self.read_bytes = (self.read_bytes * PIECES_PER_READ / pieces).max(LEAST_READ_BYTES);
        } else if pieces < PIECES_PER_READ / 2 {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES);
        }
    }

    /// Reads once into the [scratch](with_scratch), behind what was left over.
    ///
    /// # Errors
    /// Those of `read`, `WouldBlock` included.
    pub(super) fn fill<'s>(
        &mut self,
        scratch: &'s mut [u8],
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Batch<'s>> {
        if let Some(early) = self.early.take() {
            let sealed = &mut scratch[..early.len()];
            sealed.copy_from_slice(&early);
            return Ok(Batch { sealed, content: &[], is_last: false });
        }
        let held = self.partial.len();
        let count = read(&mut scratch[held..held + self.read_bytes])?;
        scratch[..held].copy_from_slice(&self.partial);
        Ok(Batch { sealed: &mut scratch[..held + count], content: &[], is_last: count == 0 })
    }

    /// The next piece of what one read brought; `None` at its end, where the beginning of a record is kept for the next.
    ///
    /// # Errors
    /// When it is no TLS record that opens, or no HTTP/2.
    pub(super) fn next<'s>(
        &mut self,
        batch: &mut Batch<'s>,
        records: &mut RecordLayer,
    ) -> Result<Option<Piece<'s>>, SessionError> {
        loop {
            if let Some(piece) = self.frames.next(&mut batch.content)? {
                return Ok(Some(piece));
            }
            if !open_record(batch, records).map_err(tls_failure)? {
                keep(&mut self.partial, batch.sealed);
                return Ok(None);
            }
            self.empty_records = if batch.content.is_empty() { self.empty_records + 1 } else { 0 };
            if self.empty_records > MAX_EMPTY_RECORDS {
                return Err(SessionError::enhance_your_calm("too many TLS records without data"));
            }
        }
    }
}

/// Opens the next record where it lies. False where there is no whole one.
fn open_record(batch: &mut Batch<'_>, records: &mut RecordLayer) -> Result<bool, RecordError> {
    let Some(header) = batch.sealed.first_chunk() else { return Ok(false) };
    let length = records::HEADER_BYTES + records::body_length(*header)?;
    if length > batch.sealed.len() {
        return Ok(false);
    }
    let (record, rest) = std::mem::take(&mut batch.sealed).split_at_mut(length);
    batch.sealed = rest;
    match records.open(record)? {
        Opened::Data(content) => batch.content = &record[content],
        Opened::Internal => {}
        // Whatever follows it is none of the peer's.
        Opened::CloseNotify => (batch.sealed, batch.is_last) = (&mut [], true),
    }
    Ok(true)
}

/// Keeps the rest for the next read; no memory for nothing.
fn keep(partial: &mut Vec<u8>, rest: &[u8]) {
    if rest.is_empty() {
        *partial = Vec::new();
    } else {
        partial.clear();
        partial.extend_from_slice(rest);
    }
}
