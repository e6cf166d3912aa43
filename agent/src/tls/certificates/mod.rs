//! Where workload certificates come from: a CA over gRPC, a CA key in this process, or ready files.
//! One certificate per workload identity: fetched when first needed, renewed at half of its life, kept while valid.
//!
//! `slot` is the place of one identity's certificate, `rotation` the task that fills it, `store` keeps keys over a
//! restart, `ready_files` reads certificates that somebody else renews.

pub mod bundle;
mod ready_files;
mod rotation;
mod slot;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use rotation::Rotation;
use slot::Slot;
use store::KeyStore;

use super::ca::Issuer;
use super::ca::local::MAX_LIFETIME;
pub use super::workload_certificate::{UnusableCertificate, WorkloadCertificate};
use crate::model::identity::Identity;

/// How long a [`Certificates::get`] waits for a first certificate: longer than a healthy CA needs, shorter than an
/// application's patience.
pub const GET_TIMEOUT: Duration = Duration::from_secs(5);

/// Who provides certificates.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// Keys are made here and signed there.
    Issuer(Arc<dyn Issuer>),
    /// A directory with `root-cert.pem` and one `<namespace>.<service account>.pem` (chain and key) per identity,
    /// reread when they change.
    Files(PathBuf),
}

/// Tells what happened to certificates, for metrics. Called from the renewing tasks: must not block.
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
    /// The life to ask for.
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

/// A handle to the certificates of this process. Cheap to clone; when the last one goes, renewing ends.
#[derive(Debug, Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rotation: Arc<Rotation>,
    kept: RwLock<HashMap<Identity, Kept>>,
    runtime: Handle,
}

/// An identity of this node, and the task that keeps its certificate fresh.
#[derive(Debug)]
struct Kept {
    slot: Arc<Slot>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
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
    /// Those that peers are held to: they came with it, or are trusted besides.
    pub root_pem: Vec<String>,
    /// Decimal, as istioctl prints it; empty while none was issued.
    pub serial: String,
    pub not_before: Option<SystemTime>,
    pub not_after: Option<SystemTime>,
    /// The last failure to fetch or renew it.
    pub last_error: Option<Arc<str>>,
}

impl Certificates {
    /// Starts keeping certificates. Fetches nothing until an identity is asked for. A `keys_dir` that cannot be used
    /// is told in the log and done without.
    ///
    /// # Panics
    /// Outside of a tokio runtime: that is where the renewing tasks will run.
    #[must_use]
    pub fn start(source: CertificateSource, options: CertificateOptions) -> Self {
        let store = options.keys_dir.as_ref().and_then(|dir| {
            match KeyStore::open(dir, (options.clock)().checked_sub(options.lifetime)) {
                Ok(store) => Some(store),
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "keys will not outlive a restart");
                    None
                }
            }
        });
        let rotation = Arc::new(Rotation::new(source, store, options));
        let shared = Shared { rotation, kept: RwLock::default(), runtime: Handle::current() };
        Self { shared: Arc::new(shared) }
    }

    /// The current certificate of an identity; asks for one if there is none, and waits for the answer, at most
    /// [`GET_TIMEOUT`]. Where the CA has just refused or cannot be reached, that is told at once.
    ///
    /// # Errors
    /// When none could be had (the request goes on being retried with backoff in the background).
    pub async fn get(&self, identity: &Identity) -> Result<Arc<WorkloadCertificate>, NoCertificate> {
        let slot = self.slot(identity);
        let clock = &self.shared.rotation.options.clock;
        match slot.valid_at(clock()) {
            Some(certificate) => Ok(certificate),
            None => slot.wait(GET_TIMEOUT, || self.shared.rotation.away(), clock).await,
        }
    }

    /// Starts fetching without waiting, for a pod that was just enrolled.
    pub fn prefetch(&self, identity: &Identity) {
        self.slot(identity);
    }

    /// No pod of this node carries this identity any more: stop renewing it and forget the key.
    pub fn forget(&self, identity: &Identity) {
        let kept = self.shared.kept.write().remove(identity);
        if let Some(kept) = kept {
            let store = self.shared.rotation.store.as_ref();
            kept.slot.close(|| store.map_or((), |store| store.remove(identity)));
        }
    }

    /// Trusts these roots (PEM, one each) besides those that come with certificates: while a CA is replaced, some peers
    /// have certificates of the old one and some of the new one. A certificate whose own root is not among them is renewed.
    pub fn trust(&self, bundle: Vec<String>) {
        let rotation = &self.shared.rotation;
        rotation.extra_roots.store(Arc::new(bundle));
        let bundle = rotation.extra_roots.load_full();
        for kept in self.shared.kept.read().values() {
            kept.slot.follow_bundle(&bundle);
        }
    }

    /// Notes that the CA cannot be reached, as somebody else found out: who needs a new certificate is told so at once.
    pub fn note_away(&self, reason: &str) {
        self.shared.rotation.note_away(Some(reason.into()));
    }

    /// Tries again at once what failed: the CA is back, or a new token is there.
    pub fn retry(&self) {
        self.shared.rotation.note_away(None);
        self.shared.rotation.retry.notify_waiters();
    }

    /// Every identity that is kept, sorted.
    #[must_use]
    pub fn status(&self) -> Vec<CertificateStatus> {
        let mut all: Vec<_> = self.shared.kept.read().values().map(|kept| kept.slot.status()).collect();
        all.sort_by(|one, other| one.identity.cmp(&other.identity));
        all
    }

    /// The place of this identity's certificate. The first to ask starts the task that fills it; all wait for the same.
    fn slot(&self, identity: &Identity) -> Arc<Slot> {
        if let Some(kept) = self.shared.kept.read().get(identity) {
            return kept.slot.clone();
        }
        let mut all = self.shared.kept.write();
        let kept = all.entry(identity.clone()).or_insert_with(|| {
            let slot = Arc::new(Slot::new(identity.clone()));
            let task = self.shared.runtime.spawn(rotation::keep(self.shared.rotation.clone(), slot.clone()));
            Kept { slot, task: task.abort_handle() }
        });
        kept.slot.clone()
    }
}
