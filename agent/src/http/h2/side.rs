//! What a stream holds of its messages: content that came and that its owner has not taken, and content of its owner's that the
//! windows or the network do not take yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::output::Output;
use crate::model::http::head::HttpFields;

/// The most that is read from the network at once, as one block.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// The shortest content that keeps the block alive in which it was read: a block has at most four times as much, so that no
/// peer makes us hold many times what its windows allow. Shorter content is copied.
const LEAST_SHARED_BYTES: usize = READ_BYTES / 4;

/// Content that came.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    parts: VecDeque<Bytes>,
    /// Short pieces that came last, joined.
    tail: BytesMut,
}

impl Inbox {
    /// Adds what came: part of a block that was read at once.
    pub(super) fn push(&mut self, block: &Bytes, content: &[u8]) {
        if content.len() < LEAST_SHARED_BYTES {
            return self.tail.extend_from_slice(content);
        }
        if !self.tail.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.tail).freeze());
        }
        self.parts.push_back(block.slice_ref(content));
    }

    /// The next part of it.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let whole = self.parts.pop_front();
        whole.or_else(|| (!self.tail.is_empty()).then(|| std::mem::take(&mut self.tail).freeze()))
    }
}

/// With what our side of a stream ends.
#[derive(Debug)]
pub(super) enum End {
    WithData,
    WithTrailers(HttpFields),
}

/// Content to be sent, and the end behind it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parts: VecDeque<Bytes>,
    bytes: usize,
    pub(super) end: Option<End>,
}

impl Outbox {
    /// Bytes of content.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, content: Bytes) {
        self.bytes += content.len();
        self.parts.push_back(content);
    }

    /// Moves so many bytes of content, of those that there are, to the output.
    pub(super) fn lay(&mut self, mut count: usize, output: &mut Output) {
        self.bytes -= count;
        while count > 0 {
            let Some(part) = self.parts.front_mut() else { return };
            if part.len() > count {
                return output.lay_content(part.split_to(count));
            }
            count -= part.len();
            output.lay_content(std::mem::take(part));
            self.parts.pop_front();
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StreamSide {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    /// Whether the stream is among those that have something to send.
    pub(super) is_listed: bool,
    /// Whether its owner waits until it may send more.
    pub(super) waits_for_room: bool,
    /// What the output has to have written until all is on its way, once the owner waits for that.
    pub(super) flushed_at: Option<u64>,
    /// Whether its owner is gone: it ends once what was to be sent is sent.
    pub(super) is_orphan: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_are_joined_and_long_ones_share_their_block() {
        let block = Bytes::from(vec![b'x'; 4 * LEAST_SHARED_BYTES]);
        let mut inbox = Inbox::default();
        for piece in [&block[..10], &block[10..20], &block[20..20 + LEAST_SHARED_BYTES], &block[..5], &block[5..7]] {
            inbox.push(&block, piece);
        }
        let parts: Vec<Bytes> = std::iter::from_fn(|| inbox.pop()).collect();
        assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [20, LEAST_SHARED_BYTES, 7]);
        assert!(std::ptr::eq(parts[1].as_ptr(), block[20..].as_ptr()), "it was copied");
    }
}
