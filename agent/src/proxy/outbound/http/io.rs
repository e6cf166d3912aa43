//! What carries a connection to an upstream: TCP, or a stream of HBONE.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::hbone::HboneStream;
use crate::limits::Held;
use crate::net;
use crate::proxy::outbound::upstream::UpstreamStream;

/// The bytes of one connection to an upstream.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamIo {
    carrier: Carrier,
    /// The connection's place among those that the pod may have.
    _held: Held,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Hbone(HboneStream),
}

impl UpstreamIo {
    pub(super) fn new(stream: UpstreamStream, held: Held) -> Self {
        let carrier = match stream {
            UpstreamStream::Tcp(tcp) => {
                // Messages of HTTP say by themselves where they end.
                net::end_in_order(&tcp);
                Carrier::Tcp(tcp)
            }
            UpstreamStream::Hbone(stream) => Carrier::Hbone(stream),
        };
        Self { carrier, _held: held }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Carrier::Hbone(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Carrier::Hbone(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Carrier::Hbone(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Carrier::Hbone(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
