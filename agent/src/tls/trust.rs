//! What this process trusts besides the roots of a certificate: revocation lists. And whom it has trusted: the peers of open
//! connections, who are checked again whenever roots, trust domains or revocation lists change.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::revocation_lists::RevocationLists;
use crate::model::identity::Identity;

/// Which certificates are revoked, as far as is known.
#[derive(Debug, Default)]
pub enum Revocation {
    /// No lists are in use: none is.
    #[default]
    None,
    Lists(RevocationLists),
    /// There are lists that could never be read: any certificate may be on them.
    Unknown,
}

/// Shared by the certificates of this process and the connections that were made with them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trust(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    revocation: ArcSwap<Revocation>,
    /// Grows after every change of what is trusted.
    version: watch::Sender<u64>,
    peers: Mutex<Peers>,
}

#[derive(Debug, Default)]
struct Peers {
    open: BTreeMap<u64, Arc<Checked>>,
    next: u64,
}

/// Which side of a connection the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    Client,
    Server,
}

/// What a peer has shown in its handshake.
#[derive(Debug)]
pub(super) struct Shown {
    /// Under which identity this side accepted it.
    pub(super) own: Identity,
    pub(super) role: PeerRole,
    /// Leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// A peer that was checked, and what later checks have found.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) shown: Shown,
    distrusted: CancellationToken,
    distrusted_at: OnceLock<Instant>,
    revoked: CancellationToken,
}

/// The peer of an open connection. It is checked again when what is trusted changes, until this is dropped.
#[derive(Debug)]
pub struct LivePeer {
    trust: Trust,
    number: u64,
    checked: Arc<Checked>,
}

impl Trust {
    /// The version before a handshake; [`Trust::track`] takes it after.
    pub(super) fn version(&self) -> u64 {
        *self.0.version.borrow()
    }

    pub(super) fn revocation(&self) -> Arc<Revocation> {
        self.0.revocation.load_full()
    }

    /// Puts other lists in use.
    pub(super) fn set_revocation(&self, revocation: Revocation) {
        self.0.revocation.store(Arc::new(revocation));
        self.changed();
    }

    /// Something else that is trusted has changed: roots, or trust domains.
    pub(super) fn changed(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }

    /// Tells of every change.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Keeps what the peer of a connection has shown. `version`: as it was before the handshake. If it is another by now, the
    /// check in that handshake may have been of what was trusted before, and all peers are checked again.
    pub(super) fn track(&self, shown: Shown, version: u64) -> LivePeer {
        let (distrusted, revoked, distrusted_at) = Default::default();
        let checked = Arc::new(Checked { shown, distrusted, distrusted_at, revoked });
        let number = {
            let mut peers = self.0.peers.lock();
            let number = peers.next;
            peers.next += 1;
            peers.open.insert(number, checked.clone());
            number
        };
        if self.version() != version {
            self.changed();
        }
        LivePeer { trust: self.clone(), number, checked }
    }

    /// The peers of all open connections.
    pub(super) fn peers(&self) -> Vec<Arc<Checked>> {
        self.0.peers.lock().open.values().cloned().collect()
    }
}

impl Checked {
    /// A later check has refused the peer; `is_revoked`: because it is, or may be. True if none had before.
    pub(super) fn refuse(&self, is_revoked: bool) -> bool {
        let is_first = self.distrusted_at.set(Instant::now()).is_ok();
        if is_revoked {
            self.revoked.cancel();
        }
        self.distrusted.cancel();
        is_first
    }
}

impl LivePeer {
    /// Resolves once the peer would not be accepted any more.
    pub async fn distrusted(&self) {
        self.checked.distrusted.cancelled().await;
    }

    /// Resolves once a certificate of the peer's is revoked.
    pub async fn revoked(&self) {
        self.checked.revoked.cancelled().await;
    }

    /// When the peer's streams end that are open, if it is not accepted any more and they may take so long.
    #[must_use]
    pub fn ends_at(&self, drain: Duration) -> Option<Instant> {
        self.checked.distrusted_at.get().map(|at| *at + drain)
    }
}

impl Drop for LivePeer {
    fn drop(&mut self) {
        self.trust.0.peers.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::test_mesh::id;

    fn shown() -> Shown {
        Shown { own: id("spiffe://td/ns/shop/sa/web"), role: PeerRole::Client, chain: Vec::new() }
    }

    #[test]
    fn a_peer_is_known_for_as_long_as_its_connection_lasts() {
        let trust = Trust::default();
        let (one, other) = (trust.track(shown(), trust.version()), trust.track(shown(), trust.version()));
        assert_eq!(trust.peers().len(), 2);
        drop(one);
        assert_eq!(trust.peers().len(), 1);
        drop(other);
        assert_eq!(trust.peers().len(), 0);
    }

    #[test]
    fn a_handshake_that_saw_a_change_has_all_checked_again() {
        let trust = Trust::default();
        let mut watch = trust.watch();
        watch.mark_unchanged();
        let before = trust.version();
        let _sooner = trust.track(shown(), before);
        assert!(!watch.has_changed().unwrap());
        trust.set_revocation(Revocation::None);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        let _later = trust.track(shown(), before);
        assert!(watch.has_changed().unwrap(), "what it was checked against is no longer what counts");
    }

    #[tokio::test]
    async fn who_is_no_longer_trusted_drains_and_who_is_revoked_ends() {
        let trust = Trust::default();
        let drain = Duration::from_secs(30);
        let (removed, revoked) = (trust.track(shown(), 0), trust.track(shown(), 0));
        assert_eq!(removed.ends_at(drain), None);
        assert!(removed.checked.refuse(false));
        assert!(!removed.checked.refuse(false), "it is known already");
        removed.distrusted().await;
        assert!(!removed.checked.revoked.is_cancelled());
        assert!(removed.ends_at(drain).is_some_and(|at| at > Instant::now()));
        assert!(revoked.checked.refuse(true));
        revoked.distrusted().await;
        revoked.revoked().await;
    }
}
