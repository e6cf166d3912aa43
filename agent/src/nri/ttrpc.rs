//! Calls on one connection, as ttrpc writes them: a head of ten bytes (length and stream, 32 bits each with the most
//! significant first, kind, flags) and a request or a response in protobuf. Knows no method.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

pub(super) const HEADER_BYTES: usize = 10;
/// The longest message of the protocol.
pub(super) const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// What a peer sends that cannot be read: the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a piece of {length} bytes, at most {} are taken", HEADER_BYTES + MAX_MESSAGE_BYTES)]
    Piece { length: usize },
    #[error("a message of {length} bytes, at most {} are taken", MAX_MESSAGE_BYTES)]
    Message { length: usize },
    #[error("a message of kind {kind} is malformed: {source}")]
    Malformed { kind: u8, source: prost::DecodeError },
}
/// The longest message that we send, with its head. The other side reads connections through a buffer of this size, and a
/// piece that does not fit is an error there.
pub(super) const MAX_SENT_BYTES: usize = 4096;
/// The longest message about a failure: the whole response has to fit into [`MAX_SENT_BYTES`].
const MAX_FAILURE_BYTES: usize = 1024;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// Codes of failures; they are gRPC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    FailedPrecondition = 9,
    Unimplemented = 12,
}

/// Somebody wants something to be done.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    pub(super) service: String,
    #[prost(string, tag = "2")]
    pub(super) method: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) payload: Bytes,
    /// How long is waited for the response; nothing means that nobody said.
    #[prost(int64, tag = "4")]
    pub(super) timeout_nano: i64,
}

/// How it went.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
}

/// What went wrong; code 0 is nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// A message, with the stream by which a response finds its request.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Request(u32, Request),
    Response(u32, Response),
    /// Of a kind that has no meaning here, to be passed over.
    Other(u8),
}

/// Takes the next message off what was read, if it is there as a whole.
pub(super) fn take(connection: &mut BytesMut) -> Result<Option<Message>, WireError> {
    let Some((mut header, _)) = connection.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let (length, stream, kind) = (header.get_u32() as usize, header.get_u32(), header.get_u8());
    if length > MAX_MESSAGE_BYTES {
        return Err(WireError::Message { length });
    }
    if connection.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    connection.advance(HEADER_BYTES);
    let body = connection.split_to(length).freeze();
    let decoded = match kind {
        REQUEST => Request::decode(body).map(|request| Message::Request(stream, request)),
        RESPONSE => Response::decode(body).map(|response| Message::Response(stream, response)),
        other => Ok(Message::Other(other)),
    };
    decoded.map(Some).map_err(|source| WireError::Malformed { kind, source })
}

/// A request as it is sent.
pub(super) fn request(stream: u32, request: &Request) -> Vec<u8> {
    framed(stream, REQUEST, &request.encode_to_vec())
}

/// A response as it is sent, or why there is none.
pub(super) fn response(stream: u32, outcome: Result<Vec<u8>, (Code, String)>) -> Vec<u8> {
    let response = match outcome {
        Ok(payload) => Response { status: None, payload: payload.into() },
        Err((code, message)) => {
            Response { status: Some(Status { code: code as i32, message: shortened(message) }), payload: Bytes::new() }
        }
    };
    framed(stream, RESPONSE, &response.encode_to_vec())
}

fn framed(stream: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    debug_assert!(HEADER_BYTES + body.len() <= MAX_SENT_BYTES, "a message of {} bytes", body.len());
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.put_u32(u32::try_from(body.len()).expect("a few thousand at most"));
    message.put_u32(stream);
    message.put_slice(&[kind, 0]);
    message.put_slice(body);
    message
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_FAILURE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_FAILURE_BYTES));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_as_they_come_whole_and_bad_ones_are_named() {
        let asked = Request { service: "s".into(), method: "m".into(), payload: Bytes::new(), timeout_nano: 5 };
        for (read, expected) in [
            (&b""[..], Ok(None)),
            (b"\0\0\0\0\0\0\0\x01\x01", Ok(None)),
            (b"\0\0\0\x08\0\0\0\x01\x01\0\x0a\x01s", Ok(None)),
            (b"\0\0\0\x08\0\0\0\x03\x01\0\x0a\x01s\x12\x01m\x20\x05", Ok(Some(Message::Request(3, asked.clone())))),
            // A field that nobody here knows, metadata, is skipped.
            (b"\0\0\0\x0b\0\0\0\x03\x01\0\x0a\x01s\x12\x01m\x20\x05\x2a\x01a", Ok(Some(Message::Request(3, asked)))),
            (b"\0\0\0\x0b\0\0\0\x03\x01\0\x0a\x01s\x12\x01m\x20\x05\x2a\x02a", Err("a message of kind 1")),
            (b"\0\0\0\0\0\0\0\x05\x02\x01", Ok(Some(Message::Response(5, Response::default())))),
            (b"\0\0\0\x01\0\0\0\x05\x03\x01x", Ok(Some(Message::Other(3)))),
            (b"\0\0\0\x02\0\0\0\x05\x02\x01\xff\xff", Err("a message of kind 2")),
            (b"\0\x40\0\0\0\0\0\x05\x01\0", Ok(None)),
            (b"\0\x40\0\x01\0\0\0\x05\x01\0", Err("a message of 4194305 bytes, at most 4194304 are taken")),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Err("a message of 4294967295 bytes")),
        ] {
            match (take(&mut BytesMut::from(read)), expected) {
                (Ok(taken), Ok(expected)) => assert_eq!(taken, expected, "{read:?}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().starts_with(expected), "{read:?}: {error}");
                }
                (taken, expected) => panic!("{read:?}: {taken:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn what_is_sent_is_what_is_taken_and_fits_into_a_piece() {
        let long = "ä".repeat(MAX_FAILURE_BYTES);
        for (outcome, code, length) in [
            (Ok(b"payload".to_vec()), 0, 0),
            (Err((Code::FailedPrecondition, "no".to_owned())), 9, 2),
            (Err((Code::Unimplemented, long)), 12, MAX_FAILURE_BYTES + '…'.len_utf8()),
        ] {
            let sent = response(7, outcome);
            assert!(sent.len() <= MAX_SENT_BYTES);
            let Ok(Some(Message::Response(7, response))) = take(&mut BytesMut::from(&sent[..])) else {
                panic!("{sent:?}");
            };
            let status = response.status.unwrap_or_default();
            assert_eq!((status.code, status.message.len()), (code, length));
        }
    }
}
