//! An established HBONE connection as its streams share it: the slots on it, and since when it is idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::DropGuard;

use super::activity::Activity;
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
    activity: Activity,
    /// Whether it ever had a stream.
    used: AtomicBool,
    closed: AtomicBool,
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
        self.connection.activity.end();
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
            activity: Activity::begin(),
            used: AtomicBool::new(false),
            closed: AtomicBool::new(false),
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
        if !self.activity.begin_below(limit) {
            return None;
        }
        self.used.store(true, Ordering::Relaxed);
        Some(StreamSlot { connection: self.clone() })
    }

    /// Whether the peer allows streams on it at all, and nobody has said that it takes no more.
    pub(super) fn takes_streams(&self) -> bool {
        let session = self.transport.session();
        !self.closed.load(Ordering::Acquire) && session.http2.accepts_streams() && session.http2.max_streams() > 0
    }

    /// Whether both sides take part in requests as streams of their own.
    pub(super) fn has_request_streams(&self) -> bool {
        self.transport.session().http2.has_request_streams()
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
        self.activity.idle_for()
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
