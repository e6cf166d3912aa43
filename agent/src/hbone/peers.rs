//! The HBONE connections of one origin on one worker, by target: those that are open, and those on their way.
//!
//! A connection on its way outlives whoever asked for it first, as others may wait for it or come soon. But not for long: where
//! nobody waits any more, it is given up, so that clients which leave at once leave nothing behind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::connection::{Counted, HboneConnection, StreamSlot};
use super::dialer::Target;
use super::error::HboneError;
use super::request_stream::RequestSlot;
use crate::limits::Limit;

/// How long a connection without streams is kept beside another one to the same peer that has none either: many connections of
/// applications, closed all at once, leave as many as they needed.
const SPARE_IDLE_PERIOD: Duration = Duration::from_secs(10);
/// How often it is seen whether somebody waits for a connection that is on its way.
const UNWANTED_PERIOD: Duration = Duration::from_secs(1);

/// Destinations of one peer of which it is remembered how they want requests: a pod has few ports.
const MAX_DESTINATIONS: usize = 64;

pub(super) type Opening = Shared<BoxFuture<'static, Result<Arc<HboneConnection>, HboneError>>>;

/// How HBONE connections are shared.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Streams on one connection, at most.
    pub max_streams: u32,
    /// How long a connection without streams is kept.
    pub idle: Duration,
    /// Whether what applications send goes with the CONNECT request, before the peer has granted it.
    pub optimistic_data: bool,
    /// Whether requests travel as streams of their own between agents that both say so.
    pub request_streams: bool,
    /// Whether requests between pods of one node do without.
    pub in_process: bool,
}

/// How many connections an origin may have, those on their way included, until they are closed.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// To one peer, on one worker.
    pub(crate) peer: Limit,
    /// To all peers, on all workers.
    pub(crate) origin: Limit,
    /// Told when `origin` is reached: idle connections are to make room.
    pub(crate) crowded: Arc<Notify>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Peers {
    options: PoolOptions,
    limits: ConnectionLimits,
    by_target: Mutex<HashMap<Target, PeerConnections>>,
}

/// The connections to one target, open and on their way.
#[derive(Debug)]
struct PeerConnections {
    /// Those that take streams.
    open: Vec<Arc<HboneConnection>>,
    opening: Vec<PendingConnection>,
    /// By destination, as the authority of CONNECT names it: whether the peer wants requests as streams of their own.
    wants_streams: HashMap<Box<str>, Arc<AtomicBool>>,
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

/// Where a stream may be opened.
pub(super) enum Slot {
    /// On a connection that is open.
    Ready(StreamSlot),
    /// On a connection that is being opened. `waiting` is kept as long as somebody waits for it.
    Pending { opening: Opening, waiting: Arc<()> },
}

impl Peers {
    pub(super) fn new(options: PoolOptions, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { options, limits, by_target: Mutex::default() })
    }

    /// Finds a slot for a stream. Where there is none, `dial` starts a connection, which has this number until it is settled.
    ///
    /// # Errors
    /// Where the origin has as many connections as it may have.
    pub(super) fn slot(&self, target: &Target, dial: impl FnOnce(u64, Counted) -> Opening) -> Result<Slot, HboneError> {
        let mut peers = self.by_target.lock();
        if !peers.contains_key(target) {
            peers.insert(target.clone(), PeerConnections::new(&self.limits.peer));
        }
        let peer = peers.get_mut(target).expect("it is there, or was inserted");
        let place = peer.place(self.options.max_streams);
        if let Some(slot) = place {
            return Ok(slot);
        }
        let counted = match self.count(target, &peer.connections) {
            Ok(counted) => counted,
            Err(error) => {
                if !peer.is_in_use() {
                    peers.remove(target);
                }
                return Err(error);
            }
        };
        let (id, waiting) = (rand::random(), Arc::new(()));
        tracing::debug!(peer = %target.peer, open = peer.open.len(), opening = peer.opening.len(), "an HBONE connection is dialled");
        let opening = dial(id, counted);
        peer.opening.push(PendingConnection { id, future: opening.clone(), waiting: waiting.clone() });
        Ok(Slot::Pending { opening, waiting })
    }

    /// A place for a request as a stream of its own: on a connection that is open, where the peer wants that.
    pub(super) fn request_slot(&self, target: &Target, authority: &str) -> Option<RequestSlot> {
        let peers = self.by_target.lock();
        let peer = peers.get(target)?;
        let wants = peer.wants_streams.get(authority).filter(|wants| wants.load(Ordering::Relaxed))?;
        let mut open = peer.open.iter().rev().filter(|open| open.has_request_streams());
        let slot = open.find_map(|open| open.reserve(self.options.max_streams))?;
        Some(RequestSlot::new(slot, wants.clone()))
    }

