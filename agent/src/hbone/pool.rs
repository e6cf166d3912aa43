//! HBONE connections of one pod, shared by streams to the same peer under the same identity.
//!
//! A stream takes a place on an open connection, or on one that is being opened, or opens another: whoever waits, waits
//! for a connection that has a place for it, never in line behind a failing one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderMap;
use parking_lot::Mutex;

use super::HboneStream;
pub use super::client::{HboneError, Target};
use super::connection::{HboneConnection, StreamSlot};
use crate::model::identity::Identity;
use crate::proxy::{PodProxy, PoolOptions};

/// How often a request that no peer has seen, or whose peer is gone, is sent again.
const RETRIES: u32 = 3;
/// How often it is where nobody listens: the agent there is being started, and its pods' connections wait for it meanwhile.
/// Not for long, should it not be: nine tenths of a second with the pauses.
const RETRIES_WITHOUT_LISTENER: u32 = 6;
/// Pause before another connection to a peer that was gone; longer every time.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

type Opening = Shared<BoxFuture<'static, Result<Arc<HboneConnection>, HboneError>>>;

/// The connections of one pod on one worker.
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    peers: Mutex<HashMap<Target, Peer>>,
}

#[derive(Debug, Default)]
struct Peer {
    open: Vec<Arc<HboneConnection>>,
    opening: Vec<PendingConnection>,
}

/// A connection on its way, and how many wait for it.
#[derive(Debug)]
struct PendingConnection {
    id: u64,
    future: Opening,
    waiting: u32,
}

impl Pool {
    #[must_use]
    pub fn new(options: PoolOptions) -> Self {
        Self { options, peers: Mutex::default() }
    }

    /// Opens a stream to a peer; returns it with the identity the peer proved.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(crate) async fn open(
        served: &Arc<PodProxy>,
        target: &Target,
        authority: &str,
        headers: &HeaderMap,
    ) -> Result<(HboneStream, Identity), HboneError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::attempt(served, target, authority, headers).await {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) if attempt > RETRIES => return Err(HboneError::RequestTimeout { peer: target.peer }),
                Ok(None) => {}
                // Its agent has just died: the next connection waits for the one that follows. No byte of the application
                // is on its way before the answer, so none arrives twice.
                Err(error)
                    if error.is_peer_gone() && attempt <= RETRIES
                        || error.is_nobody_listening() && attempt <= RETRIES_WITHOUT_LISTENER =>
                {
                    tracing::debug!(peer = %target.peer, %error, attempt, "the peer is gone, trying another connection");
                    tokio::time::sleep(RETRY_PAUSE * attempt * attempt).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sees to it that there is a connection to a peer, for streams to come.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(crate) async fn prepare(served: &Arc<PodProxy>, target: &Target) -> Result<(), HboneError> {
        served.pool().slot(served, target).await.map(drop)
    }

    /// `None` if the connection takes no more requests.
    async fn attempt(
        served: &Arc<PodProxy>,
        target: &Target,
        authority: &str,
        headers: &HeaderMap,
    ) -> Result<Option<(HboneStream, Identity)>, HboneError> {
        let slot = served.pool().slot(served, target).await?;
        let peer_identity = slot.connection().peer_identity.clone();
        match slot.request(authority, headers, served.proxy.timeouts).await? {
            Ok(stream) => Ok(Some((stream, peer_identity))),
            Err(slot) => {
                slot.connection().close_to_new_streams();
                Ok(None)
            }
        }
    }

    async fn slot(&self, served: &Arc<PodProxy>, target: &Target) -> Result<StreamSlot, HboneError> {
        loop {
            let (id, opening) = match self.take_or_wait(served, target) {
                Ok(slot) => return Ok(slot),
                Err(pending) => pending,
            };
            let opened = opening.await;
            self.settle(target, id, &opened);
            let connection = opened?;
            if let Some(slot) = connection.reserve(self.options.max_streams) {
                return Ok(slot);
            }
        }
    }

    /// A place on an open connection, or a connection to wait for.
    fn take_or_wait(&self, served: &Arc<PodProxy>, target: &Target) -> Result<StreamSlot, (u64, Opening)> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(target.clone()).or_default();
        if let Some(slot) = peer.open.iter().rev().find_map(|open| open.reserve(self.options.max_streams)) {
            return Ok(slot);
        }
        if let Some(pending) = peer.opening.iter_mut().find(|pending| pending.waiting < self.options.max_streams) {
            pending.waiting += 1;
            return Err((pending.id, pending.future.clone()));
        }
        let (owner, goal) = (served.clone(), target.clone());
        // Spawned, so that the connection comes to be even if the first to ask gives up.
        let task = tokio::spawn(async move { HboneConnection::open(&owner, &goal).await });
        let peer_addr = target.peer;
        let future = async move { task.await.unwrap_or(Err(HboneError::RequestTimeout { peer: peer_addr })) };
        let future = future.boxed().shared();
        let id = rand::random();
        peer.opening.push(PendingConnection { id, future: future.clone(), waiting: 1 });
        Err((id, future))
    }

    /// The first waiter to see a connection opened moves it to the open ones.
    fn settle(&self, target: &Target, id: u64, opened: &Result<Arc<HboneConnection>, HboneError>) {
        let mut peers = self.peers.lock();
        let Some(peer) = peers.get_mut(target) else { return };
        let Some(at) = peer.opening.iter().position(|pending| pending.id == id) else { return };
        peer.opening.swap_remove(at);
        if let Ok(connection) = opened {
            peer.open.retain(|open| !open.is_stale(self.options.idle));
            peer.open.push(connection.clone());
        }
        if peer.open.is_empty() && peer.opening.is_empty() {
            peers.remove(target);
        }
    }

    fn drop_stale(&self) {
        let mut peers = self.peers.lock();
        peers.retain(|_, peer| {
            peer.open.retain(|open| !open.is_stale(self.options.idle));
            !(peer.open.is_empty() && peer.opening.is_empty())
        });
    }
}

/// Closes idle connections of a pod until it leaves.
pub(crate) async fn sweep(served: Arc<PodProxy>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL.min(served.proxy.pool.idle));
    loop {
        tokio::select! {
            _ = interval.tick() => served.pools.iter().for_each(Pool::drop_stale),
            () = served.pod.left.cancelled() => break,
            () = served.proxy.drain.draining() => break,
        }
    }
    for pool in &served.pools {
        pool.peers.lock().clear();
    }
}
