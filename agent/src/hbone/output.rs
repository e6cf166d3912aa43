//! Bytes to the network: frames are laid into the places of TLS records, application data is read straight into them, and
//! each record is sealed where it lies. What several streams send in one turn leaves in one write.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::ops::Range;

use crate::h2::{FRAME_HEADER_BYTES, data_header, last_data_header};
use crate::tls::records::{
    CONTENT_BYTES, HEADER_BYTES, KEY_UPDATE_RECORD_BYTES, RecordError, RecordLayer, TRAILER_BYTES,
};

/// Records that one chunk holds: what is read from an application, and written to the network, at once.
const RECORDS: usize = 16;
const CHUNK_BYTES: usize = RECORDS * (HEADER_BYTES + CONTENT_BYTES + TRAILER_BYTES);
/// Where records end; beyond it there is room to announce new keys.
const RECORDS_END: usize = CHUNK_BYTES - KEY_UPDATE_RECORD_BYTES;
/// The most that a frame of data carries so that it fills its record.
const DATA_BYTES: usize = CONTENT_BYTES - FRAME_HEADER_BYTES;
/// Room that is worth reading into: the end of one record and the beginning of the next always fit.
const MIN_ROOM_BYTES: usize = 1024;
/// Free chunks that a thread keeps for whoever sends next.
const MAX_FREE_CHUNKS: usize = 4;

thread_local! {
    static FREE_CHUNKS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_chunk() -> Box<[u8]> {
    FREE_CHUNKS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice())
}

fn give_back(chunk: Box<[u8]>) {
    FREE_CHUNKS.with_borrow_mut(|free| {
        if free.len() < MAX_FREE_CHUNKS {
            free.push(chunk);
        }
    });
}

/// The sending side of one connection.
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
        self.end + MIN_ROOM_BYTES <= RECORDS_END
    }

    /// Reads application data straight into frames of a stream, no more than `limit` bytes of it: `read` gets the places
    /// to read into. Returns what it returned. Only while there [is room](Self::has_room). `ends_after`: where as many bytes
    /// are read as this, the last frame of them ends the stream.
    pub(super) fn fill(
        &mut self,
        records: &mut RecordLayer,
        stream: u32,
        limit: usize,
        most_slots: usize,
        ends_after: Option<usize>,
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
            self.lay_data(records, stream, slots, count, ends_after == Some(count));
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
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.end {
            self.recycle();
        }
    }

    fn recycle(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            give_back(chunk);
        }
        (self.written, self.end, self.open) = (0, 0, None);
    }

    /// Lays down frames, as many bytes of them as fit. Returns how many that were.
    pub(super) fn lay_down(&mut self, records: &mut RecordLayer, bytes: &[u8]) -> usize {
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
        let Some(room) = self.room_in_record(records, FRAME_HEADER_BYTES + 1) else { return (slots, 0) };
        let mut place = room.start + FRAME_HEADER_BYTES..room.end;
        while count < most.min(RECORDS) && left > 0 && !place.is_empty() {
            place.end = place.end.min(place.start + left.min(DATA_BYTES));
            left -= place.len();
            slots[count] = place.clone();
            count += 1;
            let next = place.end + TRAILER_BYTES;
            place = next + HEADER_BYTES + FRAME_HEADER_BYTES..content_end(next);
        }
        (slots, count)
    }

    /// Makes frames of what was read into the slots. `ends`: the last of them ends the stream.
    fn lay_data(&mut self, records: &mut RecordLayer, stream: u32, slots: &[Slot], mut count: usize, ends: bool) {
        for slot in slots {
            if count == 0 {
                break;
            }
            let length = count.min(slot.len());
            count -= length;
            let header = slot.start - FRAME_HEADER_BYTES;
            if self.open.is_none() {
                self.open = Some(header - HEADER_BYTES);
            }
            let chunk = self.chunk.as_mut().expect("the slots are in it");
            let is_last = ends && count == 0;
            let text = if is_last { last_data_header(stream, length) } else { data_header(stream, length) };
            chunk[header..slot.start].copy_from_slice(&text);
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
