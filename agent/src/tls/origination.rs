//! TLS towards destinations as a DestinationRule asks for it (`tls.mode` SIMPLE and MUTUAL): with servers that are no peers of the
//! mesh, whose certificates are verified by name. Its files are read in the agent's own file system, again whenever they change.
//! Whoever may write a DestinationRule must not have the agent show a key that is another's, such as those of the pods of its node: what
//! is shown to a server lies in a directory that is there for that.
//!
//! Nothing is sent without TLS in its place: where the settings cannot be used, or the server is not who it must be, there is no
//! connection.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::destination_verifier::DestinationVerifier;
use super::pem;
use super::provider::destination_builder;
use super::revocation_lists::RevocationLists;
use crate::model::http::destination::{TlsMode, UpstreamTls};

/// How long files are taken to be as they were when they were looked at last.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Settings whose files are remembered, at most: the objects of the mesh name them, not the pods.
const MAX_KNOWN_SETTINGS: usize = 1024;
/// The application protocol (RFC 7301) of a connection of HTTP/2. None is offered for HTTP/1, as Istio's sidecars do.
const HTTP2: &[u8] = b"h2";

/// A connection under TLS.
pub type DestinationStream<S> = tokio_rustls::client::TlsStream<S>;

/// Why there is no connection under TLS.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OriginationError {
    #[error("TLS settings cannot be used: {0}")]
    Settings(Arc<str>),
    #[error("{0:?} is no name that a TLS server can have")]
    ServerName(Arc<str>),
    #[error("certificate of the TLS server is refused: {0}")]
    Certificate(Arc<str>),
    #[error("TLS handshake: {0}")]
    Handshake(Arc<str>),
    #[error("TLS handshake did not end within {0:?}")]
    TimedOut(Duration),
}

/// The largest file that is read: bundles of all public roots have a quarter of that.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the settings in use come to, of all pods of the node.
#[derive(Debug)]
pub struct Origination {
    /// Where the certificates and keys lie that servers may be shown.
    shown_below: Arc<Path>,
    known: Mutex<HashMap<Arc<UpstreamTls>, Known>>,
}

/// What settings came to when their files were looked at last.
#[derive(Debug, Clone)]
struct Known {
    looked_at: Instant,
    files: Vec<FileState>,
    configs: Result<Configs, Arc<str>>,
}

/// The configuration of TLS for either version of HTTP.
#[derive(Debug, Clone)]
struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// What tells that a file was replaced: device, inode, size and time of change; `None` where it is not there.
type FileState = Option<(u64, u64, u64, i64, i64)>;

impl Origination {
    /// Nothing is known yet. `shown_below`: the directory of the certificates and keys that servers may be shown.
    #[must_use]
    pub fn new(shown_below: &Path) -> Self {
        Self { shown_below: shown_below.into(), known: Mutex::default() }
    }

    /// Puts TLS over a connection to a destination. `server_name` is sent (SNI, RFC 6066 §3) unless it is an address, and is the name
    /// that the server's certificate must have where the settings list none.
    ///
    /// # Errors
    /// See [`OriginationError`].
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        settings: &Arc<UpstreamTls>,
        server_name: &Arc<str>,
        is_http2: bool,
        stream: S,
        within: Duration,
    ) -> Result<DestinationStream<S>, OriginationError> {
        let configs = self.configs(settings).await.map_err(OriginationError::Settings)?;
        let config = if is_http2 { configs.http2 } else { configs.http1 };
        let name = ServerName::try_from(server_name.to_string())
            .map_err(|_| OriginationError::ServerName(server_name.clone()))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match tokio::time::timeout(within, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(OriginationError::from_io(&error)),
            Err(_) => Err(OriginationError::TimedOut(within)),
        }
    }

    /// Why the files of settings cannot be used; `None` where they can. Reads them: for people who ask. `shown_below` is as for
    /// [`Self::new`].
    #[must_use]
    pub fn problem(settings: &UpstreamTls, shown_below: &Path) -> Option<String> {
        read(settings, shown_below).err()
    }

    async fn configs(&self, settings: &Arc<UpstreamTls>) -> Result<Configs, Arc<str>> {
        let known = self.known.lock().get(settings).cloned();
        if let Some(known) = &known
            && known.looked_at.elapsed() < FILE_CHECK_INTERVAL
        {
            return known.configs.clone();
        }
        let (asked, shown_below) = (settings.clone(), self.shown_below.clone());
        let looked = tokio::task::spawn_blocking(move || Known::of(&asked, &shown_below, known)).await;
        let looked = looked.map_err(|_| Arc::from("reading its files was given up"))?;
        let mut all = self.known.lock();
        if all.len() >= MAX_KNOWN_SETTINGS && !all.contains_key(settings) {
            all.retain(|_, known| known.looked_at.elapsed() < FILE_CHECK_INTERVAL);
        }
        if all.len() < MAX_KNOWN_SETTINGS || all.contains_key(settings) {
            all.insert(settings.clone(), looked.clone());
        }
        looked.configs
    }
}

