//! A connection on which an application asks: by prior knowledge, without an upgrade (RFC 9113 §3.3).

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::driver::Driver;
use super::stream::{ServerSide, ServerStream, body_length};
use crate::h2::{Request, Role, SessionError, WindowBudget};
use crate::http::stream::BodyLength;
use crate::model::http::head::RequestHead;

/// A request that came, with what its head says of the content that follows.
pub(crate) type Incoming = (ServerStream, RequestHead, BodyLength);

/// The server's side of one connection. Its streams break when it is dropped.
#[derive(Debug)]
pub(crate) struct ServerConnection<IO> {
    driver: Driver<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServerConnection<IO> {
    /// Begins a connection. `received`: what was read of it already, the client's preface included. `budget`: what slow readers
    /// of its streams may make us hold.
    pub(crate) fn new(io: IO, received: BytesMut, budget: WindowBudget) -> Self {
        Self { driver: Driver::new(io, Role::Server, received, budget) }
    }

    /// The next request; `None` once the connection has come to its end. It also drives the connection: its streams move only
    /// while somebody polls here, so the caller comes back for the next request at once.
    ///
    /// # Errors
    /// When the client broke a rule of HTTP/2, or its connection broke.
    pub(crate) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Incoming>, Arc<SessionError>>> {
        // Requests that came together are taken one after the other before the connection is driven on.
        if let Some(request) = self.take_request() {
            return Poll::Ready(Ok(Some(request)));
        }
        let ended = self.driver.poll(cx);
        match (self.take_request(), ended) {
            (Some(request), _) => Poll::Ready(Ok(Some(request))),
            (None, Poll::Pending) => Poll::Pending,
            (None, Poll::Ready(ended)) => Poll::Ready(match &*ended {
                SessionError::Closed | SessionError::Done => Ok(None),
                _ => Err(ended),
            }),
        }
    }

    fn take_request(&self) -> Option<Incoming> {
        let (id, Request { head, content }) = self.driver.shared.exchanges().session.next_request()?;
        let length = body_length(content, head.method == b"CONNECT");
        Some((ServerStream::new(self.driver.shared.clone(), id, ServerSide), head, length))
    }

    /// Asks the client to open no more streams (GOAWAY); those that are open go on. The connection ends after the last of them.
    pub(crate) fn leave(&mut self) {
        self.driver.shared.exchanges().session.leave();
    }

    /// Streams that have not ended.
    #[cfg(test)]
    pub(crate) fn open_streams(&self) -> usize {
        self.driver.shared.exchanges().session.open_streams()
    }
}

impl<IO> ServerConnection<IO> {
    /// What the connection runs on.
    pub(crate) fn io(&self) -> &IO {
        &self.driver.io
    }

    pub(crate) fn io_mut(&mut self) -> &mut IO {
        &mut self.driver.io
    }
}

impl<IO> Drop for ServerConnection<IO> {
    fn drop(&mut self) {
        self.driver.abandon();
    }
}
