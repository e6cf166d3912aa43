//! Writes the fields of heads and trailers into a block (RFC 9113 §8.2 and §8.3).

use super::hpack::encode;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

pub(super) fn request(block: &mut Vec<u8>, head: &RequestHead) {
    encode(block, b":method", &head.method);
    // RFC 9113 §8.5: CONNECT has no path and no scheme.
    if head.method != b"CONNECT" {
        encode(block, b":scheme", head.scheme.text().as_bytes());
        encode(block, b":path", &head.target);
    }
    if !head.authority.is_empty() {
        encode(block, b":authority", &head.authority);
    }
    fields(block, &head.fields);
}

pub(super) fn response(block: &mut Vec<u8>, head: &ResponseHead) {
    status(block, head.status);
    fields(block, &head.fields);
}

/// `:status` of a status of three digits.
pub(super) fn status(block: &mut Vec<u8>, status: u16) {
    let digit = |weight: u16| b'0' + (status / weight % 10).to_le_bytes()[0];
    encode(block, b":status", &[digit(100), digit(10), digit(1)]);
}

/// The fields that a message of HTTP/2 may have: those of a connection of HTTP/1 are left out (RFC 9113 §8.2.2), whoever put them
/// among the others.
pub(super) fn fields(block: &mut Vec<u8>, fields: &HttpFields) {
    for (name, value) in fields.iter() {
        match name {
            b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection" | b"host" => {}
            b"te" if value != b"trailers" => {}
            _ => encode(block, name, value),
        }
    }
}
