//! Header blocks of HTTP/2 (HPACK, RFC 7541). We read all of it, and write what needs no table of the peer's.

mod decoder;
mod encoder;
mod huffman;
mod table;

pub(super) use self::decoder::{Decoder, HpackError};
pub(super) use self::encoder::{Encoder, encode};
