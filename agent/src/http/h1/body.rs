//! The content of a message that is received: cut from the bytes behind its head, without copying (RFC 9112 §6).

use bytes::BytesMut;

use super::chunked::{ChunkReader, take};
use crate::http::stream::{BodyLength, ExchangeError, Received};

/// What of a message is still to come.
#[derive(Debug, Default)]
pub(super) enum BodyReader {
    /// Nothing.
    #[default]
    Ended,
    /// So many bytes.
    Known(u64),
    Chunked(ChunkReader),
    /// A response that ends with the connection.
    UntilClose,
    /// Bytes of another protocol.
    Tunnel,
    /// What came is no message.
    Malformed(&'static str),
}

impl BodyReader {
    pub(super) fn chunked() -> Self {
        Self::Chunked(ChunkReader::default())
    }

    /// What a head says of the content behind it.
    pub(super) fn length(&self) -> BodyLength {
        match self {
            Self::Ended | Self::Malformed(_) => BodyLength::Empty,
            Self::Known(length) => BodyLength::Known(*length),
            Self::Chunked(_) | Self::UntilClose => BodyLength::Unknown,
            Self::Tunnel => BodyLength::Tunnel,
        }
    }

    /// Whether all of the message was received.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Ended | Self::Known(0))
    }

    /// How many bytes are wanted at least for what is to come, as far as that is known.
    pub(super) fn wanted(&self) -> u64 {
        match self {
            Self::Ended | Self::Malformed(_) => 0,
            Self::Known(rest) => *rest,
            Self::Chunked(reader) => reader.wanted(),
            Self::UntilClose | Self::Tunnel => u64::MAX,
        }
    }

    /// The next part, taken off the front of `buffer`; `None` where more bytes are needed.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, ExchangeError> {
        match self {
            Self::Ended | Self::Known(0) => {
                *self = Self::Ended;
                Ok(Some(Received::End))
            }
            Self::Known(rest) => Ok(take(buffer, rest).map(Received::Data)),
            Self::UntilClose | Self::Tunnel => Ok(take(buffer, &mut { u64::MAX }).map(Received::Data)),
            Self::Chunked(reader) => match reader.read(buffer) {
                Ok(Some(received)) => {
                    if !matches!(received, Received::Data(_)) {
                        *self = Self::Ended;
                    }
                    Ok(Some(received))
                }
                Ok(None) => Ok(None),
                Err(reason) => {
                    *self = Self::Malformed(reason);
                    Err(ExchangeError::Malformed(reason))
                }
            },
            Self::Malformed(reason) => Err(ExchangeError::Malformed(reason)),
        }
    }

    /// What it means that no more bytes come.
    pub(super) fn end_of_input(&mut self) -> Result<Received, ExchangeError> {
        match self {
            Self::Ended | Self::Known(0) | Self::UntilClose | Self::Tunnel => {
                *self = Self::Ended;
                Ok(Received::End)
            }
            Self::Known(_) | Self::Chunked(_) => Err(ExchangeError::Truncated),
            Self::Malformed(reason) => Err(ExchangeError::Malformed(reason)),
        }
    }
}
