//! What gRPC says within HTTP (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): the messages of a body, each behind a
//! prefix of five bytes that says whether it is compressed and how long it is, and the status of a call, in the trailers or in the head of
//! a response that consists of trailers alone.

use super::head::HttpFields;

/// Bytes of a prefix, and of these the flag byte comes first.
const PREFIX_BYTES: u8 = 5;

/// Counts the messages of one body, whose bytes come in pieces of any size. Keeps nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrpcMessageCounter {
    /// Of the prefix that comes next, or of which the message is being read, so many bytes came.
    prefix: u8,
    /// The length that the bytes of the prefix give so far; then how much of the message is still to come.
    length: u32,
}

impl GrpcMessageCounter {
    /// Takes the next piece of the body, and says how many messages ended in it.
    pub fn take(&mut self, mut piece: &[u8]) -> u64 {
        let mut messages = 0;
        loop {
            while self.prefix < PREFIX_BYTES {
                let Some((byte, rest)) = piece.split_first() else { return messages };
                if self.prefix > 0 {
                    self.length = self.length << 8 | u32::from(*byte);
                }
                (self.prefix, piece) = (self.prefix + 1, rest);
            }
            let taken = piece.len().min(self.length as usize);
            piece = &piece[taken..];
            // No more than what it had.
            self.length -= taken as u32;
            if self.length > 0 {
                return messages;
            }
            messages += 1;
            self.prefix = 0;
        }
    }
}

/// The greatest status code of gRPC, UNAUTHENTICATED.
const MAX_STATUS: u8 = 16;
const UNKNOWN: u8 = 2;

/// The status that fields say, from 0 to 16; `None` where they say none. A value that is no code of gRPC's is UNKNOWN, so that no server
/// brings labels of its own, nor has a request tried again for something that nobody knows.
#[must_use]
pub fn grpc_status(fields: &HttpFields) -> Option<u8> {
    let code = std::str::from_utf8(fields.first("grpc-status")?).ok().and_then(|text| text.trim().parse().ok());
    Some(code.filter(|code| *code <= MAX_STATUS).unwrap_or(UNKNOWN))
}

/// The status of gRPC that stands for one of HTTP, where nothing says another
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>, and Envoy's `Grpc::Utility`).
#[must_use]
pub fn grpc_status_of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).expect("tests have short messages").to_be_bytes());
        bytes.resize(bytes.len() + length, 0xff);
        bytes
    }

    #[test]
    fn messages_count_once_they_are_whole_however_they_are_cut() {
        for (lengths, missing, expected) in [
            (&[][..], 0, 0),
            (&[0], 0, 1),
            (&[3], 0, 1),
            (&[3], 1, 0),
            (&[0, 0, 300, 70_000, 1], 0, 5),
            (&[10, 10], 10, 1),
            (&[10, 10], 12, 1),
        ] {
            let mut body: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            body.truncate(body.len() - missing);
            for size in [1, 2, 5, 7, 1000, 100_000] {
                let mut counter = GrpcMessageCounter::default();
                let counted: u64 = body.chunks(size).map(|piece| counter.take(piece)).sum();
                assert_eq!(counted, expected, "{lengths:?} without {missing}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_grpc_status_is_one_of_seventeen() {
        for (value, expected) in [("0", 0), ("16", 16), (" 5", 5), ("17", 2), ("-1", 2), ("999999999999", 2), ("", 2)] {
            assert_eq!(grpc_status(&[("grpc-status", value)].into_iter().collect()), Some(expected), "{value:?}");
        }
        assert_eq!(grpc_status(&HttpFields::default()), None);
    }

    #[test]
    fn statuses_of_http_stand_for_some_of_them() {
        assert_eq!([400, 401, 404, 503, 200, 0].map(grpc_status_of_http), [13, 16, 12, 14, 2, 2]);
    }
}
