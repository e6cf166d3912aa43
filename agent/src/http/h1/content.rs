//! The content of a message that is sent (RFC 9112 §6 and §7.1).

use bytes::{Bytes, BytesMut};

use super::fields::special;
use super::output::Output;
use super::syntax::write_field;
use crate::model::http::head::HttpFields;

/// How the content is framed, and what of it is still to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum BodyWriter {
    /// Nothing.
    #[default]
    Ended,
    /// So many bytes, as the head says.
    Known(u64),
    Chunked,
    /// A response whose end is that of the connection.
    UntilClose,
    /// Bytes of another protocol.
    Tunnel,
    /// The message ends with its head, whatever its owner sends: a response to HEAD, 204, 304.
    Discarded,
}

impl BodyWriter {
    /// Queues a part of the content.
    ///
    /// # Errors
    /// Where there is more than the head said, or nothing to come.
    pub(super) fn send(&mut self, data: Bytes, output: &mut Output) -> Result<(), &'static str> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::Ended => return Err("content behind the end of the message"),
            Self::Known(rest) => {
                *rest = rest.checked_sub(data.len() as u64).ok_or("more content than Content-Length says")?;
                output.add(data);
            }
            Self::Chunked => {
                write_size(data.len(), output.text());
                output.add(data);
                output.text().extend_from_slice(b"\r\n");
            }
            Self::UntilClose | Self::Tunnel => output.add(data),
            Self::Discarded => {}
        }
        Ok(())
    }

    /// Queues the end of the message, with trailers where its framing has them.
    ///
    /// # Errors
    /// Where there is less than the head said, and for trailers that cannot be written.
    pub(super) fn end(&mut self, trailers: Option<&HttpFields>, output: &mut Output) -> Result<(), &'static str> {
        match *self {
            Self::Ended | Self::Known(0) | Self::Discarded => {}
            Self::Known(_) => return Err("less content than Content-Length says"),
            Self::Chunked => write_last_chunk(trailers, output.text())?,
            Self::UntilClose | Self::Tunnel => output.end(),
        }
        *self = Self::Ended;
        Ok(())
    }

    /// Whether all of the message was queued.
    pub(super) fn is_complete(self) -> bool {
        matches!(self, Self::Ended | Self::Known(0) | Self::Discarded)
    }
}

fn write_size(mut size: usize, text: &mut BytesMut) {
    let mut line = [0; 18];
    line[16..].copy_from_slice(b"\r\n");
    let mut start = 16;
    while start == 16 || size > 0 {
        start -= 1;
        line[start] = b"0123456789abcdef"[size & 15];
        size >>= 4;
    }
    text.extend_from_slice(&line[start..]);
}

/// Fields of the connection and of the framing are no trailers (RFC 9110 §6.5.1).
fn write_last_chunk(trailers: Option<&HttpFields>, text: &mut BytesMut) -> Result<(), &'static str> {
    text.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().flat_map(|trailers| trailers.iter()) {
        if special(name).is_none() {
            write_field(name, value, text)?;
        }
    }
    text.extend_from_slice(b"\r\n");
    Ok(())
}
