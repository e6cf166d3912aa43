//! Header blocks of HTTP/2 (HPACK, RFC 7541). We read all of it, and write only literals: our own header sections are
//! short, and a peer that keeps no table for us has less to hold.

mod decoder;
mod huffman;
mod table;

pub(super) use self::decoder::{Decoder, HpackError};

/// Places of names in the static table (RFC 7541 appendix A).
const AUTHORITY_NAME: u64 = 1;
const METHOD_NAME: u64 = 2;
const STATUS_NAME: u64 = 8;
/// The place of `:status: 200` in the static table.
const STATUS_200: u8 = 8;

/// Appends one field of a header section. Names are in lower case.
pub(super) fn encode(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    match name {
        ":status" if value == b"200" => block.push(0x80 | STATUS_200),
        ":status" => literal(block, STATUS_NAME, value),
        ":method" => literal(block, METHOD_NAME, value),
        ":authority" => literal(block, AUTHORITY_NAME, value),
        name => {
            block.push(0);
            string(block, name.as_bytes());
            string(block, value);
        }
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
