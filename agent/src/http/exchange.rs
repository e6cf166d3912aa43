//! One request on its way to a server, on a connection of whichever version of HTTP, or on one that carries more than that.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::stream::{BodyLength, ExchangeError, MessageStream, Received, Upstream};
use super::{h1, h2};
use crate::model::http::head::{HttpFields, ResponseHead};
use crate::model::identity::Identity;

/// See the module.
#[derive(Debug)]
pub(crate) enum Exchange<IO> {
    /// It has the connection for itself.
    Http1(Box<h1::ClientConnection<IO>>),
    Http2(h2::ClientStream),
    Carried(Box<dyn CarriedExchange>),
}

/// An exchange on a connection that others open, drive and keep.
pub(crate) trait CarriedExchange: Upstream + fmt::Debug + Send {
    /// The identity that the other end of the connection has proven.
    fn peer(&self) -> &Identity;
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Upstream for Exchange<IO> {
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>> {
        match self {
            Self::Http1(connection) => connection.poll_response(cx, head),
            Self::Http2(stream) => stream.poll_response(cx, head),
            Self::Carried(stream) => stream.poll_response(cx, head),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> MessageStream for Exchange<IO> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        match self {
            Self::Http1(connection) => connection.poll_receive(cx),
            Self::Http2(stream) => stream.poll_receive(cx),
            Self::Carried(stream) => stream.poll_receive(cx),
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match self {
            Self::Http1(connection) => connection.poll_room(cx),
            Self::Http2(stream) => stream.poll_room(cx),
            Self::Carried(stream) => stream.poll_room(cx),
        }
    }

    fn send_data(&mut self, data: Bytes) {
        match self {
            Self::Http1(connection) => connection.send_data(data),
            Self::Http2(stream) => stream.send_data(data),
            Self::Carried(stream) => stream.send_data(data),
        }
    }

    fn send_trailers(&mut self, trailers: &HttpFields) {
        match self {
            Self::Http1(connection) => connection.send_trailers(trailers),
            Self::Http2(stream) => stream.send_trailers(trailers),
            Self::Carried(stream) => stream.send_trailers(trailers),
        }
    }

    fn send_end(&mut self) {
        match self {
            Self::Http1(connection) => connection.send_end(),
            Self::Http2(stream) => stream.send_end(),
            Self::Carried(stream) => stream.send_end(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match self {
            Self::Http1(connection) => connection.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
            Self::Carried(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match self {
            Self::Http1(connection) => connection.poll_push(cx),
            Self::Http2(stream) => stream.poll_push(cx),
            Self::Carried(stream) => stream.poll_push(cx),
        }
    }
}
