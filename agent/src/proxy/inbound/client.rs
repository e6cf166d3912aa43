//! The client's side of an inbound connection: before it is answered, and as a sequence of bytes once it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::future::Either;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::error::InboundError;
use crate::hbone::{self, ConnectRequest, HboneStream, WindowBudget};
use crate::net;
use crate::proxy::client;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::same_node::{self, PipeEnd, PipeRequest};
use crate::proxy::splice::{self, SpliceError};
use crate::telemetry::connection::ByteCounts;

/// Bytes that are read at once of a client that has nothing more to say.
const IGNORED_READ_BYTES: usize = 1024;

/// The client's side of a connection, not answered yet.
pub(super) enum Downstream {
    Plaintext(TcpStream),
    Hbone(ConnectRequest),
    /// Of a pod of the same node.
    Beside(PipeRequest),
}

/// The client's side of a connection that was admitted. Dropped before it was ended in order, it is reset.
#[derive(Debug)]
pub(super) enum Client {
    Plaintext(TcpStream),
    Hbone(HboneStream),
    /// Of a pod of the same node.
    Beside(PipeEnd),
}

impl Downstream {
    /// Tells an HBONE client, or a pod of the same node, that its request is granted; and where the agent `reads_requests` that come on it,
    /// that it would rather have further ones each by itself.
    pub(super) fn accept(self, reads_requests: bool) -> Result<Client, InboundError> {
        match self {
            Self::Plaintext(tcp) => Ok(Client::Plaintext(tcp)),
            Self::Hbone(request) => Ok(Client::Hbone(request.accept(reads_requests)?)),
            Self::Beside(request) => request.accept(reads_requests).map(Client::Beside).ok_or(InboundError::ClientLeft),
        }
    }

    /// Tells the client that there will be no connection. In plaintext that is a reset, as every close is that is no orderly
    /// end.
    pub(super) fn refuse(self, error: &InboundError) {
        self.refuse_with(error.status());
    }

    /// The same with a status, which plaintext cannot say.
    pub(super) fn refuse_with(self, status: StatusCode) {
        match self {
            Self::Plaintext(_) => {}
            Self::Hbone(request) => request.refuse(status),
            Self::Beside(request) => request.refuse(status),
        }
    }

    /// Resolves once the client has left. A plaintext client that has ended its data may still wait for an answer: its socket is
    /// on another machine, so only a reset shows that it does not.
    pub(super) async fn left(&self) {
        match self {
            Self::Plaintext(tcp) => client::left(tcp, || false).await,
            Self::Hbone(request) => request.given_up().await,
            Self::Beside(request) => request.given_up().await,
        }
    }

    /// The destination that the client names; `None` where it names none.
    pub(super) fn authority(&self) -> Option<&str> {
        match self {
            Self::Plaintext(_) => None,
            Self::Hbone(request) => request.authority(),
            Self::Beside(request) => Some(request.authority()),
        }
    }

    /// Whom the client's agent says that it speaks for.
    pub(super) fn forwarded(&self) -> Option<&[u8]> {
        match self {
            Self::Plaintext(_) => None,
            Self::Hbone(request) => request.forwarded(),
            Self::Beside(request) => request.forwarded(),
        }
    }

    /// The hostname of the service that the client asked for, where its proxy says so.
    pub(super) fn requested_service(&self) -> Option<&str> {
        self.forwarded().and_then(hbone::service_of)
    }
}

impl Client {
    pub(super) fn splice(
        self,
        application: ApplicationStream,
        bytes: Arc<ByteCounts>,
        budget: &WindowBudget,
    ) -> impl Future<Output = Result<(), SpliceError>> {
        match self {
            Self::Plaintext(tcp) => Either::Left(splice::inbound_tcp(tcp, application, bytes, budget)),
            Self::Hbone(stream) => Either::Right(Either::Left(splice::inbound_hbone(stream, application, bytes))),
            Self::Beside(pipe) => Either::Right(Either::Right(same_node::join(pipe, application, bytes))),
        }
    }

    /// Says that what comes are requests, whose readers may pause.
    pub(super) fn carries_requests(&self) {
        if let Self::Hbone(stream) = self {
            stream.carries_requests();
        }
    }

    /// Waits until the client has ended its side too, after this side has ended in order. The owner bounds the time.
    pub(super) async fn ended(&mut self) {
        let mut ignored = BytesMut::with_capacity(IGNORED_READ_BYTES);
        while self.read_buf(&mut ignored).await.is_ok_and(|count| count > 0) {
            ignored.clear();
        }
    }

    /// Makes the coming close an orderly end, where a close would be a reset.
    pub(super) fn end_in_order(&self) {
        if let Self::Plaintext(tcp) = self {
            net::end_in_order(tcp);
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plaintext(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Hbone(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Beside(pipe) => Pin::new(pipe).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plaintext(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Hbone(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Beside(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plaintext(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Hbone(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Beside(pipe) => Pin::new(pipe).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// All take what is written at once.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plaintext(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Hbone(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Beside(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
