//! Moves the bytes of one connection, both ways, until both sides are done or one breaks.
//!
//! Inbound, the upstream is an [`ApplicationStream`], which nobody opens without a permit. Outbound, it is what was opened
//! for the `Upstream` that the mesh resolved; no policy is asked at the source.
//!
//! What one side does, the other sees: end of data becomes end of data, a reset becomes a reset. Each direction holds at
//! most one buffer, read only when the other side took the last one, so a slow reader slows its writer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::connector::ApplicationStream;
use crate::hbone::{HboneStream, RelayError, StreamError, TcpEnd, WindowBudget};
use crate::net;
use crate::telemetry::connection::ByteCounts;

/// The most that is read at once. A thread has one buffer of this size; a connection holds only what the other side has
/// not taken yet.
const LARGEST_READ_BYTES: usize = 256 * 1024;
/// What a direction reads at once at first, and what none is denied.
const FIRST_READ_BYTES: usize = 16 * 1024;
/// By how much that grows and shrinks.
const READ_GROWTH: usize = 4;
/// Reads in a row before other connections get their turn.
const READS_PER_POLL: usize = 4;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; LARGEST_READ_BYTES].into_boxed_slice());
}

/// How a spliced connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpliceError {
    #[error("downstream: {0}")]
    Downstream(#[source] io::Error),
    #[error("upstream: {0}")]
    Upstream(#[source] io::Error),
    #[error("HBONE stream: {0}")]
    Stream(#[from] StreamError),
}

/// Joins a plaintext client with the application that it is permitted to reach.
pub(super) fn inbound_tcp(
    downstream: TcpStream,
    application: ApplicationStream,
    bytes: Arc<ByteCounts>,
    budget: &WindowBudget,
) -> impl Future<Output = Result<(), SpliceError>> {
    tcp_and_tcp(downstream, application.into_tcp(), bytes, budget)
}

/// Joins an HBONE client with the application that it is permitted to reach.
pub(super) fn inbound_hbone(
    downstream: HboneStream,
    application: ApplicationStream,
    bytes: Arc<ByteCounts>,
) -> impl Future<Output = Result<(), SpliceError>> {
    tcp_and_hbone(application.into_tcp(), TcpEnd::Destination, downstream, bytes)
}

/// Joins a connection of a pod with the connection that was opened for its upstream.
pub(super) fn outbound_tcp(
    downstream: TcpStream,
    upstream: TcpStream,
    bytes: Arc<ByteCounts>,
    budget: &WindowBudget,
) -> impl Future<Output = Result<(), SpliceError>> {
    tcp_and_tcp(downstream, upstream, bytes, budget)
}

/// Joins a connection of a pod with the HBONE stream that was opened for its upstream.
pub(super) fn outbound_hbone(
    downstream: TcpStream,
    upstream: HboneStream,
    bytes: Arc<ByteCounts>,
) -> impl Future<Output = Result<(), SpliceError>> {
    tcp_and_hbone(downstream, TcpEnd::Source, upstream, bytes)
}

async fn tcp_and_hbone(
    tcp: TcpStream,
    end: TcpEnd,
    stream: HboneStream,
    bytes: Arc<ByteCounts>,
) -> Result<(), SpliceError> {
    let mut tcp = TcpSide::new(tcp);
    let relayed = stream.relay(tcp.stream.clone(), end, bytes).await;
    relayed.map_err(|error| match (error, end) {
        (RelayError::Application(error), TcpEnd::Source) => SpliceError::Downstream(error),
        (RelayError::Application(error), TcpEnd::Destination) => SpliceError::Upstream(error),
        (RelayError::Stream(error), _) => SpliceError::Stream(error),
    })?;
    tcp.ended = true;
    Ok(())
}

async fn tcp_and_tcp(
    downstream: TcpStream,
    upstream: TcpStream,
    bytes: Arc<ByteCounts>,
    budget: &WindowBudget,
) -> Result<(), SpliceError> {
    let (mut downstream, mut upstream) = (TcpSide::new(downstream), TcpSide::new(upstream));
    let (mut to_upstream, mut to_downstream) = (Direction::new(budget), Direction::new(budget));
    let (down_error, up_error) = (SpliceError::Downstream, SpliceError::Upstream);
    poll_fn(|cx| {
        let (down, up) = (&*downstream.stream, &*upstream.stream);
        let there = to_upstream.poll(cx, down, up, &bytes.to_destination).map_err(|e| e.on(down_error, up_error))?;
        let back = to_downstream.poll(cx, up, down, &bytes.to_source).map_err(|e| e.on(up_error, down_error))?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok::<_, SpliceError>(())) } else { Poll::Pending }
    })
    .await?;
    (downstream.ended, upstream.ended) = (true, true);
    Ok(())
}

