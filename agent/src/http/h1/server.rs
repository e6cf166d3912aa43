//! A connection of a client: requests come in, one after the other, and each gets its responses before the next one is read
//! (RFC 9112 §9.3).

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::BodyReader;
use super::connection::Connection;
use super::content::BodyWriter;
use super::encode::{Recipient, write_response};
use super::error::{HeadError, RequestError};
use super::framing::RequestForm;
use super::raw::HeadProgress;
use super::request::{ParsedRequest, read_request};
use crate::http::stream::{BodyLength, Downstream, ExchangeError, MessageStream, Received};
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead};
use crate::parsed_heads::{self, HeadKind, HeadProtocol};

/// How much of a request's content that nobody wanted is read, so that the connection can carry the next request.
const MAX_DRAINED_BYTES: u64 = 64 * 1024;
/// How much of what the client still sends is read at the end of the connection. It is far more than a head that is refused for its size:
/// a client that writes all of its request before it reads has to find the answer, not a reset.
const MAX_LINGERED_BYTES: u64 = 1024 * 1024;

/// The server's side of a connection that speaks HTTP/1. As a [`MessageStream`] it is the exchange of the last request: the
/// request's content comes in, the response's content goes out.
///
/// Dropped in the middle of a response it must not look to the client as if the response were complete: to one without a length
/// that takes a reset of the connection, which is the owner's to send.
#[derive(Debug)]
pub(crate) struct ServerConnection<IO> {
    pub(super) connection: Connection<IO>,
    progress: HeadProgress,
    exchange: Exchange,
    /// Whether an exchange has begun and the next request was not waited for since.
    is_in_exchange: bool,
    /// Bytes of an unwanted body, or of an ended connection, that were read and thrown away.
    drained: u64,
    /// Whether the client may have more to say, and the connection has ended for us.
    lingers: bool,
    closes: bool,
}

/// What of a request matters to its response. Without a request, what an answer to none needs: the connection ends with it.
#[derive(Debug, Clone, Copy, Default)]
struct Exchange {
    asked: RequestForm,
    is_http10: bool,
    persists: bool,
    /// Whether the client may still wait for 100 before it sends its content.
    expects_continue: bool,
    is_answered: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServerConnection<IO> {
    /// A connection of which `received` was read already, to find out which protocol it speaks.
    pub(crate) fn new(io: IO, received: BytesMut) -> Self {
        Self {
            connection: Connection::new(io, received),
            progress: HeadProgress::default(),
            exchange: Exchange::default(),
            is_in_exchange: false,
            drained: 0,
            lingers: false,
            closes: false,
        }
    }

    /// Ends the exchange of the last request, and waits for the next one: ready with what is known of its content. `None` when the
    /// connection ended between requests, or where it [is not open](Self::is_open) for another one. While it waits for a client
    /// that is silent it holds no buffer.
    ///
    /// # Errors
    /// A refused request is to be answered with [`HeadError::status`]; no other one follows it. If the connection broke there is
    /// nobody to answer.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
    ) -> Poll<Result<Option<BodyLength>, RequestError>> {
        if self.is_in_exchange {
            if !ready!(self.poll_end_exchange(cx))? {
                return Poll::Ready(Ok(None));
            }
            self.exchange = Exchange::default();
            self.is_in_exchange = false;
            self.drained = 0;
        }
        loop {
            if let Some(request) = self.read_request(head)? {
                let is_http10 = head.version == HttpVersion::Http10;
                return Poll::Ready(Ok(Some(self.begin(request, is_http10))));
            }
            self.connection.release();
            if !ready!(self.connection.poll_head_bytes(cx))? {
                return Poll::Ready(self.end_between_requests(head));
            }
        }
    }

    /// What it means that the client sends no more.
    fn end_between_requests(&mut self, head: &mut RequestHead) -> Result<Option<BodyLength>, RequestError> {
        if matches!(&self.connection.input.buffer[..], b"" | b"\r\n") {
            return Ok(None);
        }
        // What came last may have made it wrong, which was not looked at yet.
        self.progress = HeadProgress::default();
        self.read_request(head)?;
        Err(ExchangeError::Truncated.into())
    }

    fn read_request(&mut self, head: &mut RequestHead) -> Result<Option<ParsedRequest>, HeadError> {
        let buffer = &mut self.connection.input.buffer;
        // One empty line before a request is forgiven (RFC 9112 §2.2).
        let has_empty_line = buffer.starts_with(b"\r\n");
        let bytes = if has_empty_line { &buffer[2..] } else { &buffer[..] };
        if bytes.is_empty() || bytes == b"\r" || !self.progress.is_worth_parsing(bytes) {
            return Ok(None);
        }
        let request = read_request(bytes, head).inspect_err(|_| {
            // Whatever is wrong about it, a client that has sent HEAD expects no content (RFC 9110 §9.3.2).
            let asked = RequestForm { is_head: bytes.starts_with(b"HEAD "), ..RequestForm::default() };
            self.exchange = Exchange { asked, ..Exchange::default() };
            self.is_in_exchange = true;
        })?;
        if let Some(request) = &request {
            parsed_heads::count(HeadProtocol::Http1, HeadKind::Request);
            buffer.advance(request.bytes + if has_empty_line { 2 } else { 0 });
            self.progress = HeadProgress::default();
        }
        Ok(request)
    }

