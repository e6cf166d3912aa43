//! What the log and the metrics know of a connection besides its ends: its protocol, its bytes, how it ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::ends::{ConnectionEnds, Reporter};

/// Why a connection or a request ended whose task panicked; the log of the process has the panic itself.
pub(super) const PANICKED: &str = "the agent panicked";

/// Istio's `request_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// A connection of which no protocol above TCP is looked at.
    Tcp,
    Http,
    /// A request of HTTP whose content type is that of gRPC.
    Grpc,
}

impl RequestProtocol {
    /// The value of the metrics' `request_protocol` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// Why a connection failed: Istio's `response_flags`, with ztunnel's values.
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
            Self::IdentityError => "IDENTITY_ERROR",
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
    pub opened_at: SystemTime,
    /// Requests are counted and logged in its place.
    pub carries_requests: bool,
    /// From the source to the destination.
    pub bytes_to_destination: u64,
    /// From the destination to the source.
    pub bytes_to_source: u64,
}

/// A connection that failed before anything but its addresses was known.
#[derive(Debug, Clone, Copy)]
pub struct RefusedConnection {
    pub reporter: Reporter,
    pub source_addr: SocketAddr,
    /// The address of the listener that accepted it.
    pub listener: SocketAddr,
    pub flag: ResponseFlag,
}
