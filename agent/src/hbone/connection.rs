//! An established HBONE connection as its streams share it: the slots on it, and since when it is idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::DropGuard;

use super::transport::Transport;
use crate::limits::Held;
use crate::model::identity::Identity;

/// An established connection, shared by streams.
#[derive(Debug)]
pub(super) struct HboneConnection {
    pub(super) transport: Arc<Transport>,
    /// Who the peer proved to be.
    pub(super) peer_identity: Identity,
    pub(super) peer: SocketAddr,
    streams: AtomicUsize,
    /// Whether it ever had a stream.
    used: AtomicBool,
    closed: AtomicBool,
    started: Instant,
    /// Milliseconds after `started` at which the last stream ended.
    idle_since_ms: AtomicU64,
    /// Ends the connection once dropped.
    _close: DropGuard,
    _counted: Counted,
}

/// Counts a connection among those to its peer and those of its origin, from before it is dialled until it is closed.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) _peer: Held,
    pub(super) _origin: Held,
}

/// A slot on a connection, held as long as its stream is open.
#[derive(Debug)]
pub(super) struct StreamSlot {
    connection: Arc<HboneConnection>,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let connection = &self.connection;
        let now = u64::try_from(connection.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        connection.idle_since_ms.store(now, Ordering::Relaxed);
        connection.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

impl HboneConnection {
    /// A connection without streams; dropping it drops `close`, and `counted`, which counts it.
    pub(super) fn new(
        transport: Arc<Transport>,
        peer_identity: Identity,
        peer: SocketAddr,
        close: DropGuard,
        counted: Counted,
    ) -> Arc<Self> {
        Arc::new(Self {
            transport,
            peer_identity,
            peer,
            streams: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            started: Instant::now(),
            idle_since_ms: AtomicU64::new(0),
            _close: close,
            _counted: counted,
        })
    }

    /// Takes a slot for a stream, where this connection has one left.
    pub(super) fn reserve(self: &Arc<Self>, max_streams: u32) -> Option<StreamSlot> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let limit = {
            let session = self.transport.session();
            if !session.http2.accepts_streams() || session.http2.is_stalled() {
                return None;
            }
            session.http2.max_streams().min(max_streams) as usize
        };
        let more = |open| (open < limit).then_some(open + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        self.used.store(true, Ordering::Relaxed);
        Some(StreamSlot { connection: self.clone() })
    }

    /// Whether the peer allows streams on it at all, and nobody has said that it takes no more.
    pub(super) fn takes_streams(&self) -> bool {
        let session = self.transport.session();
        !self.closed.load(Ordering::Acquire) && session.http2.accepts_streams() && session.http2.max_streams() > 0
    }

    /// Whether it ever had a stream.
    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the connection is of no more use: closed, or without a stream for that long.
    pub(super) fn is_stale(&self, idle: Duration) -> bool {
        self.closed.load(Ordering::Acquire) || self.idle_for().is_some_and(|idle_for| idle_for > idle)
    }

    /// For how long it has had no stream; `None` while it has one.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let idle_since = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
        (self.streams.load(Ordering::Acquire) == 0).then(|| self.started.elapsed().saturating_sub(idle_since))
    }

    /// Gives no slot away any more; open streams go on.
    pub(super) fn close_to_new_streams(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl StreamSlot {
    /// The connection that the slot is on.
    pub(super) fn connection(&self) -> &Arc<HboneConnection> {
        &self.connection
    }
}
