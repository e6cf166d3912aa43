//! The agent's end of its channel to a control plane: TLS with server authentication, HTTP/2. The agent proves itself
//! with a bearer token inside the channel. Plain HTTP only ever goes to this machine itself.

mod headers;
mod lookup;
mod roots;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

pub use headers::{ControlHeaders, InvalidHeader};
pub use lookup::OwnServices;
pub use roots::RootSource;

use super::pem;

/// istiod's.
const DEFAULT_PORT: u16 = 15012;
/// Bound on each of TCP connect and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same where there is another address to try.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_secs(2);
/// A control plane that is gone without a word is noticed after the sum of these two.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 flow control windows: a first answer may be very large.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Where a control plane is and how it proves itself.
#[derive(Debug, Clone)]
pub struct ControlAddress {
    host: String,
    port: u16,
    security: Security,
    services: OwnServices,
    uri: Uri,
}

#[derive(Debug, Clone)]
enum Security {
    /// Plain HTTP; only loopback addresses are connected to.
    LoopbackOnly,
    Tls {
        server_name: ServerName<'static>,
        roots: RootSource,
    },
}

/// Why an address of a control plane cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidControlAddress {
    #[error("{0:?} is not of the form https://host:port")]
    Form(String),
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
}

impl ControlAddress {
    /// Reads `https://host:port` (or `http://` for a loopback address). The certificate must be valid for `server_name`,
    /// or for the host of the address if that is unset; its chain must end in one of `roots`, which are read anew for
    /// every connection. The port is 15012 unless the address says otherwise.
    ///
    /// # Errors
    /// If the address or the server name does not parse.
    pub fn new(address: &str, server_name: Option<&str>, roots: RootSource) -> Result<Self, InvalidControlAddress> {
        let form = || InvalidControlAddress::Form(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| form())?;
        let authority = uri.authority().ok_or_else(form)?.as_str();
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(form)?;
        // Looked at as text: the parser takes a port beyond 65535 for none.
        let port = match authority.strip_prefix(host).ok_or_else(form)? {
            "" => DEFAULT_PORT,
            rest => {
                rest.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or_else(form)?
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let security = match uri.scheme_str() {
            Some("http") => Security::LoopbackOnly,
            Some("https") => {
                let name = server_name.filter(|name| !name.is_empty()).unwrap_or(&host);
                let server_name = ServerName::try_from(name.to_owned())
                    .map_err(|_| InvalidControlAddress::ServerName(name.to_owned()))?;
                Security::Tls { server_name, roots }
            }
            _ => return Err(form()),
        };
        Ok(Self { host, port, security, services: OwnServices::default(), uri })
    }

    /// The same, where DNS may be silent: these services' addresses are known without it.
    #[must_use]
    pub fn with_services(self, services: OwnServices) -> Self {
        Self { services, ..self }
    }
}

/// A gRPC channel that connects when first used, and again whenever the connection was lost.
#[must_use]
pub fn channel(address: &ControlAddress) -> Channel {
    let endpoint = Endpoint::from(address.uri.clone())
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
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

/// Opens one connection, to the first of the host's addresses that takes it.
///
/// # Errors
/// What went wrong with the last address, in words that name the step.
pub async fn connect(address: &ControlAddress) -> io::Result<ControlStream> {
    let mut candidates = address.services.lookup(&address.host, address.port).await.map_err(step("name lookup"))?;
    let tls = match &address.security {
        Security::LoopbackOnly => {
            candidates.retain(|candidate| candidate.ip().is_loopback());
            None
        }
        Security::Tls { server_name, roots } => Some((client_config(&read_roots(roots)?)?, server_name)),
    };
    let bound = if candidates.len() > 1 { NEXT_ADDRESS_AFTER } else { CONNECT_TIMEOUT };
    let mut failure = io::Error::other("connect: plain http is only for loopback addresses");
    for candidate in candidates {
        let tcp = match timed("connect", bound, open_tcp(candidate)).await {
            Ok(tcp) => tcp,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        let Some((config, server_name)) = &tls else { return Ok(ControlStream::Plain(tcp)) };
        let handshake = TlsConnector::from(config.clone()).connect((*server_name).clone(), tcp);
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

fn read_roots(source: &RootSource) -> io::Result<RootCertStore> {
    let failed = |reason: &dyn std::fmt::Display| io::Error::other(format!("root certificate {source}: {reason}"));
    let mut roots = RootCertStore::empty();
    for block in source.read()? {
        let added = roots.add(pem::certificate(&block).map_err(|error| failed(&error))?);
        // A system's bundle may hold roots of a kind that is not supported: those are not needed.
        if *source != RootSource::System {
            added.map_err(|error| failed(&error))?;
        }
    }
    Ok(roots)
}

fn client_config(roots: &RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
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

    #[test]
    fn addresses_that_cannot_be_used_are_named() {
        let root = || RootSource::new("/nowhere");
        for text in [
            "",
            "host:15012",
            "ftp://host:1",
            "https://",
            "https://host:0",
            "https://host:70000",
            "https://host:",
            "https://user@host",
            "/path",
        ] {
            assert_eq!(
                ControlAddress::new(text, None, root()).err(),
                Some(InvalidControlAddress::Form(text.into())),
                "{text}"
            );
        }
        assert_eq!(
            ControlAddress::new("https://host", Some("not a name"), root()).err(),
            Some(InvalidControlAddress::ServerName("not a name".into()))
        );
        let address = ControlAddress::new("https://[::1]", None, root()).expect("an IPv6 host");
        assert_eq!((address.host.as_str(), address.port), ("::1", 15012));
    }

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
