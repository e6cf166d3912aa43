//! The agent's end of its channel to a control plane: TLS with server authentication, HTTP/2. The agent proves itself
//! with a bearer token inside the channel. Plain HTTP only ever goes to this machine itself.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// istiod's.
const DEFAULT_PORT: u16 = 15012;
/// Bound on each of name lookup with TCP connect, and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
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
    uri: Uri,
}

#[derive(Debug, Clone)]
enum Security {
    /// Plain HTTP; only loopback addresses are connected to.
    LoopbackOnly,
    Tls {
        server_name: ServerName<'static>,
        root_ca: PathBuf,
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
    /// or for the host of the address if that is unset; its chain must end in a certificate of the PEM file `root_ca`,
    /// which is read anew for every connection. The port is 15012 unless the address says otherwise.
    ///
    /// # Errors
    /// If the address or the server name does not parse.
    pub fn new(address: &str, server_name: Option<&str>, root_ca: &Path) -> Result<Self, InvalidControlAddress> {
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
                Security::Tls { server_name, root_ca: root_ca.to_owned() }
            }
            _ => return Err(form()),
        };
        Ok(Self { host, port, security, uri })
    }
}

/// A gRPC channel that connects when first used, and again whenever the connection was lost.
///
/// # Errors
/// See [`ControlAddress::new`].
pub fn channel(address: &str, server_name: Option<&str>, root_ca: &Path) -> Result<Channel, InvalidControlAddress> {
    let address = ControlAddress::new(address, server_name, root_ca)?;
    let endpoint = Endpoint::from(address.uri.clone())
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connector = tower::service_fn(move |_: Uri| {
        let address = address.clone();
        async move { connect(&address).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Opens one connection.
///
/// # Errors
/// The first thing that went wrong, in words that name it.
pub async fn connect(address: &ControlAddress) -> io::Result<ControlStream> {
    let tcp = timed("connect", open_tcp(address)).await?;
    match &address.security {
        Security::LoopbackOnly => Ok(ControlStream::Plain(tcp)),
        Security::Tls { server_name, root_ca } => {
            let config = client_config(&read_roots(root_ca)?)?;
            let tls = timed("TLS handshake", TlsConnector::from(config).connect(server_name.clone(), tcp)).await?;
            Ok(ControlStream::Tls(Box::new(tls)))
        }
    }
}

async fn timed<T>(step: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
        Ok(done) => done.map_err(|error| io::Error::new(error.kind(), format!("{step}: {error}"))),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{step}: timed out"))),
    }
}

async fn open_tcp(address: &ControlAddress) -> io::Result<TcpStream> {
    let mut candidates: Vec<SocketAddr> =
        tokio::net::lookup_host((address.host.as_str(), address.port)).await?.collect();
    if matches!(address.security, Security::LoopbackOnly) {
        candidates.retain(|candidate| candidate.ip().is_loopback());
        if candidates.is_empty() {
            return Err(io::Error::other("plain http is only for loopback addresses"));
        }
    }
    let tcp = TcpStream::connect(candidates.as_slice()).await?;
    tcp.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(75)).with_retries(9);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

fn read_roots(path: &Path) -> io::Result<RootCertStore> {
    let failed =
        |reason: &dyn std::fmt::Display| io::Error::other(format!("root certificate {}: {reason}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() { Err(failed(&"no certificate in it")) } else { Ok(roots) }
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
        let root = Path::new("/nowhere");
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
                ControlAddress::new(text, None, root).err(),
                Some(InvalidControlAddress::Form(text.into())),
                "{text}"
            );
        }
        assert_eq!(
            ControlAddress::new("https://host", Some("not a name"), root).err(),
            Some(InvalidControlAddress::ServerName("not a name".into()))
        );
        let address = ControlAddress::new("https://[::1]", None, root).expect("an IPv6 host");
        assert_eq!((address.host.as_str(), address.port), ("::1", 15012));
    }

    #[tokio::test]
    async fn plain_http_never_leaves_the_machine() {
        let address = ControlAddress::new("http://192.0.2.1:80", None, Path::new("/nowhere")).expect("it parses");
        let error = connect(&address).await.expect_err("it is no loopback address");
        assert_eq!(error.to_string(), "connect: plain http is only for loopback addresses");
    }
}
