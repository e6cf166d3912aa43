//! How a connection between agents ends, and how one of its streams does.

use std::io;
use std::sync::Arc;

use crate::h2::frame::Reason;
use crate::h2::hpack::HpackError;
use crate::tls::records::RecordError;

/// Why an HBONE connection is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Record(#[from] RecordError),
    #[error("header block: {0}")]
    HeaderBlock(#[from] HpackError),
    #[error("HTTP/2 {reason}: {what}")]
    Protocol { reason: Reason, what: &'static str },
    #[error("closed by the peer: HTTP/2 {0}")]
    GoAway(Reason),
    #[error("closed by the peer")]
    Closed,
    #[error("closed by this agent")]
    Aborted,
    /// The natural end: one side left, and the last stream ended.
    #[error("no longer used")]
    Done,
}

impl SessionError {
    pub(super) fn protocol(what: &'static str) -> Self {
        Self::Protocol { reason: Reason::PROTOCOL_ERROR, what }
    }

    pub(super) fn calm(what: &'static str) -> Self {
        Self::Protocol { reason: Reason::ENHANCE_YOUR_CALM, what }
    }

    /// What the peer is told.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Protocol { reason, .. } => *reason,
            Self::HeaderBlock(_) => Reason::COMPRESSION_ERROR,
            _ => Reason::NO_ERROR,
        }
    }
}

/// How a stream broke.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    #[error("reset by the peer: {0}")]
    Reset(Reason),
    /// RFC 9113 §8.7: the peer did nothing with the request, which may be sent on another connection.
    #[error("the peer takes no more requests on this connection")]
    NotSeen,
    #[error("connection: {0}")]
    Connection(Arc<SessionError>),
    #[error("the peer's answer has no status")]
    NoStatus,
}
