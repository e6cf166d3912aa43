//! The certificates of this process by identity: fetched when first needed, renewed until the identity is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::options::{CertificateOptions, CertificateSource, CertificateStatus, NoCertificate};
use super::rotation::{self, Rotation};
use super::slot::Slot;
use super::store::KeyStore;
use crate::model::identity::Identity;
use crate::tls::trust::{PeerRole, Revocation};
use crate::tls::verify::{PeerRefused, TrustedDomains};
use crate::tls::workload_certificate::WorkloadCertificate;

/// How long a [`Certificates::get`] waits for a first certificate: longer than a healthy CA needs, shorter than an
/// application's patience.
pub const GET_TIMEOUT: Duration = Duration::from_secs(5);

/// How many peers are checked again in a row.
const PEERS_IN_A_ROW: usize = 16;

/// A handle to the certificates of this process. Cheap to clone; when the last one goes, renewing ends.
#[derive(Debug, Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rotation: Arc<Rotation>,
    by_identity: RwLock<HashMap<Identity, Entry>>,
    runtime: Handle,
}

/// The certificate of one identity, and the task that renews it.
#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    renewal: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Certificates {
    /// Fetches nothing until an identity is asked for. If the `keys_dir` cannot be used, that is logged, and keys do not
    /// outlive a restart.
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
        let shared = Shared { rotation, by_identity: RwLock::default(), runtime: Handle::current() };
        Self { shared: Arc::new(shared) }
    }

    /// The current certificate of an identity. If there is none, it is requested, and this waits for it, at most
    /// [`GET_TIMEOUT`]; where the CA has just refused or cannot be reached, hardly at all.
    ///
    /// # Errors
    /// When none could be had (the request goes on being retried with backoff in the background).
    pub async fn get(&self, identity: &Identity) -> Result<Arc<WorkloadCertificate>, NoCertificate> {
        let slot = self.slot(identity);
        let clock = &self.shared.rotation.options.clock;
        match slot.valid_at(clock()) {
            Some(certificate) => Ok(certificate),
            None => slot.wait(GET_TIMEOUT, || self.shared.rotation.ca_unavailable(), clock).await,
        }
    }

    /// Starts fetching without waiting, for a pod that was just enrolled.
    pub fn prefetch(&self, identity: &Identity) {
        self.slot(identity);
    }

    /// Stops renewing and deletes the key: no pod of this node carries this identity any more, nor the one that the same service
    /// account has in another trust domain, which the mesh may have had since.
    pub fn forget(&self, identity: &Identity) {
        let Identity { namespace, service_account, .. } = identity;
        let is_meant = |known: &Identity| known.namespace == *namespace && known.service_account == *service_account;
        let forgotten: Vec<(Identity, Entry)> =
            self.shared.by_identity.write().extract_if(|known, _| is_meant(known)).collect();
        for (identity, entry) in forgotten {
            let store = self.shared.rotation.store.as_ref();
            entry.slot.close(|| store.map_or((), |store| store.remove(&identity)));
        }
    }

    /// Trusts these roots (PEM, one each) besides those that come with certificates: while a CA is replaced, some peers
    /// have certificates of the old one and some of the new one. A certificate whose own root is not among them is renewed.
    pub fn trust(&self, bundle: Vec<String>) {
        let rotation = &self.shared.rotation;
        rotation.extra_roots.store(Arc::new(bundle));
        let bundle = rotation.extra_roots.load_full();
        for entry in self.shared.by_identity.read().values() {
            entry.slot.set_extra_roots(&bundle);
        }
        rotation.trust.changed();
    }

    /// Puts revocation lists in use, for peers and for the certificates of this process: one of its own that is revoked is
    /// renewed.
    pub fn set_revocation(&self, revocation: Revocation) {
        let rotation = &self.shared.rotation;
        rotation.trust.set_revocation(revocation);
        let now = (rotation.options.clock)();
        for entry in self.shared.by_identity.read().values() {
            entry.slot.renew_if_revoked(now);
        }
    }

    /// The revocation lists in use.
    #[cfg(test)]
    pub(super) fn revocation(&self) -> Arc<Revocation> {
        self.shared.rotation.trust.revocation()
    }

    /// Tells of every change of what is trusted.
    #[must_use]
    pub fn watch_trust(&self) -> watch::Receiver<u64> {
        self.shared.rotation.trust.watch()
    }

    /// Checks the peers of all open connections again, as if they shook hands now. A connection whose peer would be refused learns
    /// of it by its `LivePeer`; returns on which side those peers are, and why they would be.
    pub async fn check_peers(&self, trusted: &TrustedDomains) -> Vec<(PeerRole, PeerRefused)> {
        let rotation = &self.shared.rotation;
        let mut refused = Vec::new();
        for (at, peer) in rotation.trust.peers().into_iter().enumerate() {
            // Signatures are verified: others get their turn.
            if at % PEERS_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
            let slot = self.shared.by_identity.read().get(&peer.shown.own).map(|entry| entry.slot.clone());
            // A pod that is gone, or one whose certificate is being fetched anew, has nothing to check by.
            let Some(own) = slot.and_then(|slot| slot.current()) else { continue };
            match own.check_again(&peer.shown, trusted, (rotation.options.clock)()) {
                // Connections end with their peer's certificate by themselves.
                Ok(()) | Err(PeerRefused::Expired) => {}
                Err(why) if peer.refuse(why.is_about_revocation()) => refused.push((peer.shown.role, why)),
                Err(_) => {}
            }
        }
        refused
    }

    /// Records that the CA cannot be reached, as its other channel found out: whoever needs a new certificate meanwhile
    /// fails at once.
    pub fn set_ca_unavailable(&self, reason: &str) {
        self.shared.rotation.set_ca_unavailable(Some(reason.into()));
    }

    /// Tries again at once what failed: the CA is back, or a new token is there.
    pub fn retry(&self) {
        self.shared.rotation.set_ca_unavailable(None);
        self.shared.rotation.retry.notify_waiters();
    }

    /// The status of every identity, sorted by identity.
    #[must_use]
    pub fn status(&self) -> Vec<CertificateStatus> {
        let mut all: Vec<_> = self.shared.by_identity.read().values().map(|entry| entry.slot.status()).collect();
        all.sort_by(|one, other| one.identity.cmp(&other.identity));
        all
    }

    /// The place of this identity's certificate. The first caller starts the task that fills it; all wait for the same.
    fn slot(&self, identity: &Identity) -> Arc<Slot> {
        if let Some(entry) = self.shared.by_identity.read().get(identity) {
            return entry.slot.clone();
        }
        let mut by_identity = self.shared.by_identity.write();
        let entry = by_identity.entry(identity.clone()).or_insert_with(|| {
            let slot = Arc::new(Slot::new(identity.clone()));
            let task = self.shared.runtime.spawn(rotation::run(self.shared.rotation.clone(), slot.clone()));
            Entry { slot, renewal: task.abort_handle() }
        });
        entry.slot.clone()
    }
}
