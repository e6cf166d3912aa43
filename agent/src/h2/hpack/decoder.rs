//! Reads header blocks. Bounded whatever a peer sends: the table by its limit, a list of fields by ours.

use std::ops::Range;

use super::huffman;
use super::table::{ENTRY_OVERHEAD, Entry, Table};

/// The size of the dynamic table: the initial value of SETTINGS_HEADER_TABLE_SIZE (RFC 9113 §6.5.2), which we never change.
const TABLE_BYTES: usize = 4096;

/// Why a header block is not understood. The tables of both ends no longer agree after it, so the connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    #[error("header block ends in the middle")]
    Truncated,
    #[error("header block has a number that is too large")]
    Number,
    #[error("header block refers to field {0}, which there is not")]
    Index(u64),
    #[error("header block has a string that is not Huffman-coded")]
    Huffman,
    #[error("header block asks for a table of {0} bytes")]
    TableSize(u64),
    #[error("header block resizes its table amid fields")]
    LateResize,
}

/// The reader of one connection's header blocks.
#[derive(Debug)]
pub(in crate::h2) struct Decoder {
    table: Table,
    longest_list: usize,
}

/// What a block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::h2) struct Decoded {
    /// False where the list is longer than the longest.
    pub(in crate::h2) is_whole: bool,
    /// The size of the list (RFC 9113 §6.5.2), however long. A block of a few bytes may stand for much.
    pub(in crate::h2) bytes: usize,
}

impl Decoder {
    /// `longest_list`: the size of a list of fields (RFC 9113 §6.5.2, `SETTINGS_MAX_HEADER_LIST_SIZE`) above which it is
    /// refused.
    #[must_use]
    pub(in crate::h2) fn new(longest_list: usize) -> Self {
        Self { table: Table::new(TABLE_BYTES), longest_list }
    }

    /// Reads a whole block; `field` sees each name and value in order, up to the longest list.
    ///
    /// # Errors
    /// See [`HpackError`].
    pub(in crate::h2) fn decode(
        &mut self,
        block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<Decoded, HpackError> {
        let mut rest = Reader(block);
        let (mut size, longest) = (0, self.longest_list);
        let mut take = |name: &[u8], value: &[u8]| {
            size += name.len() + value.len() + ENTRY_OVERHEAD;
            if size <= longest {
                field(name, value);
            }
        };
        let mut fields = false;
        let mut text = Vec::new();
        while let Some(first) = rest.0.first().copied() {
            // RFC 7541 §6: the leading bits tell the kind.
            let resizes = first & 0xe0 == 0x20;
            if resizes {
                let limit = rest.integer(5)?;
                let allowed = usize::try_from(limit).ok().filter(|limit| *limit <= TABLE_BYTES);
                self.table.set_limit(allowed.ok_or(HpackError::TableSize(limit))?);
            } else if first & 0x80 != 0 {
                let index = rest.integer(7)?;
                let (name, value) = self.table.get(index).ok_or(HpackError::Index(index))?;
                take(name, value);
            } else if first & 0x40 != 0 {
                let (name, value) = rest.literal(6, &self.table, &mut text)?;
                take(name, value);
                let entry = Entry::new(name, value);
                self.table.insert(entry);
            } else {
                let (name, value) = rest.literal(4, &self.table, &mut text)?;
                take(name, value);
            }
            // RFC 7541 §4.2: the table's size changes at the beginning of a block.
            if resizes && fields {
                return Err(HpackError::LateResize);
            }
            fields |= !resizes;
        }
        Ok(Decoded { is_whole: size <= longest, bytes: size })
    }
}

/// What is left of a block.
struct Reader<'a>(&'a [u8]);

/// Where a string is: in the block as it is sent, or decoded in a buffer.
enum Place<'a> {
    Block(&'a [u8]),
    Decoded(Range<usize>),
}