/// A TCP side of a spliced connection. Its close is a reset, as it was from the start, however the splice comes to its end:
/// by an error, because somebody stops it, or with the process. Only after both directions have ended well it is an orderly
/// end.
#[derive(Debug)]
struct TcpSide {
    stream: Arc<TcpStream>,
    ended: bool,
}

impl TcpSide {
    fn new(stream: TcpStream) -> Self {
        Self { stream: Arc::new(stream), ended: false }
    }
}

impl Drop for TcpSide {
    fn drop(&mut self) {
        if self.ended {
            net::end_in_order(&self.stream);
        }
    }
}

/// Which end of a direction failed.
enum DirectionError {
    Read(io::Error),
    Write(io::Error),
}

impl DirectionError {
    fn on(self, read: impl Fn(io::Error) -> SpliceError, write: impl Fn(io::Error) -> SpliceError) -> SpliceError {
        match self {
            Self::Read(error) => read(error),
            Self::Write(error) => write(error),
        }
    }
}

/// One direction of two joined TCP connections.
#[derive(Debug)]
struct Direction<'a> {
    /// What was read and the other side has not taken yet. Nothing more is read before it has.
    pending: BytesMut,
    read_size: ReadSize<'a>,
    read_ended: bool,
    done: bool,
}

/// What a direction reads at once: as much as a reader that stops can make us hold. It grows while the other side takes whole
/// reads, as far as the budget of the pod goes, and shrinks when there is little to read.
#[derive(Debug)]
struct ReadSize<'a> {
    bytes: usize,
    budget: &'a WindowBudget,
}

impl ReadSize<'_> {
    /// Notes how much of a read there was, and how much of that the other side took at once.
    fn note(&mut self, read: usize, taken: usize) {
        let larger = self.bytes * READ_GROWTH;
        if read == self.bytes && taken == read && larger <= LARGEST_READ_BYTES {
            if self.budget.grow(budgeted(self.bytes), budgeted(larger)) {
                self.bytes = larger;
            }
        } else if read < self.bytes / READ_GROWTH && taken == read && self.bytes > FIRST_READ_BYTES {
            let smaller = self.bytes / READ_GROWTH;
            self.budget.give_back(budgeted(self.bytes - smaller));
            self.bytes = smaller;
        }
    }
}

impl Drop for ReadSize<'_> {
    fn drop(&mut self) {
        self.budget.give_back(budgeted(self.bytes - FIRST_READ_BYTES));
    }
}

fn budgeted(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no more than the largest read")
}

