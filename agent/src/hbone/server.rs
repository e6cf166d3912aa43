//! One HBONE connection as the server: HTTP/2 on an authenticated TLS connection, one [`Incoming`] per stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;

use super::age::{AgeLimit, Lifetime};
use super::request_stream::{RequestStream, ServerSide};
use super::stream::HboneStream;
use super::transport::Transport;
use crate::h2::{Request, Role, SessionError, StreamError, WindowBudget};
use crate::http::BodyLength;
use crate::http::h2::body_length;
use crate::model::http::head::RequestHead;
use crate::tls::handshake::Secured;

/// The server's side of one connection.
#[derive(Debug)]
pub(crate) struct HboneServer {
    transport: Arc<Transport>,
}

impl HboneServer {
    /// Exchanges prefaces and settings. `budget`: what slow readers of the connection's streams may make us hold.
    /// `has_request_streams`: whether requests may come as streams of their own.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub(crate) async fn start(
        secured: Secured<TcpStream>,
        budget: WindowBudget,
        age: AgeLimit,
        has_request_streams: bool,
    ) -> Result<(Self, Lifetime), Arc<SessionError>> {
        let (transport, lifetime) = Transport::new(secured, Role::Server, budget, age, has_request_streams);
        let server = Self { transport };
        server.transport.ready().await?;
        Ok((server, lifetime))
    }

    /// The next request. It also drives the connection: its streams move only while somebody waits here, so the caller comes
    /// back for the next request at once.
    ///
    /// # Errors
    /// Why the connection is over.
    pub(crate) async fn next(&mut self) -> Result<Incoming, Arc<SessionError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Arc<SessionError>>> {
        // Requests that came together are taken one after the other before the connection is driven on.
        if let Some(request) = self.take_request() {
            return Poll::Ready(Ok(request));
        }
        let ended = self.transport.poll_drive(cx);
        match (self.take_request(), ended) {
            (Some(request), _) => Poll::Ready(Ok(request)),
            (None, Poll::Ready(error)) => Poll::Ready(Err(error)),
            (None, Poll::Pending) => Poll::Pending,
        }
    }

    fn take_request(&self) -> Option<Incoming> {
        let mut session = self.transport.session();
        let (id, Request { head, content }) = session.http2.next_request()?;
        if head.method == b"CONNECT" || !session.http2.has_request_streams() {
            drop(session);
            return Some(Incoming::Tunnel(ConnectRequest {
                stream: HboneStream::new(self.transport.clone(), id, None),
                head,
            }));
        }
        session.carries_requests(id);
        drop(session);
        let stream = RequestStream::new(self.transport.clone(), id, ServerSide);
        Some(Incoming::Request(IncomingRequest { stream, head, length: body_length(content, false) }))
    }

    /// Asks the peer to open no more streams (GOAWAY); those that are open go on.
    pub(crate) fn goaway(&mut self) {
        self.transport.session().http2.leave();
    }

    /// Waits until the peer has closed a connection that is over, so long at most. Who closes first keeps the connection's
    /// addresses in TIME_WAIT: here they hold the pod's port 15008.
    pub(crate) async fn peer_closed(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.transport.read_to_end()).await;
    }

    /// Ends the connection at once.
    pub(crate) async fn abort(&mut self) {
        self.transport.abort().await;
    }
}

impl Drop for HboneServer {
    fn drop(&mut self) {
        self.transport.abandon();
    }
}

/// What a peer opens a stream with.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request for a stream of bytes; or one with another method, where none is served.
    Tunnel(ConnectRequest),
    /// A request that is a stream of its own.
    Request(IncomingRequest),
}

/// A request that came as a stream of its own.
#[derive(Debug)]
pub(crate) struct IncomingRequest {
    pub(crate) stream: RequestStream<ServerSide>,
    pub(crate) head: RequestHead,
    pub(crate) length: BodyLength,
}

/// A request for a stream to a destination. Dropping it without an answer resets its stream.
#[derive(Debug)]
pub(crate) struct ConnectRequest {
    stream: HboneStream,
    head: RequestHead,
}

impl ConnectRequest {
    /// The authority of a CONNECT request; `None` for any other method.
    #[must_use]
    pub(crate) fn authority(&self) -> Option<&str> {
        // An authority that is none never gets here: the session resets its stream.
        (self.head.method == b"CONNECT").then(|| std::str::from_utf8(&self.head.authority).unwrap_or_default())
    }

    /// The value of its `forwarded` field (RFC 7239).
    #[must_use]
    pub(crate) fn forwarded(&self) -> Option<&[u8]> {
        self.head.fields.first("forwarded")
    }

    /// Resolves once the client has given the request up, or its connection is gone.
    pub(crate) async fn given_up(&self) {
        poll_fn(|cx| self.stream.poll_broken(cx)).await;
    }

    /// Answers 200; bytes flow from here on. `reads_requests`: a peer that can is told to send further requests to this destination as
    /// streams of their own.
    ///
    /// # Errors
    /// When the peer is gone already.
    pub(crate) fn accept(self, reads_requests: bool) -> Result<HboneStream, StreamError> {
        self.stream.grant(reads_requests).map(|()| self.stream)
    }

    /// Answers with an error status and no body.
    pub(crate) fn refuse(self, status: StatusCode) {
        // A peer that is gone needs no answer.
        let _ = self.stream.respond(status, true);
    }
}
