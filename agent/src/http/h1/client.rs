//! A connection to a server: requests go out, one after the other, each once the response to the one before it is complete.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::content::BodyWriter;
use super::encode::write_request;
use super::framing::RequestForm;
use super::raw::HeadProgress;
use super::response::{ParsedResponse, read_response};
use crate::http::stream::{BodyLength, ExchangeError, MessageStream, Received, Upstream};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::parsed_heads::{self, HeadKind, HeadProtocol};

/// The client's side of a connection that speaks HTTP/1. As a [`MessageStream`] it is the exchange of the last request: the
/// request's content goes out, the response's content comes in.
#[derive(Debug)]
pub(crate) struct ClientConnection<IO> {
    pub(super) connection: Connection<IO>,
    progress: HeadProgress,
    asked: RequestForm,
    state: State,
    /// Whether anything of the response to the last request has come, an interim one included.
    has_answer: bool,
    /// Whether the server takes another request behind the last response.
    persists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No request is under way.
    Idle,
    /// The final response is awaited.
    Awaiting,
    /// The head of the final response has come.
    Answered,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ClientConnection<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            connection: Connection::new(io, BytesMut::new()),
            progress: HeadProgress::default(),
            asked: RequestForm::default(),
            state: State::Idle,
            has_answer: false,
            persists: true,
        }
    }

    /// Queues the head of a request: the next one may follow once the connection [is reusable](Self::is_reusable).
    ///
    /// # Errors
    /// With what of it cannot be written; nothing is sent then.
    pub(crate) fn send_request(&mut self, head: &RequestHead, length: BodyLength) -> Result<(), ExchangeError> {
        if !self.is_reusable() {
            return Err(ExchangeError::Malformed("a request before the last response was complete"));
        }
        let written = self.connection.send_head(|text| write_request(head, length, text));
        self.connection.writer = written.map_err(ExchangeError::Malformed)?;
        self.asked = RequestForm::by(&head.method, head.upgrade.is_some());
        self.state = State::Awaiting;
        self.has_answer = false;
        self.persists = false;
        Ok(())
    }

    fn read_response(&mut self, head: &mut ResponseHead) -> Result<Option<ParsedResponse>, ExchangeError> {
        let buffer = &mut self.connection.input.buffer;
        if buffer.is_empty() || !self.progress.is_worth_parsing(buffer) {
            return Ok(None);
        }
        let response = read_response(buffer, head, self.asked)?;
        if let Some(response) = &response {
            parsed_heads::count(HeadProtocol::Http1, HeadKind::Response);
            buffer.advance(response.bytes);
            self.progress = HeadProgress::default();
            self.has_answer = true;
        }
        Ok(response)
    }

    fn begin(&mut self, response: ParsedResponse, head: &ResponseHead) -> Result<BodyLength, ExchangeError> {
        let length = response.body.length();
        if head.is_interim() {
            return Ok(length);
        }
        if length == BodyLength::Tunnel {
            if !self.connection.writer.is_complete() {
                return Err(ExchangeError::Malformed("the protocol changes within a request"));
            }
            self.connection.writer = BodyWriter::Tunnel;
        }
        self.connection.reader = response.body;
        self.persists = response.persists;
        self.state = State::Answered;
        self.release_if_over();
        Ok(length)
    }

    /// Whether another request may be sent: the last exchange is over on both sides, the server keeps the connection, and it has
    /// sent nothing more. Before a kept connection is used again, [`poll_idle`](Self::poll_idle) must be pending.
    #[must_use]
    pub(crate) fn is_reusable(&self) -> bool {
        let is_over = self.state != State::Awaiting && self.connection.is_complete() && self.connection.is_flushed();
        is_over && self.persists && self.connection.input.buffer.is_empty()
    }

    /// Ready once a connection that is kept for further requests cannot carry one: the server closed it, it broke, or it sent
    /// what nobody asked for, which the next request must not get as its response.
    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_reusable() {
            return Poll::Ready(());
        }
        self.connection.release();
        self.connection.poll_head_bytes(cx).map(|_| self.persists = false)
    }

    /// Says to the server that no other request follows, after the last exchange is over; then the connection is dropped.
    pub(crate) fn end(&mut self) {
        // What carries the connection has nothing left to write, so there is nothing to wait for.
        let _ = Pin::new(&mut self.connection.io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }

    /// What the connection runs on.
    pub(crate) fn io(&self) -> &IO {
        &self.connection.io
    }

    /// A connection that nobody polls holds no buffers either.
    fn release_if_over(&mut self) {
        if self.is_reusable() {
            self.connection.release();
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Upstream for ClientConnection<IO> {
    /// Sends what is queued meanwhile. It may be called while content of the request is still to be sent, since a server may
    /// answer before it has read that.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>> {
        if !self.connection.is_flushed() {
            // A server that takes no more of the request may have answered: what it sent decides.
            let _ = self.connection.poll_flush(cx);
        }
        loop {
            if let Some(response) = self.read_response(head)? {
                return Poll::Ready(self.begin(response, head));
            }
            let is_silent = self.connection.input.buffer.is_empty() && !self.has_answer;
            match ready!(self.connection.poll_head_bytes(cx)) {
                Ok(true) => {}
                Ok(false) | Err(ExchangeError::Reset) if is_silent => {
                    return Poll::Ready(Err(ExchangeError::NoResponse));
                }
                Ok(false) => return Poll::Ready(Err(ExchangeError::Truncated)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> MessageStream for ClientConnection<IO> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        let received = ready!(self.connection.poll_receive(cx));
        if !matches!(received, Ok(Received::Data(_))) {
            self.release_if_over();
        }
        Poll::Ready(received)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.connection.poll_room(cx)
    }

    fn send_data(&mut self, data: Bytes) {
        self.connection.send_data(data);
    }

    fn send_trailers(&mut self, trailers: &HttpFields) {
        self.connection.send_end(Some(trailers));
    }

    fn send_end(&mut self) {
        self.connection.send_end(None);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.connection.poll_flush(cx)
    }
}
