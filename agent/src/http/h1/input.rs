//! What a connection has sent and nobody has taken yet.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// The most bytes that one read takes from the connection, and by that the most that are read ahead of a body's reader.
pub(super) const MAX_READ_BYTES: usize = 64 * 1024;
/// What the first read of a body takes at most. While reads are that large, the next ones are larger.
const FIRST_READ_BYTES: usize = 16 * 1024;
/// What the first read of a head takes at most. It goes through the stack, so that a connection that waits holds no buffer.
const HEAD_READ_BYTES: usize = 4 * 1024;
/// No read is for fewer bytes: rather a new buffer.
const MIN_READ_BYTES: usize = 2 * 1024;

/// Bytes of the peer in the order in which they came. Parts of bodies are split off `buffer`, and share its memory.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) buffer: BytesMut,
    next_read_bytes: usize,
}

impl Input {
    /// With what was read from the connection already.
    pub(super) fn new(buffer: BytesMut) -> Self {
        Self { buffer, next_read_bytes: FIRST_READ_BYTES }
    }

    /// Gives the memory back, where nothing is in it.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            *self = Self::new(BytesMut::new());
        }
    }

    /// Reads more bytes of a head, once. Ready with their number, which is 0 at the end of the connection.
    pub(super) fn poll_head<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !self.buffer.is_empty() {
            return self.poll_body(io, cx, FIRST_READ_BYTES as u64);
        }
        self.release();
        let mut place = [const { MaybeUninit::uninit() }; HEAD_READ_BYTES];
        let mut read = ReadBuf::uninit(&mut place);
        ready!(Pin::new(io).poll_read(cx, &mut read))?;
        self.buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Reads more bytes of a body of which at least `wanted` are to come, once. Ready with their number, which is 0 at the end
    /// of the connection.
    pub(super) fn poll_body<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        wanted: u64,
    ) -> Poll<io::Result<usize>> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let most = self.next_read_bytes.min(wanted.max(MIN_READ_BYTES));
        if self.buffer.capacity() - self.buffer.len() < MIN_READ_BYTES {
            self.buffer.reserve(most);
        }
        let mut place = (&mut self.buffer).limit(most);
        let place_bytes = place.chunk_mut().len();
        let read = match pin!(io.read_buf(&mut place)).poll(cx) {
            Poll::Ready(result) => result?,
            Poll::Pending => {
                self.release();
                return Poll::Pending;
            }
        };
        if read == place_bytes {
            self.next_read_bytes = MAX_READ_BYTES;
        } else if read < FIRST_READ_BYTES / 2 {
            self.next_read_bytes = FIRST_READ_BYTES;
        }
        Poll::Ready(Ok(read))
    }
}
