//! Asks a provider for its keys, once: one request of HTTP/1.1 to an address that may be asked. Redirects are not followed, since they
//! lead where nobody has looked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::addresses::may_be_asked;
use crate::jwt::{KeySet, KeySetError};
use crate::model::authentication::KeySource;
use crate::model::http::destination::{TlsMode, UpstreamTls};
use crate::tls::origination::{Origination, OriginationError};

/// From the look-up of the name to the last byte of an answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Opening a connection to one of a provider's addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer is so long at most.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Addresses of a provider that are tried, at most.
const MAX_ADDRESSES: usize = 4;

/// How providers are asked.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Blocks of addresses that are asked although not everybody reaches them.
    pub allowed: Vec<IpNet>,
    /// A file with the roots for providers' certificates, in place of those that the system trusts.
    pub roots: Option<PathBuf>,
}

/// Asks providers.
#[derive(Debug)]
pub(super) struct Fetcher {
    allowed: Vec<IpNet>,
    origination: Origination,
    tls: Arc<UpstreamTls>,
}

/// A provider's keys, and the text that they were read from.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    pub(super) text: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0:?} is no URL of http or https")]
    Url(Arc<str>),
    #[error("{host} is not known: {source}")]
    Lookup { host: String, source: std::io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{address} of {host} is private and not asked: --jwks-allow allows it")]
    Blocked { host: String, address: SocketAddr },
    #[error("{address} does not answer: {reason}")]
    Connect { address: SocketAddr, reason: String },
    #[error(transparent)]
    Tls(#[from] OriginationError),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered {0}, which is not 200 (redirects are not followed)")]
    Status(StatusCode),
    #[error("the answer breaks off, or is longer than 1 MiB")]
    Body,
    #[error("not answered within {FETCH_TIMEOUT:?}")]
    Timeout,
    #[error("the issuer's configuration has no jwks_uri")]
    NoKeysUrl,
    #[error(
        "the issuer's configuration comes over https, and its jwks_uri {0} would not: have the issuer name one of https"
    )]
    Downgrade(Arc<str>),
    #[error("the keys cannot be used: {0}")]
    Keys(#[from] KeySetError),
}

impl Fetcher {
    pub(super) fn new(options: FetchOptions) -> Self {
        let roots = options.roots.map(|path| path.display().to_string().into()).unwrap_or_default();
        let tls = UpstreamTls { mode: TlsMode::Simple, ca_certificates: roots, ..UpstreamTls::default() };
        // Servers are shown no certificate, so that no directory holds any.
        let origination = Origination::new(&PathBuf::new());
        Self { allowed: options.allowed, origination, tls: Arc::new(tls) }
    }

    /// The keys of a source that names a provider.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(super) async fn fetch(&self, source: &KeySource) -> Result<Fetched, FetchError> {
        let text = match source {
            KeySource::Inline(text) => Bytes::copy_from_slice(text.as_bytes()),
            KeySource::Url(url) => self.get(url).await?,
            KeySource::Discovery(url) => self.get(&keys_url(url, &self.get(url).await?)?).await?,
        };
        Ok(Fetched { keys: KeySet::read(&text)?.without_secrets()?, text })
    }

    async fn get(&self, url: &Arc<str>) -> Result<Bytes, FetchError> {
        tokio::time::timeout(FETCH_TIMEOUT, self.ask(url)).await.map_err(|_| FetchError::Timeout)?
    }

    async fn ask(&self, url: &Arc<str>) -> Result<Bytes, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url(url.clone()))?;
        let (is_https, usual_port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(FetchError::Url(url.clone())),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| FetchError::Url(url.clone()))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let stream = self.connect(host, authority.port_u16().unwrap_or(usual_port)).await?;
        let request = Request::builder()
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|_| FetchError::Url(url.clone()))?;
        if is_https {
            let stream = self.origination.connect(&self.tls, &host.into(), false, stream, FETCH_TIMEOUT).await?;
            send(request, stream).await
        } else {
            send(request, stream).await
        }
    }

    /// A connection to one of the addresses of a host that may be asked. What was checked is what is dialled.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, FetchError> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|source| FetchError::Lookup { host: host.to_owned(), source })?;
        let (allowed, blocked): (Vec<_>, Vec<_>) =
            found.partition(|address: &SocketAddr| may_be_asked(address.ip(), &self.allowed));
        let mut error = match blocked.first() {
            Some(address) => FetchError::Blocked { host: host.to_owned(), address: *address },
            None => FetchError::NoAddress { host: host.to_owned() },
        };
        for address in allowed.into_iter().take(MAX_ADDRESSES) {
            let reason = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection within {CONNECT_TIMEOUT:?}"),
            };
            error = FetchError::Connect { address, reason };
        }
        Err(error)
    }
}

async fn send<S>(request: Request<Empty<Bytes>>, stream: S) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let answer = client.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    // The connection makes the answer move. An answer that breaks the connection off is told by the answer.
    tokio::select! {
        answer = &mut answer => return answer,
        _ = &mut connection => {}
    }
    answer.await
}

/// The URL of the keys in an issuer's configuration (OpenID Connect Discovery 1.0 §3), which has come from `url`. Who can change what goes
/// over http would give an issuer of https keys of their own.
fn keys_url(url: &str, configuration: &[u8]) -> Result<Arc<str>, FetchError> {
    let configuration: serde_json::Value = serde_json::from_slice(configuration).map_err(|_| FetchError::NoKeysUrl)?;
    let keys = configuration["jwks_uri"].as_str().ok_or(FetchError::NoKeysUrl)?;
    if is_https(url) && !is_https(keys) {
        return Err(FetchError::Downgrade(keys.into()));
    }
    Ok(keys.into())
}

fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|beginning| beginning.eq_ignore_ascii_case("https://"))
}
