//! Opens connections to a control plane or CA, and the gRPC channel over them. Plain HTTP only ever goes to this machine
//! itself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::address::{ControlAddress, Security};
use super::roots::RootSource;
use crate::tls::server_auth::{self, UnsupportedRoots};

/// How long TCP connect and TLS handshake may take each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same while there is another address to try.
const CONNECT_TIMEOUT_WITH_ALTERNATIVE: Duration = Duration::from_secs(2);
/// HTTP/2 PINGs of both ends: a peer that vanished is noticed after the sum of these two.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 flow control windows: the first response may be very large.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A gRPC channel that connects when first used, and again whenever the connection was lost.
#[must_use]
pub fn channel(address: &ControlAddress) -> Channel {
    let endpoint = Endpoint::from(address.uri.clone())
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let address = address.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let address = address.clone();
        async move { connect(&address).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector_lazy(connector)
}

/// Opens one connection, to the first of the host's addresses that accepts it.
///
/// # Errors
/// The failure of the last address; the message names the step.
pub async fn connect(address: &ControlAddress) -> io::Result<ControlStream> {
    let mut candidates = address.services.lookup(&address.host, address.port).await.map_err(step("name lookup"))?;
    let tls = match &address.security {
        Security::LoopbackOnly => {
            candidates.retain(|candidate| candidate.ip().is_loopback());
            None
        }
        Security::Tls { server_name, roots } => Some((tls_connector(roots)?, server_name)),
    };
    let bound = if candidates.len() > 1 { CONNECT_TIMEOUT_WITH_ALTERNATIVE } else { CONNECT_TIMEOUT };
    let mut failure = io::Error::other("connect: plain http is only for loopback addresses");
    for candidate in candidates {
        let tcp = match timed("connect", bound, open_tcp(candidate)).await {
            Ok(tcp) => tcp,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        let Some((connector, server_name)) = &tls else { return Ok(ControlStream::Plain(tcp)) };
        let handshake = connector.connect((*server_name).clone(), tcp);
        match timed("TLS handshake", bound, handshake).await {
            Ok(tls) => return Ok(ControlStream::Tls(Box::new(tls))),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn timed<T>(name: &str, bound: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(bound, work).await {
        Ok(done) => done.map_err(step(name)),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{name}: timed out"))),
    }
}

/// Names the step that failed.
fn step(name: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{name}: {error}"))
}

async fn open_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(75)).with_retries(9);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

fn tls_connector(source: &RootSource) -> io::Result<TlsConnector> {
    // A system's bundle may hold roots of a kind that is not supported: those are not needed.
    let unsupported = if *source == RootSource::System { UnsupportedRoots::Skip } else { UnsupportedRoots::Refuse };
    match server_auth::client_config(&source.read()?, unsupported) {
        Ok(config) => Ok(TlsConnector::from(config)),
        Err(error) => Err(io::Error::other(format!("root certificate {source}: {error}"))),
    }
}

/// A connection to the control plane.
#[derive(Debug)]
pub enum ControlStream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for ControlStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_never_leaves_the_machine() {
        let address = ControlAddress::new("http://192.0.2.1:80", None, RootSource::System).expect("it parses");
        let error = connect(&address).await.expect_err("it is no loopback address");
        assert_eq!(error.to_string(), "connect: plain http is only for loopback addresses");
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Of the names every system has, only one leads to two addresses; here the first one of them must not matter.
        let address = ControlAddress::new(&format!("http://localhost:{port}"), None, RootSource::System).unwrap();
        for _ in 0..8 {
            connect(&address).await.expect("127.0.0.1 is one of them");
        }
    }
}