impl<'a> Direction<'a> {
    fn new(budget: &'a WindowBudget) -> Self {
        let read_size = ReadSize { bytes: FIRST_READ_BYTES, budget };
        Self { pending: BytesMut::new(), read_size, read_ended: false, done: false }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        count: &AtomicU64,
    ) -> Poll<Result<(), DirectionError>> {
        for _ in 0..READS_PER_POLL {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_deliver(cx, to, count)).map_err(DirectionError::Write)?;
            if self.read_ended {
                SockRef::from(to).shutdown(Shutdown::Write).or_else(already_closed).map_err(DirectionError::Write)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            ready!(from.poll_read_ready(cx)).map_err(DirectionError::Read)?;
            READ_BUFFER.with_borrow_mut(|buffer| self.transfer(from, to, count, buffer))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is pending.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, to: &TcpStream, count: &AtomicU64) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            ready!(to.poll_write_ready(cx))?;
            match to.try_write(&self.pending) {
                Ok(taken) => {
                    count.fetch_add(taken as u64, Ordering::Relaxed);
                    self.pending.advance(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.pending.capacity() > 0 {
            self.pending = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what was read as far as the other side takes it.
    fn transfer(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        count: &AtomicU64,
        buffer: &mut [u8],
    ) -> Result<(), DirectionError> {
        let read = match net::read(from, &mut buffer[..self.read_size.bytes]) {
            Ok(0) => {
                self.read_ended = true;
                return Ok(());
            }
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(DirectionError::Read(error)),
        };
        let taken = match to.try_write(read) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(DirectionError::Write(error)),
        };
        count.fetch_add(taken as u64, Ordering::Relaxed);
        self.pending.extend_from_slice(&read[taken..]);
        self.read_size.note(read.len(), taken);
        Ok(())
    }
}

/// shutdown(2) of a connection whose peer is done in both directions fails with ENOTCONN: there is nothing left to shut down.
pub(super) fn already_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn joined() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    /// Pours into one end until nothing moves any more, and nobody reads at the other.
    async fn held_for_a_reader_that_stops(budget: &WindowBudget) -> usize {
        let ((mut source, from), (to, _reader)) = (joined().await, joined().await);
        SockRef::from(&to).set_send_buffer_size(4096).expect("a socket option");
        let (mut direction, count) = (Direction::new(budget), AtomicU64::new(0));
        let pouring = tokio::spawn(async move { while source.write_all(&[0; 65_536]).await.is_ok() {} });
        let mut last = None;
        while last != Some(count.load(Ordering::Relaxed)) || direction.pending.is_empty() {
            last = Some(count.load(Ordering::Relaxed));
            let poured = poll_fn(|cx| direction.poll(cx, &from, &to, &count));
            let moved = tokio::time::timeout(std::time::Duration::from_millis(100), poured).await;
            assert!(moved.is_err(), "it never ends");
        }
        pouring.abort();
        direction.pending.len()
    }

    #[tokio::test]
    async fn a_reader_that_stops_makes_a_connection_hold_little_unless_the_budget_has_more() {
        let none = WindowBudget::of_kib(0);
        let held = held_for_a_reader_that_stops(&none).await;
        assert!(held <= FIRST_READ_BYTES, "{held} bytes");
        let ample = WindowBudget::of_kib(2048);
        let held = held_for_a_reader_that_stops(&ample).await;
        assert!(held <= LARGEST_READ_BYTES, "{held} bytes");
        assert_eq!((none.taken(), ample.taken()), (0, 0), "given back with the connection");
    }

    #[test]
    fn reads_grow_while_the_other_side_takes_them_and_shrink_where_there_is_little_to_read() {
        const KIB: usize = 1024;
        let budget = WindowBudget::of_kib(2048);
        let mut size = ReadSize { bytes: FIRST_READ_BYTES, budget: &budget };
        for (read, taken, expected, in_budget) in [
            (16, 16, 64, 48),
            (20, 20, 64, 48),
            (64, 63, 64, 48),
            (64, 64, 256, 240),
            (256, 256, 256, 240),
            (63, 10, 256, 240),
            (63, 63, 64, 48),
            (1, 1, 16, 0),
            (1, 1, 16, 0),
        ] {
            size.note(read * KIB, taken * KIB);
            assert_eq!((size.bytes, budget.taken()), (expected * KIB, in_budget), "{read} read, {taken} taken");
        }
    }
}
