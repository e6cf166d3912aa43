//! Why an attempt to forward a request brought no response.

use super::upstream::{OpenError, failure_of};
use crate::http::{Broken, ExchangeError};
use crate::model::http::reply::Reason;
use crate::model::http::retry::Outcome;

/// See the module.
pub(super) enum Failure {
    /// No connection: the request was not sent.
    Open(OpenError),
    /// The connection had been used for other requests, and ended before a byte of a response came, or the server refused the
    /// stream because it was leaving.
    Stale(ExchangeError),
    Upstream {
        error: ExchangeError,
        is_request_sent: bool,
    },
    PerTryTimeout,
}

impl Failure {
    /// The same, as policies of retries ask it.
    pub(super) fn outcome(&self) -> Outcome<'static> {
        match self {
            Self::Open(OpenError::Session(ExchangeError::Refused)) => Outcome::RefusedStream,
            Self::Open(_) => Outcome::ConnectFailure,
            Self::Upstream { error: ExchangeError::Refused, .. } => Outcome::RefusedStream,
            Self::Upstream { is_request_sent, .. } => Outcome::Reset { is_request_sent: *is_request_sent },
            Self::Stale(ExchangeError::Refused) => Outcome::RefusedStream,
            Self::Stale(_) => Outcome::Reset { is_request_sent: true },
            Self::PerTryTimeout => Outcome::PerTryTimeout,
        }
    }

    /// What the client is told, where no other attempt follows.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Open(OpenError::TooMany | OpenError::Overflow) => Reason::Overflow,
            Self::Open(OpenError::Unwritable(_)) => Reason::BadRequest,
            Self::Open(OpenError::Tls(error)) => Reason::TlsFailed(failure_of(error)),
            Self::Open(error) if error.is_denied_by_policy() => Reason::AccessDenied,
            Self::Open(error) if error.is_timeout() => Reason::ConnectTimeout,
            Self::Open(_) => Reason::ConnectFailed,
            Self::Upstream { error: ExchangeError::Malformed(_) | ExchangeError::BrokenConnection(_), .. }
            | Self::Stale(ExchangeError::BrokenConnection(_)) => Reason::ProtocolError,
            Self::Upstream { error: ExchangeError::Reset | ExchangeError::Refused, .. } => Reason::RemoteReset,
            Self::Upstream { .. } | Self::Stale(_) => Reason::ConnectionTermination,
            Self::PerTryTimeout => Reason::PerTryTimeout,
        }
    }

    /// In words, for the log.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Open(error) => error.to_string(),
            Self::Stale(error) | Self::Upstream { error, .. } => error.to_string(),
            Self::PerTryTimeout => Broken::PerTryTimeout.to_string(),
        }
    }
}
