//! Bytes that came for a stream and wait for their reader, in blocks. One buffer that grows would be copied whenever it does,
//! and keep the place of what was read already: several times what the stream's window lets the peer send.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

/// The largest block. At most one is held of which a part was read.
const LARGEST_BLOCK_BYTES: usize = 64 * 1024;
/// The smallest: what a reader leaves for a moment is little.
const LEAST_BLOCK_BYTES: usize = 2 * 1024;

/// See the module. No block is empty.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    blocks: VecDeque<BytesMut>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Adds bytes behind the others.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(last) = self.blocks.back_mut() {
            let (fitting, more) = rest.split_at(rest.len().min(last.capacity() - last.len()));
            last.extend_from_slice(fitting);
            rest = more;
        }
        while !rest.is_empty() {
            let last = self.blocks.back().map_or(0, BytesMut::len);
            let size = rest.len().max(2 * last).clamp(LEAST_BLOCK_BYTES, LARGEST_BLOCK_BYTES);
            let (fitting, more) = rest.split_at(rest.len().min(size));
            let mut block = BytesMut::with_capacity(size);
            block.extend_from_slice(fitting);
            self.blocks.push_back(block);
            rest = more;
        }
    }

    /// Lays the first bytes into as many of these places as they fill; how many those are.
    pub(super) fn slices<'w>(&'w self, places: &mut [IoSlice<'w>]) -> usize {
        let mut used = 0;
        for (place, block) in places.iter_mut().zip(&self.blocks) {
            *place = IoSlice::new(block);
            used += 1;
        }
        used
    }

    /// Forgets so many of the first bytes: they are where they belong.
    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.blocks.front_mut() {
            if first.len() > count {
                return first.advance(count);
            }
            count -= first.len();
            self.blocks.pop_front();
        }
        // Streams are many, and most wait for nobody.
        self.blocks = VecDeque::new();
    }

    /// Takes the first block.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let first = self.blocks.pop_front()?;
        if self.blocks.is_empty() {
            self.blocks = VecDeque::new();
        }
        Some(first.freeze())
    }

    /// Moves the first bytes to a reader, as many as it has room for; how many those are.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let mut taken = 0;
        while let Some(first) = self.blocks.front().filter(|_| buf.remaining() > 0) {
            let count = first.len().min(buf.remaining());
            buf.put_slice(&first[..count]);
            self.advance(count);
            taken += count;
        }
        taken
    }
}

#[cfg(test)]
impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(BytesMut::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_is_taken_at_once() {
        let all: Vec<u8> = (0..300_000_u32).map(|number| (number ^ (number >> 8)).to_le_bytes()[0]).collect();
        for (pushed, taken) in [(1, 7), (1000, 333), (16_384, 100_000), (70_000, 10), (300_000, 65_537)] {
            let (mut waiting, mut seen, mut place) = (Waiting::default(), Vec::new(), vec![0; taken]);
            for part in all.chunks(pushed) {
                waiting.push(part);
                let mut buf = ReadBuf::new(&mut place);
                let count = waiting.take(&mut buf);
                assert_eq!(count, buf.filled().len());
                seen.extend_from_slice(buf.filled());
            }
            while !waiting.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let used = waiting.slices(&mut slices);
                let first: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
                let count = first.len().div_ceil(2);
                seen.extend_from_slice(&first[..count]);
                waiting.advance(count);
            }
            assert!(seen == all, "pushed {pushed}, taken {taken}: {} bytes", seen.len());
        }
    }

    #[test]
    fn what_is_held_is_little_more_than_what_waits() {
        let mut waiting = Waiting::default();
        for _ in 0..1000 {
            waiting.push(&[0; 16_000]);
            waiting.push(&[0; 300]);
            waiting.advance(12_000);
        }
        let held: usize = waiting.blocks.iter().map(BytesMut::capacity).sum();
        assert_eq!(waiting.len(), 1000 * 4300);
        assert!(held <= waiting.len() + 2 * LARGEST_BLOCK_BYTES, "{held} bytes for {}", waiting.len());
    }
}
