//! What is on its way to the peer: heads and other small parts in one buffer, larger parts of bodies as they came, all of it
//! handed to the network with as few calls as possible.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// There is room for another part while less than this waits to be sent.
pub(super) const MAX_QUEUED_BYTES: usize = 64 * 1024;
/// Parts up to this length are copied behind others: that costs less than a place in a vectored write, and bounds the number
/// of parts.
const MAX_COPIED_BYTES: usize = 1024;
/// The most parts of one write.
const MAX_SLICES: usize = 16;

/// Bytes for the peer, in the order in which they leave.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Before `text`.
    parts: VecDeque<Bytes>,
    /// How many bytes all parts have.
    part_bytes: usize,
    /// Heads, lines between chunks, small parts.
    text: BytesMut,
    end: End,
}

/// Whether the connection's writing side ends behind what is queued.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Wanted,
    Done,
}

impl Output {
    /// How many bytes wait.
    pub(super) fn queued(&self) -> usize {
        self.part_bytes + self.text.len()
    }

    /// What the memory takes that holds them, besides the parts that others hold too.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity() + self.parts.capacity() * size_of::<Bytes>()
    }

    /// Where text is added behind all that is queued.
    pub(super) fn text(&mut self) -> &mut BytesMut {
        &mut self.text
    }

    pub(super) fn add(&mut self, data: Bytes) {
        if data.len() <= MAX_COPIED_BYTES {
            self.text.extend_from_slice(&data);
            return;
        }
        if !self.text.is_empty() {
            let text = self.text.split().freeze();
            self.part_bytes += text.len();
            self.parts.push_back(text);
        }
        self.part_bytes += data.len();
        self.parts.push_back(data);
    }

    /// Ends the writing side behind what is queued.
    pub(super) fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::Wanted;
        }
    }

    /// Gives the memory back, where nothing is in it.
    pub(super) fn release(&mut self) {
        if self.queued() == 0 {
            self.text = BytesMut::new();
            self.parts = VecDeque::new();
        }
    }

    /// Writes until fewer bytes wait than the bound.
    pub(super) fn poll_room<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.queued() >= MAX_QUEUED_BYTES {
            ready!(self.poll_write(io, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes everything, and what comes behind it.
    pub(super) fn poll_flush<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.queued() > 0 {
            ready!(self.poll_write(io, cx))?;
        }
        ready!(Pin::new(&mut *io).poll_flush(cx))?;
        if self.end == End::Wanted {
            ready!(Pin::new(io).poll_shutdown(cx))?;
            self.end = End::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes once.
    fn poll_write<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = Pin::new(io);
        let count = if self.parts.is_empty() {
            ready!(io.poll_write(cx, &self.text))?
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let text = Some(&self.text[..]).filter(|text| !text.is_empty());
            let parts = self.parts.iter().map(|part| &part[..]).chain(text);
            let mut used = 0;
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
                used += 1;
            }
            ready!(io.poll_write_vectored(cx, &slices[..used]))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written(count);
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, mut count: usize) {
        while let Some(first) = self.parts.front_mut() {
            if count == 0 {
                return;
            }
            let taken = count.min(first.len());
            count -= taken;
            self.part_bytes -= taken;
            if taken == first.len() {
                self.parts.pop_front();
            } else {
                first.advance(taken);
            }
        }
        self.text.advance(count);
    }
}
