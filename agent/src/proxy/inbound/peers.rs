//! Peers of a pod, and how much one holds of what the pod may have inbound. A peer is an identity, wherever it connects from.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::hbone::Activity;
use crate::limits::{Held, Limit};
use crate::model::identity::Identity;
use crate::tls::handshake::CertificateHash;

/// Peers that are remembered before those are looked for that hold nothing any more.
const FIRST_SWEEP_AT: usize = 64;

/// The authenticated peer of an HBONE connection, or of what takes its place on one node.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct AuthenticatedPeer {
    pub(in crate::proxy) identity: Identity,
    /// Of its certificate.
    pub(in crate::proxy) certificate: CertificateHash,
    pub(in crate::proxy) addr: SocketAddr,
    /// The pod's address and port that the peer dialled.
    pub(in crate::proxy) listener: SocketAddr,
    /// What the peer may hold of the pod's inbound connections.
    pub(in crate::proxy) limit: Arc<Limit>,
    /// The requests that the connection carries: those that were granted, and have not ended.
    pub(in crate::proxy) activity: Arc<Activity>,
}

/// What each peer of a pod holds.
#[derive(Debug)]
pub(in crate::proxy) struct InboundPeers {
    /// What each may hold.
    limit: Limit,
    by_identity: Mutex<ByIdentity>,
}

#[derive(Debug)]
struct ByIdentity {
    limits: HashMap<Identity, Arc<Limit>>,
    sweep_at: usize,
}

impl InboundPeers {
    pub(in crate::proxy) fn new(limit: &Limit) -> Self {
        let by_identity = ByIdentity { limits: HashMap::new(), sweep_at: FIRST_SWEEP_AT };
        Self { limit: limit.clone(), by_identity: Mutex::new(by_identity) }
    }

    /// Counts an HBONE connection of a peer, and returns the peer's limit, from which each request on it takes one, too. `None`
    /// where the peer holds as much as one peer may.
    pub(in crate::proxy) fn connect(&self, identity: &Identity) -> Option<(Held, Arc<Limit>)> {
        let mut peers = self.by_identity.lock();
        let ByIdentity { limits, sweep_at } = &mut *peers;
        if limits.len() >= *sweep_at {
            limits.retain(|_, limit| limit.held() > 0);
            *sweep_at = (limits.len() * 2).max(FIRST_SWEEP_AT);
        }
        let new = || Arc::new(self.limit.another(self.limit.maximum()));
        let limit = limits.entry(identity.clone()).or_insert_with(new);
        // Taken before anybody else can find that the peer holds nothing.
        limit.try_take().map(|held| (held, limit.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LimitKind, NodeLimits};
    use crate::model::identity::TrustDomain;

    fn identity(account: &str) -> Identity {
        Identity::new(TrustDomain::new(""), "shop", account)
    }

    #[test]
    fn a_peer_shares_its_limit_with_itself_alone() {
        let limits = NodeLimits::new(|_| 2).for_pod();
        let peers = InboundPeers::new(limits.of(LimitKind::InboundOfPeer));
        let (first, limit) = peers.connect(&identity("web")).expect("it holds nothing");
        let request = limit.try_take().expect("it holds one");
        assert!(peers.connect(&identity("web")).is_none(), "it holds two");
        assert!(peers.connect(&identity("cart")).is_some(), "another peer");
        drop(request);
        assert!(peers.connect(&identity("web")).is_some(), "one was given back");
        drop(first);
    }

    #[test]
    fn peers_that_hold_nothing_are_forgotten() {
        let limits = NodeLimits::new(|_| 2).for_pod();
        let peers = InboundPeers::new(limits.of(LimitKind::InboundOfPeer));
        let kept = peers.connect(&identity("kept"));
        for number in 0..10 * FIRST_SWEEP_AT {
            peers.connect(&identity(&number.to_string()));
        }
        let limits = &peers.by_identity.lock().limits;
        assert!(limits.len() <= FIRST_SWEEP_AT && limits.contains_key(&identity("kept")), "{}", limits.len());
        drop(kept);
    }
}
