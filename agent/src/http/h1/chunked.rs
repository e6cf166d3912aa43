//! The chunked transfer coding (RFC 9112 §7.1), read strictly: exactly one reading of the bytes, or an error.

use bytes::{Buf, Bytes, BytesMut};

use super::fields::sort_trailers;
use super::raw::{self, HeadProgress, MAX_FIELDS};
use crate::http::stream::Received;
use crate::model::http::head::HttpFields;

/// The most digits of a chunk's size, leading zeros included: as many as 64 bits have.
const MAX_SIZE_DIGITS: u8 = 16;
/// The longest extension of one chunk. It says nothing to us (RFC 9112 §7.1.1).
const MAX_EXTENSION_BYTES: u16 = 1024;

/// A body of chunks that is being received.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    place: Place,
    trailers: HeadProgress,
}

/// Where in the body the next byte is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Size {
        size: u64,
        digits: u8,
    },
    /// White space between the size and the extension.
    BeforeExtension {
        size: u64,
    },
    Extension {
        size: u64,
        bytes: u16,
    },
    SizeLineFeed {
        size: u64,
    },
    /// So many bytes of the chunk are to come, at least one.
    Data(u64),
    DataReturn,
    DataLineFeed,
    Trailers,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl ChunkReader {
    /// How many bytes are wanted at least.
    pub(super) fn wanted(&self) -> u64 {
        match self.place {
            // With the line behind it, and the next one.
            Place::Data(rest) => rest.saturating_add(16),
            _ => 0,
        }
    }

    /// The next part, taken off the front of `buffer`; `None` where more bytes are needed.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, &'static str> {
        self.read_line(buffer)?;
        match &mut self.place {
            Place::Data(rest) => {
                let Some(data) = take(buffer, rest) else { return Ok(None) };
                if *rest == 0 {
                    self.place = Place::DataReturn;
                }
                Ok(Some(Received::Data(data)))
            }
            Place::Trailers => self.read_trailers(buffer),
            _ => Ok(None),
        }
    }

    /// Reads what is between the data of two chunks, as far as it is there.
    fn read_line(&mut self, buffer: &mut BytesMut) -> Result<(), &'static str> {
        let mut read = 0;
        for byte in buffer.iter() {
            if matches!(self.place, Place::Data(_) | Place::Trailers) {
                break;
            }
            self.place = self.place.after(*byte)?;
            read += 1;
        }
        buffer.advance(read);
        Ok(())
    }

    fn read_trailers(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, &'static str> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            return Ok(Some(Received::End));
        }
        if !self.trailers.is_worth_parsing(buffer) {
            return Ok(None);
        }
        let mut place = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut fields = HttpFields::default();
        let length = match raw::trailers(buffer, &mut place) {
            Ok(Some((raw, length))) => sort_trailers(raw, &mut fields).map(|()| length),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        buffer.advance(length.map_err(|error| error.reason())?);
        Ok(Some(if fields.is_empty() { Received::End } else { Received::Trailers(fields) }))
    }
}

impl Place {
    /// Where one is after a byte that is neither data nor of the trailers.
    fn after(self, byte: u8) -> Result<Self, &'static str> {
        match (self, byte) {
            (Self::Size { size, digits }, _) => Self::after_digit(size, digits, byte),
            (Self::BeforeExtension { size }, b' ' | b'\t') => Ok(Self::BeforeExtension { size }),
            (Self::BeforeExtension { size }, b';') => Ok(Self::Extension { size, bytes: 0 }),
            (Self::Extension { size, .. }, b'\r') => Ok(Self::SizeLineFeed { size }),
            (Self::Extension { .. }, b'\n' | 0x7f) => Err("control character in the extension of a chunk"),
            (Self::Extension { size, bytes }, b'\t' | b' '..) if bytes < MAX_EXTENSION_BYTES => {
                Ok(Self::Extension { size, bytes: bytes + 1 })
            }
            (Self::Extension { bytes: MAX_EXTENSION_BYTES, .. }, _) => Err("the extension of a chunk is too long"),
            (Self::Extension { .. }, _) => Err("control character in the extension of a chunk"),
            (Self::SizeLineFeed { size: 0 }, b'\n') => Ok(Self::Trailers),
            (Self::SizeLineFeed { size }, b'\n') => Ok(Self::Data(size)),
            (Self::DataReturn, b'\r') => Ok(Self::DataLineFeed),
            (Self::DataLineFeed, b'\n') => Ok(Self::default()),
            (Self::BeforeExtension { .. }, _) => Err("white space behind the size of a chunk"),
            (Self::SizeLineFeed { .. }, _) => Err("the size of a chunk does not end in CRLF"),
            _ => Err("the data of a chunk does not end in CRLF"),
        }
    }

    fn after_digit(size: u64, digits: u8, byte: u8) -> Result<Self, &'static str> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err("a chunk without a size"),
            b'\r' => return Ok(Self::SizeLineFeed { size }),
            b';' => return Ok(Self::Extension { size, bytes: 0 }),
            b' ' | b'\t' => return Ok(Self::BeforeExtension { size }),
            _ => return Err("the size of a chunk is not a hexadecimal number"),
        };
        if digits == MAX_SIZE_DIGITS {
            return Err("the size of a chunk is too large");
        }
        Ok(Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
    }
}

/// Up to `rest` bytes off the front of `buffer`, and as many less to come.
pub(super) fn take(buffer: &mut BytesMut, rest: &mut u64) -> Option<Bytes> {
    if buffer.is_empty() {
        return None;
    }
    let count = usize::try_from(*rest).unwrap_or(usize::MAX).min(buffer.len());
    *rest -= count as u64;
    Some(buffer.split_to(count).freeze())
}