    /// Remembers how a peer wants requests to a destination.
    pub(super) fn note_carriage(&self, target: &Target, authority: &str, as_streams: bool) {
        let mut peers = self.by_target.lock();
        let Some(peer) = peers.get_mut(target) else { return };
        match peer.wants_streams.get(authority) {
            Some(wants) => wants.store(as_streams, Ordering::Relaxed),
            None if !as_streams => {}
            None => {
                if peer.wants_streams.len() >= MAX_DESTINATIONS {
                    peer.wants_streams.clear();
                }
                peer.wants_streams.insert(authority.into(), Arc::new(AtomicBool::new(true)));
            }
        }
    }

    /// Counts a connection to a peer that is about to be dialled.
    fn count(&self, target: &Target, of_peer: &Limit) -> Result<Counted, HboneError> {
        let Some(peer) = of_peer.try_take() else {
            return Err(HboneError::too_many_connections_to_peer(target.peer, of_peer.maximum()));
        };
        let Some(origin) = self.limits.origin.try_take() else {
            self.limits.crowded.notify_one();
            return Err(HboneError::too_many_connections(self.limits.origin.maximum()));
        };
        Ok(Counted { _peer: peer, _origin: origin })
    }

    /// A connection is no longer on its way: it is open, or failed.
    pub(super) fn settle(&self, target: &Target, id: u64, opened: &Result<Arc<HboneConnection>, HboneError>) {
        let mut peers = self.by_target.lock();
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

    /// Forgets a connection on its way where nobody waits for it. False where somebody does.
    fn forget_unwanted(&self, target: &Target, id: u64) -> bool {
        let mut peers = self.by_target.lock();
        let Some(peer) = peers.get_mut(target) else { return true };
        if peer.opening.iter().any(|pending| pending.id == id && count(&pending.waiting) > 0) {
            return false;
        }
        peer.opening.retain(|pending| pending.id != id);
        if !peer.is_in_use() {
            peers.remove(target);
        }
        true
    }

    /// Closes connections of no more use, and idle ones.
    pub(super) fn drop_stale(&self) {
        self.by_target.lock().retain(|_, peer| {
            peer.drop_stale(self.options.idle);
            peer.is_in_use()
        });
    }

    /// For how long each connection without streams has had none.
    pub(super) fn idle(&self) -> Vec<Duration> {
        let peers = self.by_target.lock();
        peers.values().flat_map(|peer| &peer.open).filter_map(|open| open.idle_for()).collect()
    }

    /// Closes the connections that have had no stream for so long.
    pub(super) fn drop_idle(&self, too_long: Duration) {
        self.by_target.lock().retain(|_, peer| {
            peer.open.retain(|open| open.idle_for().is_none_or(|idle| idle < too_long));
            peer.is_in_use()
        });
    }

    /// Keeps nothing for streams to come.
    pub(super) fn clear(&self) {
        self.by_target.lock().clear();
    }
}

/// Resolves once nobody waits for a connection that is on its way; whoever comes then finds another.
pub(super) async fn unwanted(peers: &Weak<Peers>, target: &Target, id: u64) {
    loop {
        tokio::time::sleep(UNWANTED_PERIOD).await;
        if peers.upgrade().is_none_or(|peers| peers.forget_unwanted(target, id)) {
            return;
        }
    }
}

/// How many clones of a counter there are besides the one that its owner keeps.
fn count(counter: &Arc<()>) -> usize {
    Arc::strong_count(counter) - 1
}

impl PeerConnections {
    fn new(limit: &Limit) -> Self {
        let connections = limit.another(limit.maximum());
        Self { open: Vec::new(), opening: Vec::new(), wants_streams: HashMap::new(), connections }
    }

    /// A slot on a connection that is there already, or on its way.
    fn place(&self, max_streams: u32) -> Option<Slot> {
        if let Some(slot) = self.open.iter().rev().find_map(|open| open.reserve(max_streams)) {
            return Some(Slot::Ready(slot));
        }
        let pending = self.opening.iter().find(|pending| count(&pending.waiting) < max_streams as usize)?;
        Some(Slot::Pending { opening: pending.future.clone(), waiting: pending.waiting.clone() })
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
