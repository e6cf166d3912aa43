//! What waits for the network: frames, and content between them that is too long to be copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// The shortest content that is worth a place of its own in a write: what is shorter is copied behind the frames before it.
const LEAST_SHARED_BYTES: usize = 2 * 1024;
/// Places in one write.
const MAX_SLICES: usize = 64;
/// The largest buffer that stays for the next frames.
const KEPT_BYTES: usize = 4 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What goes first.
    parts: VecDeque<Bytes>,
    /// What goes last.
    tail: Vec<u8>,
    /// Bytes that the network took of the first part, or of the tail where there is no part.
    taken: usize,
    waiting: usize,
    written: u64,
}

impl Output {
    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes that the network took since the connection began.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// What [`written`](Self::written) will be once all that waits now is written.
    pub(super) fn laid(&self) -> u64 {
        self.written + self.waiting as u64
    }

    /// Lays down frames.
    pub(super) fn lay_frames(&mut self, frames: &[u8]) {
        self.tail.extend_from_slice(frames);
        self.waiting += frames.len();
    }

    /// Lays down content.
    pub(super) fn lay_content(&mut self, content: Bytes) {
        if content.len() < LEAST_SHARED_BYTES {
            return self.lay_frames(&content);
        }
        if !self.tail.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.tail).into());
        }
        self.waiting += content.len();
        self.parts.push_back(content);
    }

    /// Writes once. Ready with how many bytes the network took.
    ///
    /// # Errors
    /// Those of the connection, and `WriteZero` where it takes nothing any more.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = if self.parts.is_empty() {
            Pin::new(io).poll_write(cx, &self.tail[self.taken..])
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let parts = self.parts.iter().map(|part| &part[..]).chain([&self.tail[..]]);
            let mut count = 0;
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(if count == 0 { &part[self.taken..] } else { part });
                count += 1;
            }
            Pin::new(io).poll_write_vectored(cx, &slices[..count])
        };
        written.map(|written| match written? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => {
                self.advance(count);
                Ok(count)
            }
        })
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        self.waiting -= count;
        self.taken += count;
        while let Some(part) = self.parts.front()
            && part.len() <= self.taken
        {
            self.taken -= part.len();
            self.parts.pop_front();
        }
        if self.waiting == 0 {
            self.taken = 0;
            self.tail.clear();
            if self.tail.capacity() > KEPT_BYTES {
                self.tail = Vec::new();
            }
        }
    }

    /// Gives memory back that a connection without streams does not need.
    pub(super) fn shrink(&mut self) {
        if self.waiting == 0 {
            *self = Self { written: self.written, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes at a time, and remembers them.
    struct Network(usize, Vec<u8>);

    impl AsyncWrite for Network {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.0);
            self.1.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(self.0).collect();
            self.1.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_laid_down_leaves_in_order_however_much_the_network_takes_at_once() {
        let long = |byte: u8| Bytes::from(vec![byte; LEAST_SHARED_BYTES]);
        let expected = [b"one", &long(b'x')[..], b"two", b"short", &long(b'y')[..], &long(b'z')[..], b"three"].concat();
        for at_once in [1, 100, LEAST_SHARED_BYTES, 100_000] {
            let (mut output, mut network) = (Output::default(), Network(at_once, Vec::new()));
            output.lay_frames(b"one");
            output.lay_content(long(b'x'));
            output.lay_frames(b"two");
            output.lay_content(Bytes::from_static(b"short"));
            output.lay_content(long(b'y'));
            output.lay_content(long(b'z'));
            output.lay_frames(b"three");
            assert_eq!(output.laid(), expected.len() as u64);
            while !output.is_empty() {
                let written = output.poll_write(&mut network, &mut Context::from_waker(Waker::noop()));
                assert!(matches!(written, Poll::Ready(Ok(count)) if count > 0), "{at_once}: {written:?}");
            }
            assert_eq!((network.1.len(), output.written()), (expected.len(), expected.len() as u64), "{at_once}");
            assert!(network.1 == expected, "{at_once}: in another order");
        }
    }

    #[test]
    fn a_connection_that_takes_nothing_is_an_error() {
        let mut output = Output::default();
        output.lay_frames(b"x");
        let written = output.poll_write(&mut Network(0, Vec::new()), &mut Context::from_waker(Waker::noop()));
        assert!(matches!(written, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero));
    }
}
