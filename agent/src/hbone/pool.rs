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
use crate::limits::Limit;
use crate::model::identity::Identity;

/// How often a request that no peer has seen, or whose peer is gone, is sent again.
const RETRIES: u32 = 3;
/// How often it is where nobody listens: the agent there is being started, and its pods' connections wait for it meanwhile.
/// Not for long, should it not be: nine tenths of a second with the pauses.
const RETRIES_WITHOUT_LISTENER: u32 = 6;
/// How often it is where this process has no file descriptor left, or the pod no further connection to this peer: as long as
/// a connection attempt may take by default, ten seconds with the pauses.
const RETRIES_WHILE_NONE_FREE: u32 = 14;
/// Pause before another attempt; it grows with the square of their number.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How long a connection without streams is kept beside another one to the same peer that has none either: many connections of
/// applications, closed all at once, leave as many as they needed.
const SPARE_IDLE_PERIOD: Duration = Duration::from_secs(10);
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
    /// Connections to one peer.
    connections: Limit,
    peers: Mutex<HashMap<Target, PeerConnections>>,
}

/// The connections to one target, open and on their way.
#[derive(Debug)]
struct PeerConnections {
    /// Those that take streams.
    open: Vec<Arc<HboneConnection>>,
    opening: Vec<PendingConnection>,
    /// Bounds its connections, from before they are dialled until they are closed.
    connections: Limit,
}

/// A connection on its way.
#[derive(Debug)]
struct PendingConnection {
    id: u64,
    future: Opening,
    /// Counts those who wait for it: each has a clone.
    waiting: Arc<()>,
}

/// How many clones of a counter there are besides the one that its owner keeps.
fn count(counter: &Arc<()>) -> usize {
    Arc::strong_count(counter) - 1
}

impl PeerConnections {
    fn new(limit: &Limit) -> Self {
        Self { open: Vec::new(), opening: Vec::new(), connections: limit.another(limit.maximum()) }
    }

    /// Closes connections of no more use, and idle ones but the last of them.
    fn drop_stale(&mut self, idle: Duration) {
        let is_spare = |open: &Arc<HboneConnection>| open.is_stale(SPARE_IDLE_PERIOD.min(idle));
        let mut spare = self.open.iter().filter(|open| !open.is_stale(idle) && is_spare(open)).count();
        self.open.retain(|open| {
            if open.is_stale(idle) {
                return false;
            }
            if !is_spare(open) {
                return true;
            }
            spare = spare.saturating_sub(1);
            spare == 0
        });
    }

    /// Whether anything is left to be remembered of it.
    fn is_in_use(&self) -> bool {
        !self.open.is_empty() || !self.opening.is_empty() || self.connections.held() > 0
    }
}

/// Where a stream may be opened.
enum Slot {
    /// On a connection that is open.
    Ready(StreamSlot),
    /// On a connection that is being opened.
    Pending { id: u64, opening: Opening, waiting: Arc<()> },
}

/// What one attempt to open a stream came to.
enum Attempt {
    /// With the identity that the peer proved.
    Opened(HboneStream, Identity),
    /// The peer has not seen the request: its connection takes no more.
    NotSeen,
}

impl<O: Origin> Pool<O> {
    /// A pool without connections. `connections`: how many to one peer.
    #[must_use]
    pub(crate) fn new(dialer: Arc<Dialer<O>>, options: PoolOptions, connections: Limit) -> Self {
        Self { dialer, options, connections, peers: Mutex::default() }
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
                // At once the first time: the connection that takes no more may have been an old one.
                Ok(Attempt::NotSeen) if attempt == 1 => {}
                Ok(Attempt::NotSeen) => pause_before(attempt).await,
                // Another attempt may do better; `Retry` says for which reasons, and how often it is made.
                Err(error) if attempt <= retries(error.failure().retry) => {
                    let failure = error.failure();
                    tracing::debug!(
                        peer = %target.peer, %error, attempt, failed = ?failure.by, failure.request_sent,
                        "no connection to the peer, trying another"
                    );
                    pause_before(attempt).await;
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
            let (id, opening, _waiting) = match self.reserve(target)? {
                Slot::Ready(slot) => return Ok(slot),
                Slot::Pending { id, opening, waiting } => (id, opening, waiting),
            };
            let opened = opening.await;
            self.settle(target, id, &opened);
            let connection = opened?;
            match connection.reserve(self.options.max_streams) {
                Some(slot) => return Ok(slot),
                // Others who waited for it were faster.
                None if connection.was_used() => {}
                None => return Err(HboneError::no_streams(target.peer)),
            }
        }
    }

    fn reserve(&self, target: &Target) -> Result<Slot, HboneError> {
        let mut peers = self.peers.lock();
        if !peers.contains_key(target) {
            peers.insert(target.clone(), PeerConnections::new(&self.connections));
        }
        let peer = peers.get_mut(target).expect("it is there, or was inserted");
        if let Some(slot) = peer.open.iter().rev().find_map(|open| open.reserve(self.options.max_streams)) {
            return Ok(Slot::Ready(slot));
        }
        let has_place = |pending: &&PendingConnection| count(&pending.waiting) < self.options.max_streams as usize;
        if let Some(PendingConnection { id, future, waiting }) = peer.opening.iter().find(has_place) {
            return Ok(Slot::Pending { id: *id, opening: future.clone(), waiting: waiting.clone() });
        }
        let Some(counted) = peer.connections.try_take() else {
            return Err(HboneError::too_many_connections(target.peer, peer.connections.maximum()));
        };
        let (dialer, goal, peer_addr) = (self.dialer.clone(), target.clone(), target.peer);
        // Spawned, so that the connection comes to be even if the first to ask gives up.
        let task = tokio::spawn(async move { dialer.dial(&goal, counted).await });
        let opening = async move { task.await.unwrap_or_else(|_| Err(HboneError::request_timeout(peer_addr))) };
        let opening = opening.boxed().shared();
        let (id, counter) = (rand::random(), Arc::new(()));
        let waiting = counter.clone();
        peer.opening.push(PendingConnection { id, future: opening.clone(), waiting: counter });
        Ok(Slot::Pending { id, opening, waiting })
    }

    /// The first waiter to see a connection opened moves it to the open ones.
    fn settle(&self, target: &Target, id: u64, opened: &Result<Arc<HboneConnection>, HboneError>) {
        let mut peers = self.peers.lock();
        let Some(peer) = peers.get_mut(target) else { return };
        let Some(at) = peer.opening.iter().position(|pending| pending.id == id) else { return };
        peer.opening.swap_remove(at);
        peer.drop_stale(self.options.idle);
        match opened {
            // One that takes none is closed as soon as those who waited for it have seen it.
            Ok(connection) if connection.takes_streams() => peer.open.push(connection.clone()),
            _ => {}
        }
        if !peer.is_in_use() {
            peers.remove(target);
        }
    }

    fn drop_stale(&self) {
        let mut peers = self.peers.lock();
        peers.retain(|_, peer| {
            peer.drop_stale(self.options.idle);
            peer.is_in_use()
        });
    }
}

/// Waits before another attempt, the longer the more were made.
async fn pause_before(attempt: u32) {
    tokio::time::sleep(RETRY_PAUSE * attempt * attempt).await;
}

/// How often a request is sent again after such a failure.
fn retries(retry: Retry) -> u32 {
    match retry {
        Retry::No => 0,
        Retry::PeerGone => RETRIES,
        Retry::NobodyListens => RETRIES_WITHOUT_LISTENER,
        Retry::NoneFree => RETRIES_WHILE_NONE_FREE,
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
