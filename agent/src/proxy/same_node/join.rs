//! Moves the bytes of a connection from a pod of the same node between the process and the application, both ways, until both sides
//! are done or one breaks. Each direction holds at most one read, and reads only when the other side has taken the last one.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pipe::PipeEnd;
use crate::lifecycle::when_woken;
use crate::net;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::splice::{SpliceError, already_closed};
use crate::telemetry::connection::ByteCounts;

/// The most that is read at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads in a row before other connections get their turn.
const READS_PER_POLL: usize = 4;

/// Joins a client of the same node with the application that it is permitted to reach.
///
/// # Errors
/// How the connection broke.
pub(in crate::proxy) fn join(
    client: PipeEnd,
    application: ApplicationStream,
    bytes: Arc<ByteCounts>,
) -> impl Future<Output = Result<(), SpliceError>> {
    move_bytes(client, application.into_tcp(), bytes)
}

/// `application`: its close is a reset until both sides have ended in order.
async fn move_bytes(
    mut client: PipeEnd,
    mut application: TcpStream,
    bytes: Arc<ByteCounts>,
) -> Result<(), SpliceError> {
    let given_up = pin!(client.given_up());
    let (mut there, mut back) = (Direction::default(), Direction::default());
    let moving = poll_fn(|cx| {
        let there = there.poll(cx, &mut client, &mut application, &bytes.to_destination);
        let there = there.map_err(|failed| failed.on(SpliceError::Downstream, SpliceError::Upstream))?;
        let back = back.poll(cx, &mut application, &mut client, &bytes.to_source);
        let back = back.map_err(|failed| failed.on(SpliceError::Upstream, SpliceError::Downstream))?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok::<_, SpliceError>(())) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        moved = moving => moved?,
        // A client that leaves is seen even while the application reads nothing.
        () = when_woken(given_up) => {
            return Err(SpliceError::Downstream(io::ErrorKind::ConnectionReset.into()));
        }
    }
    net::end_in_order(&application);
    Ok(())
}

/// Which end of a direction failed.
enum Failed {
    Read(io::Error),
    Write(io::Error),
}

impl Failed {
    fn on(self, read: fn(io::Error) -> SpliceError, write: fn(io::Error) -> SpliceError) -> SpliceError {
        match self {
            Self::Read(error) => read(error),
            Self::Write(error) => write(error),
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    /// What was read and the other side has not taken yet. Nothing more is read before it has.
    pending: BytesMut,
    read_ended: bool,
    done: bool,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        count: &AtomicU64,
    ) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..READS_PER_POLL {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_deliver(cx, to, count)).map_err(Failed::Write)?;
            if self.read_ended {
                let ended = ready!(Pin::new(to).poll_shutdown(cx));
                ended.or_else(already_closed).map_err(Failed::Write)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_transfer(cx, from, to, count))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is pending.
    fn poll_deliver<W>(&mut self, cx: &mut Context<'_>, to: &mut W, count: &AtomicU64) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while !self.pending.is_empty() {
            let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
            count.fetch_add(taken as u64, Ordering::Relaxed);
            self.pending.advance(taken);
        }
        if self.pending.capacity() > 0 {
            self.pending = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what was read as far as the other side takes it at once.
    fn poll_transfer<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        count: &AtomicU64,
    ) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut place = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut place);
        ready!(Pin::new(from).poll_read(cx, &mut read)).map_err(Failed::Read)?;
        let read = read.filled();
        if read.is_empty() {
            self.read_ended = true;
            return Poll::Ready(Ok(()));
        }
        let taken = match Pin::new(to).poll_write(cx, read) {
            Poll::Ready(taken) => taken.map_err(Failed::Write)?,
            Poll::Pending => 0,
        };
        count.fetch_add(taken as u64, Ordering::Relaxed);
        self.pending.extend_from_slice(&read[taken..]);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::proxy::same_node::pipe::pipe;

    type Joined = JoinHandle<Result<(), SpliceError>>;

    /// A client's end of a pipe, the application's socket at the other end of what joins them, and what is counted.
    async fn joined() -> (PipeEnd, TcpStream, Joined, Arc<ByteCounts>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let (agent, application) = tokio::join!(TcpStream::connect(address), listener.accept());
        let ((client, far), bytes) = (pipe(), Arc::<ByteCounts>::default());
        let agent = agent.expect("somebody listens");
        net::reset_on_close(&SockRef::from(&agent)).expect("it is a socket");
        let joined = tokio::spawn(move_bytes(far, agent, bytes.clone()));
        (client, application.expect("somebody connects").0, joined, bytes)
    }

    #[tokio::test]
    async fn bytes_and_their_ends_pass_both_ways_and_are_counted() {
        let (mut client, mut application, joined, bytes) = joined().await;
        let long = vec![1; 1_000_000];
        let asking = async {
            client.write_all(&long).await.expect("it is open");
            client.shutdown().await.expect("it is open");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("an end in order");
            answer
        };
        let answering = async {
            let mut asked = Vec::new();
            application.read_to_end(&mut asked).await.expect("an end in order");
            application.write_all(b"answer").await.expect("it is open");
            application.shutdown().await.expect("it is open");
            asked
        };
        let (answer, asked) = tokio::join!(asking, answering);
        assert_eq!((&*answer, asked.len()), (&b"answer"[..], long.len()));
        joined.await.expect("no panic").expect("both sides have ended");
        assert_eq!(bytes.totals(), (1_000_000, 6));
    }

    #[tokio::test]
    async fn a_reset_of_the_application_is_one_for_the_client() {
        let (mut client, application, joined, _) = joined().await;
        net::reset_on_close(&SockRef::from(&application)).expect("it is a socket");
        drop(application);
        let error = client.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(joined.await.expect("no panic"), Err(SpliceError::Upstream(_))));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_seen_though_the_application_reads_nothing() {
        let (mut client, mut application, joined, bytes) = joined().await;
        let pouring = async { while client.write_all(&[0; 65_536]).await.is_ok() {} };
        let poured = tokio::time::timeout(std::time::Duration::from_millis(300), pouring).await;
        assert!(poured.is_err(), "the application takes no more");
        drop(client);
        assert!(matches!(joined.await.expect("no panic"), Err(SpliceError::Downstream(_))));
        let mut read = Vec::new();
        let error = application.read_to_end(&mut read).await.expect_err("a reset, not an end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(read.len() as u64 <= bytes.totals().0);
    }
}
