//! Header blocks of HTTP/2 (HPACK, RFC 7541). We read all of it, and write only literals: our own heads are short, and
//! a peer that keeps no table for us has less to hold.

mod decoder;
mod huffman;
mod table;

pub(crate) use self::decoder::{Decoder, HpackError};

/// Bytes that an entry counts for besides its name and value (RFC 7541 §4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Places in the static table.
const STATUS_200: u8 = 8;
const AUTHORITY_NAME: u64 = 1;
const METHOD_NAME: u64 = 2;
const STATUS_NAME: u64 = 8;

/// Appends the head of a CONNECT request (RFC 9113 §8.5: method and authority alone).
pub(crate) fn encode_connect<'a>(
    block: &mut Vec<u8>,
    authority: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) {
    literal(block, METHOD_NAME, b"CONNECT");
    literal(block, AUTHORITY_NAME, authority.as_bytes());
    for (name, value) in fields {
        block.push(0);
        string(block, name.as_bytes());
        string(block, value);
    }
}

/// Appends the head of a response.
pub(crate) fn encode_status(block: &mut Vec<u8>, status: http::StatusCode) {
    if status == http::StatusCode::OK {
        block.push(0x80 | STATUS_200);
    } else {
        literal(block, STATUS_NAME, status.as_str().as_bytes());
    }
}

/// A literal without indexing (RFC 7541 §6.2.2) whose name is in the static table.
fn literal(block: &mut Vec<u8>, name: u64, value: &[u8]) {
    integer(block, 0, 4, name);
    string(block, value);
}

fn string(block: &mut Vec<u8>, text: &[u8]) {
    integer(block, 0, 7, text.len() as u64);
    block.extend_from_slice(text);
}

/// RFC 7541 §5.1.
fn integer(block: &mut Vec<u8>, flags: u8, prefix_bits: u32, mut value: u64) {
    let most = (1_u64 << prefix_bits) - 1;
    if value < most {
        block.push(flags | value.to_le_bytes()[0]);
        return;
    }
    block.push(flags | most.to_le_bytes()[0]);
    value -= most;
    while value >= 128 {
        block.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    block.push(value.to_le_bytes()[0]);
}
