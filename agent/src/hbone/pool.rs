//! HBONE connections of one origin, shared by streams to the same peer under the same identity.
//!
//! A stream takes a slot on an open connection, or on one that is being opened, or opens another: whoever waits, waits
//! for a connection that has a slot for it, never in line behind a failing one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderMap;
use parking_lot::Mutex;

use super::connection::{HboneConnection, StreamSlot};
use super::dialer::{Dialer, Origin, Sent, Target};
use super::error::{HboneError, Retry};
use super::stream::HboneStream;
use crate::model::identity::Identity;

/// How often a request that no peer has seen, or whose peer is gone, is sent again.
const RETRIES: u32 = 3;
/// How often it is where nobody listens: the agent there is being started, and its pods' connections wait for it meanwhile.
/// Not for long, should it not be: nine tenths of a second with the pauses.
const RETRIES_WITHOUT_LISTENER: u32 = 6;
/// How often it is where this process has no file descriptor left, as long as a connection attempt may take by default: ten
/// seconds with the pauses.
const RETRIES_WITHOUT_DESCRIPTOR: u32 = 14;
/// Pause before another attempt; it grows with the square of their number.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

type Opening = Shared<BoxFuture<'static, Result<Arc<HboneConnection>, HboneError>>>;

/// How HBONE connections are shared.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Streams on one connection, at most.
    pub max_streams: u32,
    /// How long a connection without streams is kept.
    pub idle: Duration,
}

/// The connections of one origin on one worker.
#[derive(Debug)]
pub(crate) struct Pool<O> {
    dialer: Arc<Dialer<O>>,
    options: PoolOptions,
    peers: Mutex<HashMap<Target, PeerConnections>>,
}

/// The connections to one target, open and on their way.
#[derive(Debug, Default)]
struct PeerConnections {
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

/// Where a stream may be opened.
enum Slot {
    /// On a connection that is open.
    Ready(StreamSlot),
    /// On a connection that is being opened.
    Pending { id: u64, opening: Opening },
}

/// What one attempt to open a stream came to.
enum Attempt {
    /// With the identity that the peer proved.
    Opened(HboneStream, Identity),
    /// The peer has not seen the request: its connection takes no more.
    NotSeen,
}

impl<O: Origin> Pool<O> {
    #[must_use]
    pub(crate) fn new(dialer: Arc<Dialer<O>>, options: PoolOptions) -> Self {
        Self { dialer, options, peers: Mutex::default() }
    }

    /// Opens a stream to a peer; returns it with the identity that the peer proved.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(crate) async fn open(
        &self,
        target: &Target,
        authority: &str,
        headers: &HeaderMap,
    ) -> Result<(HboneStream, Identity), HboneError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(target, authority, headers).await {
                Ok(Attempt::Opened(stream, peer_identity)) => return Ok((stream, peer_identity)),
                Ok(Attempt::NotSeen) if attempt > RETRIES => return Err(HboneError::request_timeout(target.peer)),
                Ok(Attempt::NotSeen) => {}
                // Another attempt may do better; `Retry` says for which reasons, and how often it is made.
                Err(error) if attempt <= retries(error.failure().retry) => {
                    let failure = error.failure();
                    tracing::debug!(
                        peer = %target.peer, %error, attempt, failed = ?failure.by, failure.request_sent,
                        "no connection to the peer, trying another"
                    );
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
    pub(crate) async fn prepare(&self, target: &Target) -> Result<(), HboneError> {
        self.slot(target).await.map(drop)
    }

    async fn attempt(&self, target: &Target, authority: &str, headers: &HeaderMap) -> Result<Attempt, HboneError> {
        let slot = self.slot(target).await?;
        let peer_identity = slot.connection().peer_identity.clone();
        match slot.request(authority, headers, self.dialer.request_timeout).await? {
            Sent::Accepted(stream) => Ok(Attempt::Opened(stream, peer_identity)),
            Sent::NotSeen(slot) => {
                slot.connection().close_to_new_streams();
                Ok(Attempt::NotSeen)
            }
        }
    }

    async fn slot(&self, target: &Target) -> Result<StreamSlot, HboneError> {
        loop {
            let (id, opening) = match self.reserve(target) {
                Slot::Ready(slot) => return Ok(slot),
                Slot::Pending { id, opening } => (id, opening),
            };
            let opened = opening.await;
            self.settle(target, id, &opened);
            let connection = opened?;
            if let Some(slot) = connection.reserve(self.options.max_streams) {
                return Ok(slot);
            }
        }
    }

    fn reserve(&self, target: &Target) -> Slot {
        let mut peers = self.peers.lock();
        let peer = peers.entry(target.clone()).or_default();
        if let Some(slot) = peer.open.iter().rev().find_map(|open| open.reserve(self.options.max_streams)) {
            return Slot::Ready(slot);
        }
        if let Some(pending) = peer.opening.iter_mut().find(|pending| pending.waiting < self.options.max_streams) {
            pending.waiting += 1;
            return Slot::Pending { id: pending.id, opening: pending.future.clone() };
        }
        let (dialer, goal, peer_addr) = (self.dialer.clone(), target.clone(), target.peer);
        // Spawned, so that the connection comes to be even if the first to ask gives up.
        let task = tokio::spawn(async move { dialer.dial(&goal).await });
        let opening = async move { task.await.unwrap_or_else(|_| Err(HboneError::request_timeout(peer_addr))) };
        let opening = opening.boxed().shared();
        let id = rand::random();
        peer.opening.push(PendingConnection { id, future: opening.clone(), waiting: 1 });
        Slot::Pending { id, opening }
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

/// How often a request is sent again after such a failure.
fn retries(retry: Retry) -> u32 {
    match retry {
        Retry::No => 0,
        Retry::PeerGone => RETRIES,
        Retry::NobodyListens => RETRIES_WITHOUT_LISTENER,
        Retry::NoDescriptor => RETRIES_WITHOUT_DESCRIPTOR,
    }
}

/// Closes idle connections of an origin until it leaves; then, nothing is kept for streams to come.
pub(crate) async fn sweep<O: Origin>(pools: &[Pool<O>], left: impl Future<Output = ()>) {
    let idle = pools.iter().map(|pool| pool.options.idle).min().unwrap_or(SWEEP_INTERVAL);
    let mut interval = tokio::time::interval(SWEEP_INTERVAL.min(idle));
    let mut left = std::pin::pin!(left);
    loop {
        tokio::select! {
            _ = interval.tick() => pools.iter().for_each(Pool::drop_stale),
            () = &mut left => break,
        }
    }
    for pool in pools {
        pool.peers.lock().clear();
    }
}
