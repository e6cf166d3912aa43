//! One [`ConnectionRecord`] per connection: it counts as opened when made, and counts and logs the end when dropped, so
//! that no exit path can forget.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::metrics::Metrics;
use crate::model::identity::Identity;
use crate::model::service::Service;
use crate::model::workload::Workload;

/// Whose view of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
}

/// Why a connection ended badly: Istio's `response_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResponseFlag {
    /// `-`
    #[default]
    None,
    /// `DENY`
    Denied,
    /// `CONNECT`
    ConnectFailure,
    /// `TLS_FAILURE`
    TlsFailure,
    /// `H2_HANDSHAKE_FAILURE`
    H2HandshakeFailure,
    /// `NETWORK_POLICY`
    NetworkPolicy,
    /// `IDENTITY_ERROR`
    IdentityError,
}

/// Both ends of a connection, as far as they are known when its record opens.
#[derive(Debug, Clone)]
pub struct ConnectionEnds {
    pub reporter: Reporter,
    pub source_addr: SocketAddr,
    pub source: Option<Arc<Workload>>,
    pub source_identity: Option<Identity>,
    pub destination_addr: SocketAddr,
    /// The HBONE listener dialled, on the source's side.
    pub hbone_addr: Option<SocketAddr>,
    pub destination: Option<Arc<Workload>>,
    pub destination_identity: Option<Identity>,
    pub service: Option<Arc<Service>>,
    /// The bytes between the two nodes are mTLS.
    pub mutual_tls: bool,
}

/// Bytes moved, written by the two directions of a connection without contention.
#[derive(Debug, Default)]
pub struct ByteCounts {
    /// From the source to the destination.
    pub to_destination: AtomicU64,
    /// From the destination to the source.
    pub to_source: AtomicU64,
}

/// A connection's outcome.
#[derive(Debug)]
pub struct ConnectionRecord {}

impl ConnectionRecord {
    /// Counts the connection as opened.
    #[must_use]
    pub fn open(_metrics: &Arc<Metrics>, _ends: ConnectionEnds) -> Self {
        unimplemented!()
    }

    pub fn bytes(&self) -> Arc<ByteCounts> {
        unimplemented!()
    }

    /// Marks the connection as failed; the first mark wins.
    pub fn fail(&mut self, _flag: ResponseFlag, _error: &dyn Display) {
        unimplemented!()
    }
}
