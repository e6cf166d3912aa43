//! The clients of the enrolment socket: how many there may be, and how long one may say nothing. Knows no message.

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

/// Clients that are served at once; more wait in the socket's backlog.
const MAX_CLIENTS: usize = 512;
/// A client that says nothing for so long is let go, so that its place is somebody else's. gRPC clients connect again.
const SILENCE: Duration = Duration::from_secs(30);
/// Pause after a failed accept(): it usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The clients of a socket, as they come and as there is room.
pub(super) fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<Client>> {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    futures_util::stream::unfold((listener, places), |(listener, places)| async move {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Client::new(stream, place)), (listener, places))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the enrolment socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A client, for as long as it speaks.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    patience: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Client {
    fn new(stream: UnixStream, place: OwnedSemaphorePermit) -> Self {
        Self { stream, patience: Box::pin(tokio::time::sleep(SILENCE)), _place: place }
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.patience.as_mut().reset(Instant::now() + SILENCE);
            return read;
        }
        match self.patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Client {
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

impl Connected for Client {
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
    async fn a_client_that_says_nothing_gives_its_place_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let mut incoming = Box::pin(incoming(UnixListener::bind(&path).expect("a socket")));
        let mut silent = Vec::new();
        let mut served = Vec::new();
        for _ in 0..MAX_CLIENTS {
            silent.push(UnixStream::connect(&path).await.expect("room in the backlog"));
            served.push(incoming.next().await.expect("it never ends").expect("a client"));
        }
        let mut late = UnixStream::connect(&path).await.expect("room in the backlog");
        let waits = tokio::time::timeout(SILENCE / 2, incoming.next()).await;
        assert!(waits.is_err(), "there are more clients than places");
        let error = served.pop().expect("many").read_u8().await.expect_err("nobody speaks");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut client = incoming.next().await.expect("it never ends").expect("a client");
        late.write_all(b"x").await.expect("it is open");
        assert_eq!(client.read_u8().await.expect("it speaks"), b'x');
    }
}
