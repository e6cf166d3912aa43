//! One HBONE connection as the server: HTTP/2 on an authenticated TLS connection, one [`ConnectRequest`] per stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};
use tokio::net::TcpStream;

use super::HboneStream;
use super::error::{SessionError, StreamError};
use super::session::{Head, Side};
use super::transport::Transport;
use crate::tls::handshake::Secured;

/// The server's side of one connection.
#[derive(Debug)]
pub struct HboneServer {
    transport: Arc<Transport>,
}

impl HboneServer {
    /// Exchanges prefaces and settings.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub async fn greet(secured: Secured<TcpStream>) -> Result<Self, Arc<SessionError>> {
        let Secured { stream, records, received, .. } = secured;
        let server = Self { transport: Transport::new(stream, Side::Server, records, received) };
        poll_fn(|cx| match server.transport.poll_drive(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending if server.transport.session().is_ready() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        Ok(server)
    }

    /// The next request; also what keeps all streams of the connection moving.
    ///
    /// # Errors
    /// Why the connection is over.
    pub async fn next(&mut self) -> Result<ConnectRequest, Arc<SessionError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<ConnectRequest, Arc<SessionError>>> {
        let ended = self.transport.poll_drive(cx);
        let arrived = self.transport.session().next_request();
        match (arrived, ended) {
            (Some((id, head)), _) => {
                // There may be more of them, and more to drive.
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(ConnectRequest { stream: HboneStream::new(self.transport.clone(), id, None), head }))
            }
            (None, Poll::Ready(error)) => Poll::Ready(Err(error)),
            (None, Poll::Pending) => Poll::Pending,
        }
    }

    /// Asks the peer to open no more streams (GOAWAY); those that are open go on.
    pub fn goaway(&mut self) {
        self.transport.session().leave();
    }

    /// Ends the connection at once.
    pub async fn abort(&mut self) {
        self.transport.abort().await;
    }
}

impl Drop for HboneServer {
    /// Nobody drives the connection any more: its streams must not wait for it.
    fn drop(&mut self) {
        self.transport.session().end(SessionError::Aborted);
    }
}

/// A request to be joined to a destination. Dropping it without an answer resets its stream.
#[derive(Debug)]
pub struct ConnectRequest {
    stream: HboneStream,
    head: Head,
}

impl ConnectRequest {
    /// The authority of a CONNECT request; `None` for any other method.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        let is_connect = self.head.method.as_deref() == Some("CONNECT");
        is_connect.then(|| self.head.authority.as_deref().unwrap_or_default())
    }

    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.fields
    }

    /// Answers 200; bytes flow from here on.
    ///
    /// # Errors
    /// When the peer is gone already.
    pub fn accept(self) -> Result<HboneStream, StreamError> {
        let answered = self.stream.transport().session().answer(self.stream.id(), StatusCode::OK, false);
        answered.map(|()| self.stream)
    }

    /// Answers with an error status and no body.
    pub fn refuse(self, status: StatusCode) {
        // A peer that is gone needs no answer.
        let _ = self.stream.transport().session().answer(self.stream.id(), status, true);
    }
}
