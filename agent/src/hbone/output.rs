//! Bytes on their way to the peer: frames are laid down in the places of TLS records, application data is read straight
//! into them, and each record is sealed where it lies. What several streams say in one turn leaves in one write.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::ops::Range;

use super::error::SessionError;
use crate::h2::frame::{self, FrameHeader, kind};
use crate::tls::records::{
    CONTENT_BYTES, HEADER_BYTES, KEY_UPDATE_RECORD_BYTES, RecordError, RecordLayer, TRAILER_BYTES,
};

/// Records that one chunk holds: what is read from an application, and written to the network, at once.
const RECORDS: usize = 16;
const CHUNK_BYTES: usize = RECORDS * (HEADER_BYTES + CONTENT_BYTES + TRAILER_BYTES);
/// Where records end; beyond it there is room to announce new keys.
const RECORDS_END: usize = CHUNK_BYTES - KEY_UPDATE_RECORD_BYTES;
/// The most that a frame of data carries so that it fills its record.
const DATA_BYTES: usize = CONTENT_BYTES - frame::HEADER_BYTES;
/// Room that is worth reading into: the end of one record and the beginning of the next always fit.
const LEAST_ROOM: usize = 1024;
/// Chunks that a thread keeps for whoever sends next.
const SPARE_CHUNKS: usize = 4;
/// Frames of ours that wait while the network takes nothing. A peer that makes us owe it more is not reading its answers.
const LONGEST_BACKLOG: usize = 256 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_chunk() -> Box<[u8]> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice())
}

fn give_back(chunk: Box<[u8]>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_CHUNKS {
            spare.push(chunk);
        }
    });
}

/// What is to be sent on one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Held only while there is something to send.
    chunk: Option<Box<[u8]>>,
    /// Bytes of the chunk that the network took.
    written: usize,
    /// Start of the record that is being filled, if one is.
    open: Option<usize>,
    /// End of what was laid down.
    end: usize,
    /// Frames that did not fit: first in the next chunk.
    backlog: Vec<u8>,
}

/// A place in the chunk for one frame of data, header excluded.
type Slot = Range<usize>;

