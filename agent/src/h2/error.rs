//! How an HTTP/2 connection ends, and how one of its streams does.

use std::io;
use std::sync::Arc;

use super::frame::Reason;
use super::hpack::HpackError;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// What carries the connection failed: the network, or TLS.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("header block: {0}")]
    HeaderBlock(#[from] HpackError),
    /// The peer broke a rule of HTTP/2 or a limit of ours.
    #[error("HTTP/2 {reason}: {what}")]
    Protocol { reason: Reason, what: &'static str },
    #[error("closed by the peer: HTTP/2 {0}")]
    GoAway(Reason),
    #[error("closed by the peer")]
    Closed,
    #[error("closed by this agent")]
    Aborted,
    /// One side sent GOAWAY, and the last stream ended.
    #[error("no longer used")]
    Done,
}

impl SessionError {
    pub(super) fn protocol(what: &'static str) -> Self {
        Self::Protocol { reason: Reason::PROTOCOL_ERROR, what }
    }

    pub fn enhance_your_calm(what: &'static str) -> Self {
        Self::Protocol { reason: Reason::ENHANCE_YOUR_CALM, what }
    }

    pub(super) fn stream_closed(what: &'static str) -> Self {
        Self::Protocol { reason: Reason::STREAM_CLOSED, what }
    }

    pub(super) fn window_overrun() -> Self {
        Self::Protocol { reason: Reason::FLOW_CONTROL_ERROR, what: "a window is overrun" }
    }

    pub(super) fn settings_timeout() -> Self {
        Self::Protocol { reason: Reason::SETTINGS_TIMEOUT, what: "our settings are not acknowledged" }
    }

    pub(super) fn frame_size() -> Self {
        Self::Protocol { reason: Reason::FRAME_SIZE_ERROR, what: "a frame of a wrong length" }
    }

    /// The error code of the GOAWAY frame that reports this error to the peer.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Protocol { reason, .. } => *reason,
            Self::HeaderBlock(_) => Reason::COMPRESSION_ERROR,
            _ => Reason::NO_ERROR,
        }
    }

    /// Whether a GOAWAY frame can still reach the peer.
    pub(super) fn can_be_reported(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Closed)
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
    /// RFC 9113 §8.1.1: what the peer sent on the stream is no message.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}
