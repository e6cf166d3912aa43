//! Why a head or a request is refused, and what the answer to it is.

use std::fmt;

use crate::http::stream::ExchangeError;

/// What is wrong with the head of a message. A text says which rule was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Lines that RFC 9112 §2 to §5 does not allow.
    Syntax(&'static str),
    /// The request's target has none of the forms of RFC 9112 §3.2, or one that its method does not have.
    Target(&'static str),
    /// No `Host` where there must be one, several, or one that names no host (RFC 9112 §3.2).
    Host(&'static str),
    /// It is not certain where the message ends (RFC 9112 §6.3).
    Framing(&'static str),
    /// `Connection` would remove a field that others rely on (RFC 9110 §7.6.1).
    Connection(&'static str),
    /// A transfer coding besides `chunked` (RFC 9112 §6.1).
    TransferCoding,
    /// A version that is neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 §15.6.6).
    Version,
    /// The first line alone is longer than a head may be (RFC 9112 §3).
    TargetTooLong,
    /// More bytes than a head may have (RFC 6585 §5).
    TooLarge,
    /// More fields than a head may have (RFC 6585 §5).
    TooManyFields,
}

impl HeadError {
    /// The status that answers such a request.
    #[must_use]
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Syntax(_) | Self::Target(_) | Self::Host(_) | Self::Framing(_) | Self::Connection(_) => 400,
            Self::TargetTooLong => 414,
            Self::TooLarge | Self::TooManyFields => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
        }
    }

    /// Which rule was broken, for logs.
    #[must_use]
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Syntax(reason)
            | Self::Target(reason)
            | Self::Host(reason)
            | Self::Framing(reason)
            | Self::Connection(reason) => reason,
            Self::TransferCoding => "transfer coding that is not supported",
            Self::Version => "version of HTTP that is not supported",
            Self::TargetTooLong => "the target is too long",
            Self::TooLarge => "the fields are too large",
            Self::TooManyFields => "too many fields",
        }
    }

    /// A word of a bounded set, for a label of a metric.
    #[must_use]
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Syntax(_) => "syntax",
            Self::Target(_) => "target",
            Self::Host(_) => "host",
            Self::Framing(_) => "framing",
            Self::Connection(_) => "connection",
            Self::TransferCoding => "transfer_coding",
            Self::Version => "version",
            Self::TargetTooLong => "target_length",
            Self::TooLarge => "head_size",
            Self::TooManyFields => "field_count",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason())
    }
}

impl std::error::Error for HeadError {}

/// A response with such a head is no response.
impl From<HeadError> for ExchangeError {
    fn from(error: HeadError) -> Self {
        Self::Malformed(error.reason())
    }
}

/// Why a connection of a client gave no request.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RequestError {
    /// The client gets an answer, and the connection ends with it.
    #[error("refused: {0}")]
    Refused(#[from] HeadError),
    /// The connection ended or broke within a head: there is nobody to answer.
    #[error("{0}")]
    Broken(#[from] ExchangeError),
}
