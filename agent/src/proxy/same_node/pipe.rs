//! A connection within the process: what one end writes the other reads. As with TCP, an end of data is not a reset: an end that is
//! dropped before it has ended its own data in order resets the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::sync::CancellationToken;

/// Bytes that wait for a reader that pauses, each way.
const MAX_WAITING_BYTES: usize = 32 * 1024;

/// One end. See the module.
#[derive(Debug)]
pub(in crate::proxy) struct PipeEnd {
    bytes: DuplexStream,
    own: Arc<PipeSide>,
    other: Arc<PipeSide>,
}

/// What the other end has to know of one.
#[derive(Debug, Default)]
struct PipeSide {
    /// All of its data was written.
    has_ended: AtomicBool,
    /// It was dropped before both had.
    is_gone: CancellationToken,
}

/// Both ends of a connection.
pub(in crate::proxy) fn pipe() -> (PipeEnd, PipeEnd) {
    let (near, far) = tokio::io::duplex(MAX_WAITING_BYTES);
    let (one, other) = (Arc::<PipeSide>::default(), Arc::<PipeSide>::default());
    let near = PipeEnd { bytes: near, own: one.clone(), other: other.clone() };
    (near, PipeEnd { bytes: far, own: other, other: one })
}

impl PipeEnd {
    /// Resolves once the other end is gone before the connection was over: nobody reads what is written to it.
    pub(in crate::proxy) fn given_up(&self) -> impl Future<Output = ()> + use<> {
        self.other.is_gone.clone().cancelled_owned()
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A reset overtakes what was written before it.
        if self.other.is_gone.is_cancelled() && !self.other.has_ended.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(cx, buf);
        let is_end = matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before && buf.remaining() > 0;
        if is_end && !self.other.has_ended.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    /// What is written is there at once.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Before the other end can see the end of the data.
        self.own.has_ended.store(true, Ordering::Release);
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        if !self.own.has_ended.load(Ordering::Acquire) || !self.other.has_ended.load(Ordering::Acquire) {
            // Before the bytes go, whose end wakes the other end.
            self.own.is_gone.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn an_end_in_order_delivers_what_was_written_and_a_drop_resets() {
        for (name, ends, expected) in
            [("ended", true, Ok("request")), ("dropped", false, Err(io::ErrorKind::ConnectionReset))]
        {
            let (mut near, mut far) = pipe();
            near.write_all(b"request").await.expect("there is room");
            if ends {
                near.shutdown().await.expect("it is open");
            }
            assert!(far.given_up().now_or_never().is_none(), "{name}: it is there");
            let given_up = far.given_up();
            drop(near);
            assert!(given_up.now_or_never().is_some(), "{name}: the other direction is open");
            let mut read = String::new();
            let outcome = far.read_to_string(&mut read).await.map_err(|error| error.kind());
            assert_eq!(outcome.map(|_| &*read), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut near, mut far) = pipe();
        near.shutdown().await.expect("it is open");
        assert_eq!(far.read(&mut [0; 8]).await.expect("an end"), 0);
        far.write_all(b"response").await.expect("the other direction is open");
        far.shutdown().await.expect("it is open");
        drop(far);
        assert!(near.given_up().now_or_never().is_none(), "both have ended");
        let mut read = Vec::new();
        near.read_to_end(&mut read).await.expect("an end in order");
        assert_eq!(read, b"response");
    }

    #[tokio::test]
    async fn a_reader_that_pauses_holds_its_writer() {
        let (mut near, mut far) = pipe();
        let much = vec![7; 4 * MAX_WAITING_BYTES];
        let mut writing = Box::pin(near.write_all(&much));
        assert!(writing.as_mut().now_or_never().is_none(), "nobody reads");
        let mut read = vec![0; much.len()];
        let (written, filled) = tokio::join!(writing, far.read_exact(&mut read));
        written.expect("all of it was read");
        assert_eq!(filled.expect("as much as was written"), much.len());
        assert_eq!(read, much);
    }
}