    fn begin(&mut self, request: ParsedRequest, is_http10: bool) -> BodyLength {
        let length = request.body.length();
        self.connection.reader = request.body;
        self.exchange = Exchange {
            asked: request.asked,
            is_http10,
            persists: request.persists,
            expects_continue: request.expects_continue,
            is_answered: false,
        };
        self.is_in_exchange = true;
        length
    }

    /// Queues a response, or says why it cannot be written: then nothing is queued.
    fn try_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), &'static str> {
        if self.exchange.is_answered {
            return Err("more than one final response");
        }
        self.is_in_exchange = true;
        if head.is_interim() {
            return self.send_interim(head, length);
        }
        let is_tunnel = self.exchange.asked.becomes_tunnel(head.status);
        if is_tunnel && !self.connection.reader.is_complete() {
            return Err("the protocol changes within a request");
        }
        if head.status == 101 && !self.exchange.asked.upgrade {
            return Err("the protocol changes to one that was not asked for");
        }
        // Where the next request begins is uncertain: the client may send its content or not, or may have sent what was meant for
        // the tunnel.
        let is_waiting = self.exchange.expects_continue && !self.connection.reader.is_complete();
        let is_uncertain = is_waiting || self.exchange.asked.is_connect;
        let persists = self.exchange.persists && !self.closes && !is_uncertain;
        let to = Recipient { asked: self.exchange.asked, is_http10: self.exchange.is_http10, persists };
        let writer = self.connection.send_head(|text| write_response(head, length, to, text))?;
        self.exchange.persists = persists && !matches!(writer, BodyWriter::UntilClose | BodyWriter::Tunnel);
        self.exchange.is_answered = true;
        self.connection.writer = writer;
        if is_tunnel {
            self.connection.reader = BodyReader::Tunnel;
        }
        Ok(())
    }

    fn send_interim(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), &'static str> {
        if self.exchange.is_http10 {
            return Ok(());
        }
        let to = Recipient { asked: self.exchange.asked, is_http10: false, persists: true };
        self.connection.send_head(|text| write_response(head, length, to, text))?;
        if head.status == 100 {
            self.exchange.expects_continue = false;
        }
        Ok(())
    }

    /// The next final response says that the connection ends with it.
    pub(crate) fn close_after_response(&mut self) {
        self.closes = true;
    }

    /// Whether another request may follow: before the first one, and as long as no response, and no request that was refused, has
    /// ended the connection.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        !self.is_in_exchange || self.exchange.persists
    }

    /// Sends what is queued, ends the connection's writing side, and waits for the client to close it too where that matters: a
    /// connection that is dropped with unread bytes is reset, and the reset may overtake the response (RFC 9112 §9.6). The
    /// owner bounds the time.
    ///
    /// # Errors
    /// When the client takes no more.
    pub(crate) async fn close(&mut self) -> Result<(), ExchangeError> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    pub(crate) fn io(&self) -> &IO {
        &self.connection.io
    }

    pub(crate) fn io_mut(&mut self) -> &mut IO {
        &mut self.connection.io
    }

    /// Ready with whether the connection can carry another request: the response has left, and what the client still had to
    /// send of its request was read, if it is not much.
    fn poll_end_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ExchangeError>> {
        let is_answered = self.exchange.is_answered && self.connection.writer.is_complete();
        self.exchange.persists &= is_answered;
        ready!(self.connection.poll_flush(cx))?;
        while self.exchange.persists && !self.connection.reader.is_complete() {
            if self.drained.saturating_add(self.connection.reader.wanted()) > MAX_DRAINED_BYTES {
                self.exchange.persists = false;
                break;
            }
            match ready!(self.connection.poll_receive(cx)) {
                Ok(Received::Data(data)) => self.drained += data.len() as u64,
                Ok(Received::Trailers(_) | Received::End) => {}
                Err(_) => self.exchange.persists = false,
            }
        }
        Poll::Ready(Ok(self.exchange.persists))
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.connection.end_output();
        ready!(self.connection.poll_flush(cx))?;
        self.lingers |= !(self.connection.reader.is_complete() && self.connection.input.buffer.is_empty());
        while self.lingers && self.drained < MAX_LINGERED_BYTES {
            self.drained += self.connection.input.buffer.len() as u64;
            self.connection.input.buffer.clear();
            self.lingers = ready!(self.connection.poll_head_bytes(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Downstream for ServerConnection<IO> {
    /// A client of HTTP/1.0 gets no interim response (RFC 9110 §15.2). Behind 101, and behind 2xx to CONNECT, the exchange is a
    /// tunnel.
    fn send_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), ExchangeError> {
        self.try_response(head, length).map_err(ExchangeError::Malformed)
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        self.connection.poll_end_of_input(cx)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> MessageStream for ServerConnection<IO> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        self.connection.poll_receive(cx)
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
