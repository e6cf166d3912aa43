//! What the two ends of a connection have in common: the message that comes in, and the one that goes out.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::BodyReader;
use super::content::BodyWriter;
use super::input::{Input, MAX_READ_BYTES};
use super::output::Output;
use crate::http::stream::{ExchangeError, Received};
use crate::model::http::head::HttpFields;

/// A connection between two heads.
#[derive(Debug)]
pub(super) struct Connection<IO> {
    pub(super) io: IO,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) reader: BodyReader,
    pub(super) writer: BodyWriter,
    /// Why what its owner sends is no message. Nothing is sent any more: the peer sees that the message breaks off.
    fault: Option<&'static str>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// With what was read from it already.
    pub(super) fn new(io: IO, received: BytesMut) -> Self {
        Self {
            io,
            input: Input::new(received),
            output: Output::default(),
            reader: BodyReader::Ended,
            writer: BodyWriter::Ended,
            fault: None,
        }
    }

    /// Reads once for a head. Ready with whether anything came; not at the end of the connection.
    pub(super) fn poll_head_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ExchangeError>> {
        let read = ready!(self.input.poll_head(&mut self.io, cx));
        Poll::Ready(read.map(|count| count > 0).map_err(broken))
    }

    /// Reads ahead of whoever takes what is received, as much as one read takes. Ready once the peer sends no more, with how that
    /// came.
    pub(super) fn poll_end_of_input(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        while self.input.buffer.len() < MAX_READ_BYTES {
            match ready!(self.poll_head_bytes(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(ExchangeError::Truncated),
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    /// See [`MessageStream`](crate::http::stream::MessageStream), as the five methods below.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        loop {
            if let Some(received) = self.reader.read(&mut self.input.buffer)? {
                return Poll::Ready(Ok(received));
            }
            let count = ready!(self.input.poll_body(&mut self.io, cx, self.reader.wanted())).map_err(broken)?;
            if count == 0 {
                return Poll::Ready(self.reader.end_of_input());
            }
        }
    }

    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.check_fault()?;
        self.output.poll_room(&mut self.io, cx).map_err(broken)
    }

    pub(super) fn send_data(&mut self, data: Bytes) {
        if self.fault.is_none() {
            self.fault = self.writer.send(data, &mut self.output).err();
        }
    }

    pub(super) fn send_end(&mut self, trailers: Option<&HttpFields>) {
        if self.fault.is_none() {
            self.fault = self.writer.end(trailers, &mut self.output).err();
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.check_fault()?;
        self.output.poll_flush(&mut self.io, cx).map_err(broken)
    }

    fn check_fault(&self) -> Result<(), ExchangeError> {
        self.fault.map_or(Ok(()), |reason| Err(ExchangeError::Malformed(reason)))
    }

    /// Queues a head that `write` makes, and gives what it says of the content. Where it cannot be written, nothing is queued.
    pub(super) fn send_head(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> Result<BodyWriter, &'static str>,
    ) -> Result<BodyWriter, &'static str> {
        self.fault.map_or(Ok(()), Err)?;
        let text = self.output.text();
        let before = text.len();
        write(text).inspect_err(|_| text.truncate(before))
    }

    /// Ends the writing side behind what is queued.
    pub(super) fn end_output(&mut self) {
        self.output.end();
    }

    /// Whether both messages were received and queued as a whole.
    pub(super) fn is_complete(&self) -> bool {
        self.fault.is_none() && self.reader.is_complete() && self.writer.is_complete()
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.output.queued() == 0
    }

    /// Holds no memory for what is neither received nor queued.
    pub(super) fn release(&mut self) {
        self.input.release();
        self.output.release();
    }
}

/// How an error of the connection reads to the owner of an exchange.
fn broken(error: io::Error) -> ExchangeError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            ExchangeError::Reset
        }
        io::ErrorKind::UnexpectedEof => ExchangeError::Truncated,
        _ => ExchangeError::Io(Arc::new(error)),
    }
}
