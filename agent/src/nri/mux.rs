//! The trunk: several connections over one socket, in pieces that say which of them they belong to. A piece is the
//! connection's number, its own length (both 32 bits, most significant first) and that many bytes. Knows no message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ttrpc::{self, WireError};

/// The connection on which the container runtime asks us.
pub(super) const PLUGIN: u32 = 1;
/// The connection on which we ask the container runtime.
pub(super) const RUNTIME: u32 = 2;

const HEADER_BYTES: usize = 8;
/// The longest piece: a whole message and its head.
const MAX_PIECE_BYTES: usize = ttrpc::HEADER_BYTES + ttrpc::MAX_MESSAGE_BYTES;

/// Bytes of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) connection: u32,
    pub(super) bytes: Bytes,
}

/// Takes the next piece off what was read, if it is there as a whole.
pub(super) fn take(trunk: &mut BytesMut) -> Result<Option<Piece>, WireError> {
    let Some((mut header, _)) = trunk.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let (connection, length) = (header.get_u32(), header.get_u32() as usize);
    if length > MAX_PIECE_BYTES {
        return Err(WireError::Piece { length });
    }
    if trunk.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    trunk.advance(HEADER_BYTES);
    Ok(Some(Piece { connection, bytes: trunk.split_to(length).freeze() }))
}

/// A piece as it is sent.
pub(super) fn piece(connection: u32, bytes: &[u8]) -> Vec<u8> {
    debug_assert!(bytes.len() <= ttrpc::MAX_SENT_BYTES, "a piece of {} bytes", bytes.len());
    let length = u32::try_from(bytes.len()).expect("a few thousand at most");
    let mut piece = Vec::with_capacity(HEADER_BYTES + bytes.len());
    piece.put_u32(connection);
    piece.put_u32(length);
    piece.put_slice(bytes);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_as_they_come_whole() {
        let one = Piece { connection: 1, bytes: Bytes::from_static(b"ab") };
        for (read, expected, left) in [
            (&b""[..], Ok(None), 0),
            (b"\0\0\0\x01\0\0\0", Ok(None), 7),
            (b"\0\0\0\x01\0\0\0\x02a", Ok(None), 9),
            (b"\0\0\0\x01\0\0\0\x02ab", Ok(Some(one)), 0),
            (b"\0\0\0\x02\0\0\0\0more", Ok(Some(Piece { connection: 2, bytes: Bytes::new() })), 4),
            // The longest that is waited for, and one byte more.
            (b"\0\0\0\x01\0\x40\0\x0a", Ok(None), 8),
            (b"\0\0\0\x01\0\x40\0\x0b", Err("a piece of 4194315 bytes, at most 4194314 are taken"), 8),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Err("a piece of 4294967295 bytes, at most 4194314 are taken"), 8),
        ] {
            let mut trunk = BytesMut::from(read);
            let taken = take(&mut trunk).map_err(|error| error.to_string());
            assert_eq!(taken, expected.map_err(str::to_owned), "{read:?}");
            assert_eq!(trunk.len(), left, "{read:?}");
        }
    }

    #[test]
    fn what_is_sent_is_what_is_taken() {
        for bytes in [&b""[..], b"a", &[7; ttrpc::MAX_SENT_BYTES]] {
            let mut trunk = BytesMut::from(&piece(RUNTIME, bytes)[..]);
            let taken = take(&mut trunk).expect("valid").expect("whole");
            assert_eq!((taken.connection, &taken.bytes[..], trunk.len()), (RUNTIME, bytes, 0));
        }
    }
}
