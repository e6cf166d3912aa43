//! Where certificates come from, how they are kept, and what is reported about them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::identity::Identity;
use crate::tls::ca::Issuer;
use crate::tls::ca::local::MAX_LIFETIME;

/// Who provides certificates.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// Keys are made here and signed there.
    Issuer(Arc<dyn Issuer>),
    /// A directory with `root-cert.pem` and one `<namespace>.<service account>.pem` (chain and key) per identity,
    /// reread when they change.
    Files(PathBuf),
}

/// Called with everything that happens to certificates, for metrics. Called from the renewing tasks: must not block.
pub type Observer = Arc<dyn Fn(&CertificateEvent) + Send + Sync>;

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Something that happened to a certificate.
#[derive(Debug, Clone)]
pub enum CertificateEvent {
    /// A certificate came into use: new, renewed, reread, or found from before a restart.
    Obtained { identity: Identity, not_after: SystemTime },
    /// None could be had; it is being retried.
    Failed { identity: Identity, reason: Arc<str> },
}

/// How certificates are kept.
#[derive(Clone)]
pub struct CertificateOptions {
    /// The lifetime to ask for.
    pub lifetime: Duration,
    /// Directory (a tmpfs is best) where keys and certificates outlive a restart of the agent; none: they do not.
    pub keys_dir: Option<PathBuf>,
    pub observer: Option<Observer>,
    /// [`SystemTime::now`], but for tests.
    pub clock: Clock,
}

impl Default for CertificateOptions {
    fn default() -> Self {
        Self { lifetime: MAX_LIFETIME, keys_dir: None, observer: None, clock: Arc::new(SystemTime::now) }
    }
}

impl fmt::Debug for CertificateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateOptions")
            .field("lifetime", &self.lifetime)
            .field("keys_dir", &self.keys_dir)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no certificate for {identity}: {reason}")]
pub struct NoCertificate {
    pub identity: Identity,
    pub reason: Arc<str>,
}

/// A certificate as operators may see it; never the key.
#[derive(Debug, Clone)]
pub struct CertificateStatus {
    pub identity: Identity,
    /// PEM, leaf first; empty while none was issued.
    pub chain_pem: Vec<String>,
    /// The roots that peers are held to: those that came with the certificate, and the mesh's trust bundle.
    pub root_pem: Vec<String>,
    /// Decimal, as istioctl prints it; empty while none was issued.
    pub serial: String,
    pub not_before: Option<SystemTime>,
    pub not_after: Option<SystemTime>,
    /// The last failure to fetch or renew it.
    pub last_error: Option<Arc<str>>,
}