impl<'a> Place<'a> {
    fn of(self, decoded: &'a [u8]) -> &'a [u8] {
        match self {
            Place::Block(text) => text,
            Place::Decoded(range) => &decoded[range],
        }
    }
}

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Result<u8, HpackError> {
        let (first, rest) = self.0.split_first().ok_or(HpackError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    /// RFC 7541 §5.1, up to 2^28: more than any length or index that can be meant.
    fn integer(&mut self, prefix_bits: u32) -> Result<u64, HpackError> {
        let most = (1_u64 << prefix_bits) - 1;
        let mut value = u64::from(self.octet()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let octet = self.octet()?;
            value += u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HpackError::Number)
    }

    /// Reads a string; appends it to `decoded` where it is Huffman-coded.
    fn string(&mut self, decoded: &mut Vec<u8>) -> Result<Place<'a>, HpackError> {
        let is_huffman = self.0.first().ok_or(HpackError::Truncated)? & 0x80 != 0;
        let length = usize::try_from(self.integer(7)?).map_err(|_| HpackError::Number)?;
        let (coded, rest) = self.0.split_at_checked(length).ok_or(HpackError::Truncated)?;
        self.0 = rest;
        if !is_huffman {
            return Ok(Place::Block(coded));
        }
        let start = decoded.len();
        decoded.reserve(length * 8 / 5);
        huffman::decode(coded, decoded).ok_or(HpackError::Huffman)?;
        Ok(Place::Decoded(start..decoded.len()))
    }

    /// Reads a name and a value. `decoded` is room for what has to be decoded.
    fn literal<'t>(
        &mut self,
        prefix_bits: u32,
        table: &'t Table,
        decoded: &'t mut Vec<u8>,
    ) -> Result<(&'t [u8], &'t [u8]), HpackError>
    where
        'a: 't,
    {
        decoded.clear();
        let name = match self.integer(prefix_bits)? {
            0 => self.string(decoded)?,
            index => Place::Block(table.get(index).ok_or(HpackError::Index(index))?.0),
        };
        let value = self.string(decoded)?;
        let decoded: &'t [u8] = decoded;
        Ok((name.of(decoded), value.of(decoded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        decoder.decode(block, |name, value| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn expected(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_requests_of_the_rfc_are_read_and_remembered() {
        // RFC 7541 §C.4: three requests on one connection, Huffman-coded.
        let mut decoder = Decoder::new(16 * 1024);
        let common = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        let first =
            [0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(read(&mut decoder, &first), Ok(expected(&common)));
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let with_cache = [&common[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(read(&mut decoder, &second), Ok(expected(&with_cache)));
    }

    #[test]
    fn what_we_write_is_read_back() {
        let mut block = Vec::new();
        let long = "x".repeat(300);
        let connect: [(&str, &[u8]); 4] =
            [(":method", b"CONNECT"), (":authority", b"[fd00::1]:80"), ("baggage", long.as_bytes()), ("a", b"")];
        for (name, value) in connect {
            crate::h2::hpack::encode(&mut block, name.as_bytes(), value);
        }
        let fields = [(":method", "CONNECT"), (":authority", "[fd00::1]:80"), ("baggage", &*long), ("a", "")];
        assert_eq!(read(&mut Decoder::new(16 * 1024), &block), Ok(expected(&fields)));
        for status in ["200", "503"] {
            let mut block = Vec::new();
            crate::h2::hpack::encode(&mut block, b":status", status.as_bytes());
            assert_eq!(read(&mut Decoder::new(1024), &block), Ok(expected(&[(":status", status)])));
        }
    }

    #[test]
    fn what_is_no_header_block_is_refused() {
        for (block, error) in [
            (&[0x80][..], HpackError::Index(0)),
            (&[0xbe], HpackError::Index(62)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], HpackError::Number),
            (&[0x00, 0x05, b'a'], HpackError::Truncated),
            (&[0x00], HpackError::Truncated),
            (&[0x00, 0x01, b'a', 0x81, 0x00], HpackError::Huffman),
            (&[0x3f, 0xe2, 0x1f], HpackError::TableSize(4097)),
            (&[0x82, 0x20], HpackError::LateResize),
        ] {
            assert_eq!(read(&mut Decoder::new(1024), block), Err(error), "{block:x?}");
        }
        let mut bomb = vec![0x40, 1, b'a', 100];
        bomb.extend([b'b'; 100]);
        bomb.extend([0xbe; 100]);
        let mut seen = 0;
        let decoded = Decoder::new(4096).decode(&bomb, |_, _| seen += 1);
        let bytes = 101 * (1 + 100 + ENTRY_OVERHEAD);
        assert_eq!(decoded, Ok(Decoded { is_whole: false, bytes }), "a list longer than we take");
        assert_eq!(seen, 4096 / (1 + 100 + ENTRY_OVERHEAD));
    }
}
