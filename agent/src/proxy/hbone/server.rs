//! One HBONE connection as the server: HTTP/2 on an authenticated TLS stream, one [`ConnectRequest`] per stream.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{HboneStream, StreamError};

/// Streams a peer may have open on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 200;

/// The server's side of one connection.
pub struct HboneServer<S> {
    connection: h2::server::Connection<S, Bytes>,
}

impl<S> std::fmt::Debug for HboneServer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HboneServer").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HboneServer<S> {
    /// Exchanges prefaces.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub async fn handshake(stream: S) -> Result<Self, h2::Error> {
        let connection = h2::server::Builder::new()
            .initial_window_size(super::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
            .max_frame_size(super::FRAME_BYTES)
            .max_send_buffer_size(super::SEND_BUFFER_BYTES)
            .max_header_list_size(super::HEADER_LIST_BYTES)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .max_concurrent_reset_streams(super::RESET_STREAMS)
            .max_pending_accept_reset_streams(super::RESET_STREAMS)
            .max_local_error_reset_streams(None)
            .handshake(stream)
            .await?;
        Ok(Self { connection })
    }

    /// The next request; also what keeps all streams of the connection moving. `None` when the connection is over.
    pub async fn next(&mut self) -> Option<Result<ConnectRequest, h2::Error>> {
        let next = self.connection.accept().await?;
        Some(next.map(|(request, respond)| ConnectRequest { request, respond }))
    }

    /// Asks the peer to open no more streams (GOAWAY); those that are open go on.
    pub fn goaway(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends the connection at once.
    pub fn abort(&mut self) {
        self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
    }
}

/// A request to be joined to a destination. Dropping it without an answer resets its stream.
#[derive(Debug)]
pub struct ConnectRequest {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

impl ConnectRequest {
    /// The authority of a CONNECT request; `None` for any other method.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        let is_connect = self.request.method() == Method::CONNECT;
        is_connect.then(|| self.request.uri().authority().map_or("", http::uri::Authority::as_str))
    }

    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Answers 200; bytes flow from here on.
    ///
    /// # Errors
    /// When the peer is gone already.
    pub fn accept(mut self) -> Result<HboneStream, StreamError> {
        let send = self.respond.send_response(Response::new(()), false)?;
        Ok(HboneStream::new(send, self.request.into_body(), None))
    }

    /// Answers with an error status and no body.
    pub fn refuse(mut self, status: StatusCode) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // A peer that is gone needs no answer.
        let _ = self.respond.send_response(response, true);
    }
}