impl Known {
    /// Looks at the files, and reads them unless they are as they were. Blocks.
    fn of(settings: &UpstreamTls, shown_below: &Path, before: Option<Self>) -> Self {
        let looked_at = Instant::now();
        let files: Vec<_> = settings_files(settings).map(|(_, path)| state_of(&path)).collect();
        match before {
            Some(before) if before.files == files && files.iter().all(Option::is_some) => Self { looked_at, ..before },
            before => {
                let configs = read(settings, shown_below).map_err(Arc::<str>::from);
                let failed_before = before.and_then(|before| before.configs.err());
                if let Err(reason) = &configs
                    && failed_before.as_ref() != Some(reason)
                {
                    tracing::warn!(%reason, "requests to a destination fail: its TLS settings cannot be used");
                }
                Self { looked_at, files, configs }
            }
        }
    }
}

impl OriginationError {
    fn from_io(error: &io::Error) -> Self {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match rustls {
            Some(rustls::Error::InvalidCertificate(reason)) => Self::Certificate(reason.to_string().into()),
            _ => Self::Handshake(error.to_string().into()),
        }
    }
}

/// The files that settings name, by their fields.
fn settings_files(settings: &UpstreamTls) -> impl Iterator<Item = (&'static str, String)> {
    let roots = match &*settings.ca_certificates {
        _ if settings.skips_verification => None,
        "" | "system" => pem::system_bundle().map(|path| path.display().to_string()),
        path => Some(path.to_owned()),
    };
    let is_named = |path: &str| (!path.is_empty() && !settings.skips_verification).then(|| path.to_owned());
    let lists = is_named(&settings.ca_crl);
    let is_mutual = settings.mode == TlsMode::Mutual;
    let own = |path: &str| is_mutual.then(|| path.to_owned());
    let certificate = own(&settings.client_certificate);
    let key = own(&settings.private_key);
    [("caCertificates", roots), ("caCrl", lists), ("clientCertificate", certificate), ("privateKey", key)]
        .into_iter()
        .filter_map(|(field, path)| Some((field, path?)))
}

fn state_of(path: &str) -> FileState {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// The file that a path leads to, which servers may be shown.
fn to_be_shown(path: &str, shown_below: &Path) -> Result<PathBuf, String> {
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    if fs::canonicalize(shown_below).is_ok_and(|below| real.starts_with(below)) {
        return Ok(real);
    }
    Err(format!("it is not in {}, where --destination-tls-dir has what servers may be shown", shown_below.display()))
}

/// Reads a file of text: neither a device nor anything else that may have no end, or let its reader wait.
fn read_file(path: &Path) -> io::Result<String> {
    // Before it is opened: some devices act on that alone. And after: another may have taken its place.
    let is_file = |found: fs::Metadata| if found.is_file() { Ok(()) } else { Err(io::Error::other("it is no file")) };
    is_file(fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    is_file(file.metadata()?)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(io::Error::other("it is longer than 1 MiB")) } else { Ok(text) }
}

/// Reads the files of settings, and makes of them what TLS is begun with. The error names the field and the file.
fn read(settings: &UpstreamTls, shown_below: &Path) -> Result<Configs, String> {
    let (mut roots, mut revoked, mut chain, mut key) = (RootCertStore::empty(), None, Vec::new(), None);
    for (field, path) in settings_files(settings) {
        let failed = |reason: &dyn std::fmt::Display| format!("{field} {path}: {reason}");
        let is_shown = matches!(field, "clientCertificate" | "privateKey");
        let real = if is_shown { to_be_shown(&path, shown_below) } else { Ok(PathBuf::from(&path)) };
        let real = real.map_err(|reason| failed(&reason))?;
        let text = read_file(&real).map_err(|error| failed(&error))?;
        match field {
            "privateKey" => key = Some(pem::private_key(&text).map_err(|error| failed(&error))?),
            "clientCertificate" => {
                let blocks = pem::certificate_blocks(&text);
                let certificates = blocks.iter().map(|block| pem::certificate(block));
                chain = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
            }
            "caCrl" => revoked = Some(RevocationLists::read(text.as_bytes()).map_err(|error| failed(&error))?),
            _ => {
                for block in pem::certificate_blocks(&text) {
                    // A bundle may hold roots of a kind that is not supported: servers below them are refused.
                    let _ = roots.add(pem::certificate(&block).map_err(|error| failed(&error))?);
                }
                if roots.is_empty() {
                    return Err(failed(&"it holds no root certificate"));
                }
            }
        }
    }
    if !settings.skips_verification && roots.is_empty() {
        return Err("caCertificates: none is given, and this system has no bundle in a place that is known".to_owned());
    }
    let verifier = Arc::new(DestinationVerifier::new(roots, revoked, settings));
    let builder = destination_builder().dangerous().with_custom_certificate_verifier(verifier);
    let http1 = match key {
        None => builder.with_no_client_auth(),
        Some(key) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("clientCertificate and privateKey: {error}"))?,
    };
    let mut http2 = http1.clone();
    http2.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Configs { http1: Arc::new(http1), http2: Arc::new(http2) })
}

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
