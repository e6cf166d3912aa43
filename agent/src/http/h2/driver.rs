//! Reads and writes for the exchanges of one connection, and sleeps while there is nothing to read or write.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::exchanges::Exchanges;
use super::side::READ_BYTES;
use crate::h2::{Role, SessionError, WindowBudget};
use crate::model::identity::Identity;

/// Room that is worth reading into.
const LEAST_READ_BYTES: usize = READ_BYTES / 4;
/// Reads in a row before streams get their turn.
const READS_PER_POLL: usize = 4;
/// Pieces of HTTP/2 in a row, after which streams and other connections get their turn, too.
const PIECES_PER_POLL: usize = 1024;
/// Reads of what is left of a connection to which nothing can be written any more.
const READS_AT_END: usize = 64;

thread_local! {
    /// Where this thread reads. Whoever reads takes it away meanwhile.
    static BUFFER: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// The exchanges of a connection, as its driver and its streams share them. Most often they run on one thread, so that the lock is
/// hardly ever waited for.
#[derive(Debug)]
pub(super) struct Shared {
    exchanges: Mutex<Exchanges>,
    /// The identity that the other end has proven.
    pub(super) peer: OnceLock<Identity>,
}

impl Shared {
    pub(super) fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Driver<IO> {
    pub(super) shared: Arc<Shared>,
    pub(super) io: IO,
    /// Whether something was written that `io` may still hold.
    is_unflushed: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    /// `received`: what was read of the connection already.
    pub(super) fn new(io: IO, role: Role, received: BytesMut, budget: WindowBudget) -> Self {
        let mut exchanges = Exchanges::new(role, budget);
        if !received.is_empty()
            && let Err(error) = exchanges.receive(&received.freeze())
        {
            exchanges.session.end(error);
        }
        let shared = Shared { exchanges: Mutex::new(exchanges), peer: OnceLock::new() };
        Self { shared: Arc::new(shared), io, is_unflushed: false }
    }

    /// Reads and writes what there is. Ready once the connection is over, and whatever the network takes at once is sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Arc<SessionError>> {
        let shared = self.shared.clone();
        let mut exchanges = shared.exchanges();
        exchanges.session.set_driver(cx.waker());
        exchanges.session.set_driven(true);
        let is_paused = exchanges.is_backlogged();
        if !is_paused {
            self.read(&mut exchanges, cx);
        }
        self.write(&mut exchanges, cx);
        if is_paused && !exchanges.is_backlogged() {
            // Nobody has asked yet to be woken when there is something to read.
            cx.waker().wake_by_ref();
        }
        exchanges.end_if_done();
        let ended = exchanges.session.ended().cloned();
        if ended.is_some() {
            // What is still to be sent, a GOAWAY last, leaves now or never: the peer may be long gone.
            self.write(&mut exchanges, cx);
            let _ = Pin::new(&mut self.io).poll_shutdown(cx);
        }
        exchanges.session.set_driven(false);
        ended.map_or(Poll::Pending, Poll::Ready)
    }

    fn read(&mut self, exchanges: &mut Exchanges, cx: &mut Context<'_>) {
        let mut pieces = 0;
        for _ in 0..READS_PER_POLL {
            if exchanges.session.ended().is_some() {
                return;
            }
            match self.poll_read(exchanges, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(count)) => pieces += count,
                Poll::Ready(Err(error)) => return exchanges.session.end(error),
            }
            if pieces > PIECES_PER_POLL {
                // The runtime looks at the sockets of other connections before it comes back. A task that wakes itself is
                // polled dozens of times before it does.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Reads once. Ready with how many pieces of HTTP/2 came.
    fn poll_read(&mut self, exchanges: &mut Exchanges, cx: &mut Context<'_>) -> Poll<Result<usize, SessionError>> {
        let mut buffer = BUFFER.take();
        if buffer.capacity() < LEAST_READ_BYTES {
            buffer.reserve(READ_BYTES);
        }
        let read = poll_read_buf(Pin::new(&mut self.io), cx, &mut buffer);
        let block = buffer.split().freeze();
        BUFFER.set(buffer);
        read.map(|count| if count? == 0 { Err(SessionError::Closed) } else { exchanges.receive(&block) })
    }

    fn write(&mut self, exchanges: &mut Exchanges, cx: &mut Context<'_>) {
        loop {
            exchanges.lay();
            if exchanges.output.is_empty() {
                break;
            }
            match exchanges.output.poll_write(&mut self.io, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(_)) => {
                    self.is_unflushed = true;
                    exchanges.wrote();
                }
                Poll::Ready(Err(error)) => return self.end_after_rest(exchanges, cx, error),
            }
        }
        if self.is_unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.is_unflushed = false,
                Poll::Ready(Err(error)) => self.end_after_rest(exchanges, cx, error),
            }
        }
    }

    /// Ends a connection to which nothing can be written any more. What the peer sent before is still to be read.
    fn end_after_rest(&mut self, exchanges: &mut Exchanges, cx: &mut Context<'_>, error: io::Error) {
        for _ in 0..READS_AT_END {
            if exchanges.session.ended().is_some() || !matches!(self.poll_read(exchanges, cx), Poll::Ready(Ok(_))) {
                break;
            }
        }
        exchanges.session.end(error.into());
    }
}

impl<IO> Driver<IO> {
    /// Nobody drives the connection any more: its streams must not wait for it.
    pub(super) fn abandon(&self) {
        self.shared.exchanges().session.end(SessionError::Aborted);
    }
}
