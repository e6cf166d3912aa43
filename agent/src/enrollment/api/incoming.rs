//! The connections of the enrolment socket: how many are served at once, and how long one may be idle.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, UdsConnectInfo};

/// Connections that are served at once; more wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 512;
/// A connection on which nothing is read for so long is closed, so that another can be served. gRPC clients connect again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept(): it usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections of a socket, as clients connect and as there is room.
pub(super) fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<Connection>> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    futures_util::stream::unfold((listener, permits), |(listener, permits)| async move {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Connection::new(stream, permit)), (listener, permits))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the enrolment socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A client's connection, which fails to read once it has been idle for too long.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    idle: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: UnixStream, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, idle: Box::pin(tokio::time::sleep(IDLE_TIMEOUT)), _permit: permit }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
            return read;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_makes_room_for_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let mut incoming = Box::pin(incoming(UnixListener::bind(&path).expect("a socket")));
        let mut silent = Vec::new();
        let mut served = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(UnixStream::connect(&path).await.expect("room in the backlog"));
            served.push(incoming.next().await.expect("it never ends").expect("a client"));
        }
        let mut late = UnixStream::connect(&path).await.expect("room in the backlog");
        let waits = tokio::time::timeout(IDLE_TIMEOUT / 2, incoming.next()).await;
        assert!(waits.is_err(), "more clients than are served at once");
        let error = served.pop().expect("many").read_u8().await.expect_err("nobody speaks");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut client = incoming.next().await.expect("it never ends").expect("a client");
        late.write_all(b"x").await.expect("it is open");
        assert_eq!(client.read_u8().await.expect("it speaks"), b'x');
    }
}
