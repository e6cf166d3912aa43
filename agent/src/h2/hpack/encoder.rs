//! Writes header blocks: fields by their places in the static table, and literals that no table keeps. A peer that keeps no
//! table for us has less to hold, and to applications on the same node the bytes that a table saves are worth less than the
//! search for them.

use super::table;

/// The leading bits of a field that is in a table as it is (RFC 7541 §6.1).
const INDEXED: u8 = 0x80;
/// Those of a literal without indexing (§6.2.2), and of one that nobody on its way may index (§6.2.3).
const NOT_INDEXED: u8 = 0x00;
const NEVER_INDEXED: u8 = 0x10;
/// A change of the table's size to nothing (§6.3).
const EMPTY_TABLE: u8 = 0x20;

/// The size of the table that a peer has without saying so (RFC 9113 §6.5.2).
const USUAL_TABLE_BYTES: u32 = 4096;

/// The writer of one connection's header blocks.
#[derive(Debug, Default)]
pub(in crate::h2) struct Encoder {
    /// Whether the next block has to begin with the size of the table: the peer has lowered the limit (RFC 7541 §4.2).
    size_is_due: bool,
}

impl Encoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(in crate::h2) fn limit_table(&mut self, bytes: u32) {
        self.size_is_due |= bytes < USUAL_TABLE_BYTES;
    }

    /// Begins a block: fields are [appended](encode) behind it.
    pub(in crate::h2) fn begin(&mut self, block: &mut Vec<u8>) {
        if std::mem::take(&mut self.size_is_due) {
            block.push(EMPTY_TABLE);
        }
    }
}

/// Appends one field of a header section. Names are in lower case.
pub(in crate::h2) fn encode(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let Some(place) = table::place_of_name(name) else {
        block.push(NOT_INDEXED);
        string(block, name);
        return string(block, value);
    };
    if let Some(place) = table::place_of_field(place, value) {
        // There are fewer static fields than seven bits count.
        return block.push(INDEXED | place);
    }
    let leading = if is_secret(name) { NEVER_INDEXED } else { NOT_INDEXED };
    integer(block, leading, 4, place.into());
    string(block, value);
}

/// Whether a field's value must not be guessable by what compression makes of it (RFC 7541 §7.1.3).
fn is_secret(name: &[u8]) -> bool {
    matches!(name, b"authorization" | b"proxy-authorization" | b"cookie" | b"set-cookie")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str, value: &str) -> Vec<u8> {
        let mut block = Vec::new();
        encode(&mut block, name.as_bytes(), value.as_bytes());
        block
    }

    #[test]
    fn fields_are_written_by_their_place_or_as_literals() {
        for (name, value, expected) in [
            (":method", "GET", &[0x82][..]),
            (":method", "PUT", &[0x02, 3, b'P', b'U', b'T']),
            (":status", "500", &[0x8e]),
            (":status", "503", &[0x08, 3, b'5', b'0', b'3']),
            (":path", "/", &[0x84]),
            (":scheme", "https", &[0x87]),
            ("accept-encoding", "gzip, deflate", &[0x90]),
            ("accept", "a", &[0x0f, 4, 1, b'a']),
            ("www-authenticate", "a", &[0x0f, 46, 1, b'a']),
            ("accept", "", &[0x93]),
            ("cookie", "a", &[0x1f, 17, 1, b'a']),
            ("x", "a", &[0, 1, b'x', 1, b'a']),
        ] {
            assert_eq!(encoded(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_smaller_table_is_acknowledged_once() {
        let mut encoder = Encoder::default();
        let mut begin = |limit: Option<u32>| {
            let mut block = Vec::new();
            limit.into_iter().for_each(|limit| encoder.limit_table(limit));
            encoder.begin(&mut block);
            block
        };
        assert_eq!(begin(None), [0_u8; 0]);
        assert_eq!(begin(Some(65_536)), [0_u8; 0], "we use none of it");
        assert_eq!(begin(Some(0)), [0x20]);
        assert_eq!(begin(None), [0_u8; 0]);
    }
}
