//! What a connection is to the log and to the metrics: its two ends, its bytes, how it ended. Counts nothing itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::model::address::OriginalDst;
use crate::model::identity::Identity;
use crate::model::service::Service;
use crate::model::workload::Workload;

/// Whose view of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
}

impl Reporter {
    /// The value of the metrics' `reporter` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// The access log's word: the direction as the enrolled pod sees it.
    #[must_use]
    pub fn direction(self) -> &'static str {
        match self {
            Self::Source => "outbound",
            Self::Destination => "inbound",
        }
    }
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

impl ResponseFlag {
    /// The value of the metrics' `response_flags` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Denied => "DENY",
            Self::ConnectFailure => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
        }
    }
}

/// Both ends of a connection, as far as they are known when its record opens.
#[derive(Debug, Clone)]
pub struct ConnectionEnds {
    pub reporter: Reporter,
    pub source_addr: SocketAddr,
    pub source: Option<Arc<Workload>>,
    pub source_identity: Option<Identity>,
    /// Where the application is (or should be) that serves the connection.
    pub destination_addr: SocketAddr,
    /// The HBONE listener: the one dialled, on the source's side; the one that accepted, on the destination's.
    pub hbone_addr: Option<SocketAddr>,
    pub destination: Option<Arc<Workload>>,
    pub destination_identity: Option<Identity>,
    pub service: Option<Arc<Service>>,
    /// The bytes between the two nodes are mTLS.
    pub mutual_tls: bool,
}

impl ConnectionEnds {
    /// The workload of the end that this agent serves.
    #[must_use]
    pub fn own_workload(&self) -> Option<&Arc<Workload>> {
        match self.reporter {
            Reporter::Source => self.source.as_ref(),
            Reporter::Destination => self.destination.as_ref(),
        }
    }
}

/// Bytes moved, written by the two directions of a connection without contention.
#[derive(Debug, Default)]
pub struct ByteCounts {
    /// From the source to the destination.
    pub to_destination: AtomicU64,
    /// From the destination to the source.
    pub to_source: AtomicU64,
}

impl ByteCounts {
    /// `(to_destination, to_source)` as of now.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.to_destination.load(Ordering::Relaxed), self.to_source.load(Ordering::Relaxed))
    }
}

/// A connection that is open now.
#[derive(Debug, Clone)]
pub struct LiveConnection {
    pub ends: ConnectionEnds,
    /// The address the application asked for, on the source's side, where it was told.
    pub asked_for: Option<OriginalDst>,
    pub opened_at: SystemTime,
    /// From the source to the destination.
    pub bytes_to_destination: u64,
    /// From the destination to the source.
    pub bytes_to_source: u64,
}