impl Output {
    /// Whether anything waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_none()
    }

    /// Whether application data may be read into this output now.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.is_empty() && self.end + LEAST_ROOM <= RECORDS_END
    }

    /// Lays down a frame of ours.
    ///
    /// # Errors
    /// When the peer makes us owe it more than a peer does that reads.
    pub(super) fn put(&mut self, records: &mut RecordLayer, frame: &[u8]) -> Result<(), SessionError> {
        let laid = if self.backlog.is_empty() { self.lay_down(records, frame) } else { 0 };
        self.backlog.extend_from_slice(&frame[laid..]);
        if self.backlog.len() > LONGEST_BACKLOG {
            return Err(SessionError::calm("answers are not read"));
        }
        Ok(())
    }

    /// Reads application data straight into frames of a stream, no more than `limit` bytes of it: `read` gets the places
    /// to read into. Returns what it returned. Only while there [is room](Self::has_room).
    pub(super) fn fill(
        &mut self,
        records: &mut RecordLayer,
        stream: u32,
        limit: usize,
        most_slots: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (slots, count) = self.slots(records, limit, most_slots);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let slots = &slots[..count];
        let chunk = self.chunk.get_or_insert_with(take_chunk);
        let mut places: [IoSliceMut<'_>; RECORDS] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let (mut rest, mut at) = (&mut chunk[..], 0);
        for (slot, place) in slots.iter().zip(&mut places) {
            let (_, from) = std::mem::take(&mut rest).split_at_mut(slot.start - at);
            let (bytes, after) = from.split_at_mut(slot.len());
            *place = IoSliceMut::new(bytes);
            (rest, at) = (after, slot.end);
        }
        let outcome = read(&mut places[..count]);
        if let Ok(count) = outcome {
            self.lay_data(records, stream, slots, count);
        }
        self.forget_empty_record();
        outcome
    }

    /// Seals what is open, and announces new keys where they are due.
    pub(super) fn seal(&mut self, records: &mut RecordLayer) -> Result<(), RecordError> {
        self.close_record(records);
        if records.key_update_due()
            && let Some(place) = self.chunk.as_mut().and_then(|chunk| chunk[self.end..].first_chunk_mut())
        {
            records.seal_key_update(place)?;
            self.end += KEY_UPDATE_RECORD_BYTES;
        }
        Ok(())
    }

    /// What the network should take next, once it is [sealed](Self::seal); empty when there is nothing.
    pub(super) fn unsent(&self) -> &[u8] {
        self.chunk.as_deref().map_or(&[], |chunk| &chunk[self.written..self.end])
    }

    /// The network took so many bytes.
    pub(super) fn advance(&mut self, records: &mut RecordLayer, count: usize) {
        self.written += count;
        if self.written < self.end {
            return;
        }
        self.recycle();
        if !self.backlog.is_empty() {
            let backlog = std::mem::take(&mut self.backlog);
            let laid = self.lay_down(records, &backlog);
            self.backlog.extend_from_slice(&backlog[laid..]);
        }
    }

    fn recycle(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            give_back(chunk);
        }
        (self.written, self.end, self.open) = (0, 0, None);
    }

    /// Lays down as many bytes as fit.
    fn lay_down(&mut self, records: &mut RecordLayer, bytes: &[u8]) -> usize {
        let mut laid = 0;
        while laid < bytes.len() {
            let Some(room) = self.room_in_record(records, 1) else { break };
            let count = room.len().min(bytes.len() - laid);
            let chunk = self.chunk.get_or_insert_with(take_chunk);
            chunk[room.start..room.start + count].copy_from_slice(&bytes[laid..laid + count]);
            self.end = room.start + count;
            laid += count;
        }
        laid
    }

    /// The free part of the record that is being filled; opens one where none has that much room. `None` when the chunk
    /// is full.
    fn room_in_record(&mut self, records: &mut RecordLayer, least: usize) -> Option<Range<usize>> {
        if let Some(start) = self.open {
            let end = content_end(start);
            if end.saturating_sub(self.end) >= least {
                return Some(self.end..end);
            }
            self.close_record(records);
        }
        let (start, content) = (self.end, self.end + HEADER_BYTES);
        let end = content_end(start);
        if end < content + least {
            return None;
        }
        self.open = Some(start);
        self.end = content;
        Some(content..end)
    }

    /// Where up to that many frames of data can go.
    fn slots(&mut self, records: &mut RecordLayer, limit: usize, most: usize) -> ([Slot; RECORDS], usize) {
        let mut slots = [const { 0..0 }; RECORDS];
        let (mut count, mut left) = (0, limit);
        let Some(room) = self.room_in_record(records, frame::HEADER_BYTES + 1) else { return (slots, 0) };
        let mut place = room.start + frame::HEADER_BYTES..room.end;
        while count < most.min(RECORDS) && left > 0 && !place.is_empty() {
            place.end = place.end.min(place.start + left.min(DATA_BYTES));
            left -= place.len();
            slots[count] = place.clone();
            count += 1;
            let next = place.end + TRAILER_BYTES;
            place = next + HEADER_BYTES + frame::HEADER_BYTES..content_end(next);
        }
        (slots, count)
    }

    /// Makes frames of what was read into the slots.
    fn lay_data(&mut self, records: &mut RecordLayer, stream: u32, slots: &[Slot], mut count: usize) {
        for slot in slots {
            if count == 0 {
                break;
            }
            let length = count.min(slot.len());
            count -= length;
            let header = slot.start - frame::HEADER_BYTES;
            if self.open.is_none() {
                self.open = Some(header - HEADER_BYTES);
            }
            let chunk = self.chunk.as_mut().expect("the slots are in it");
            let length_field = u32::try_from(length).expect("a slot is shorter than a record");
            let head = FrameHeader { length: length_field, kind: kind::DATA, flags: 0, stream };
            chunk[header..slot.start].copy_from_slice(&head.encode());
            self.end = slot.start + length;
            if count > 0 {
                self.close_record(records);
            }
        }
    }

    /// Seals the record that is being filled.
    fn close_record(&mut self, records: &mut RecordLayer) {
        let (Some(start), Some(chunk)) = (self.open.take(), self.chunk.as_mut()) else { return };
        self.end += TRAILER_BYTES;
        records.seal(&mut chunk[start..self.end]);
    }

    /// Undoes the opening of a record for data that did not come.
    fn forget_empty_record(&mut self) {
        if let Some(start) = self.open
            && self.end == start + HEADER_BYTES
        {
            (self.open, self.end) = (None, start);
        }
        if self.end == 0 {
            self.recycle();
        }
    }
}

/// Where the content of a record that starts there has to end.
fn content_end(start: usize) -> usize {
    (start + HEADER_BYTES + CONTENT_BYTES).min(RECORDS_END.saturating_sub(TRAILER_BYTES))
}
