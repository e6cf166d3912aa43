//! A writer of header blocks that does as a fuzzer's bytes say, in every form of RFC 7541: fields of both tables, names of both,
//! literals that are indexed, not indexed or never, text as it is or in Huffman code, and tables whose size changes. Decides nothing.

use std::collections::VecDeque;

/// Names and values in their order.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What an entry of a table costs besides its text (RFC 7541 §4.1).
pub(crate) const OVERHEAD: usize = 32;
/// What the table of a decoder may hold that says nothing else.
const TABLE_BYTES: usize = 4096;
/// Where the dynamic table begins.
const FIRST_DYNAMIC: usize = 62;
/// Some of the static table (appendix A), by index.
const STATIC: [(usize, &str, &str); 8] = [
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (5, ":path", "/index.html"),
    (14, ":status", "500"),
    (16, "accept-encoding", "gzip, deflate"),
    (32, "cookie", ""),
    (58, "user-agent", ""),
    (61, "www-authenticate", ""),
];

/// Octets with Huffman codes of 5 and of 6 bits, each code one more than that of the octet before (appendix B).
const FIVE_BITS: &[u8] = b"012aceiost";
const SIX_BITS: (u32, &[u8]) = (0x14, b" %-./3456789=A_bdfghlmnpru");
/// Some with longer ones: code and bits.
const LONGER: [(u8, u32, u32); 11] = [
    (b':', 0x5c, 7),
    (b'X', 0xfc, 8),
    (b'!', 0x3f8, 10),
    (b'?', 0x3fc, 10),
    (0, 0x1ff8, 13),
    (b'\\', 0x7fff0, 19),
    (128, 0xf_ffe6, 20),
    (255, 0x3ff_ffee, 26),
    (b'\n', 0x3fff_fffc, 30),
    (b'\r', 0x3fff_fffd, 30),
    (22, 0x3fff_fffe, 30),
];

pub(crate) struct Writer<'d> {
    rest: &'d [u8],
    /// The newest entry first.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    limit: usize,
}

impl<'d> Writer<'d> {
    pub(crate) fn new(choices: &'d [u8]) -> Self {
        Self { rest: choices, table: VecDeque::new(), limit: TABLE_BYTES }
    }

    /// A block of a few fields, and these; `None` once the bytes are used up.
    pub(crate) fn block(&mut self) -> Option<(Vec<u8>, Fields)> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut block, mut fields) = (Vec::new(), Vec::new());
        let choice = self.next();
        // The size may change twice before a block, down and up again (RFC 7541 §4.2).
        for _ in 0..[0, 0, 1, 2][choice & 3] {
            self.limit = self.next() * TABLE_BYTES / 255;
            self.evict(0);
            integer(&mut block, 0x20, 5, self.limit);
        }
        for _ in 0..=choice >> 5 {
            fields.push(self.field(&mut block));
        }
        Some((block, fields))
    }

    fn field(&mut self, block: &mut Vec<u8>) -> (Vec<u8>, Vec<u8>) {
        let (form, at) = (self.next(), self.next());
        let (index, name, value) = self.entry(at);
        if form & 3 == 0 {
            integer(block, 0x80, 7, index);
            return (name, value);
        }
        let (first, prefix_bits) = [(0x40, 6), (0x00, 4), (0x10, 4)][(form >> 4) % 3];
        let name = if form & 4 == 0 {
            integer(block, first, prefix_bits, index);
            name
        } else {
            block.push(first);
            self.string(block)
        };
        let value = self.string(block);
        if first == 0x40 {
            let bytes = name.len() + value.len() + OVERHEAD;
            self.evict(bytes);
            // One that is larger than the table empties it (RFC 7541 §4.4).
            if bytes <= self.limit {
                self.table.push_front((name.clone(), value.clone()));
            }
        }
        (name, value)
    }

    /// An entry of one of the tables: its index, name and value.
    fn entry(&self, at: usize) -> (usize, Vec<u8>, Vec<u8>) {
        let at = at % (STATIC.len() + self.table.len());
        match STATIC.get(at) {
            Some((index, name, value)) => (*index, name.as_bytes().to_vec(), value.as_bytes().to_vec()),
            None => {
                let (name, value) = self.table[at - STATIC.len()].clone();
                (FIRST_DYNAMIC + at - STATIC.len(), name, value)
            }
        }
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, more: usize) {
        let size = |table: &VecDeque<(Vec<u8>, Vec<u8>)>| {
            table.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD).sum::<usize>()
        };
        while !self.table.is_empty() && size(&self.table) + more > self.limit {
            self.table.pop_back();
        }
    }

    fn next(&mut self) -> usize {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        usize::from(*first)
    }

    /// Writes text, sometimes repeated, so that lengths have several bytes: of any octets, or of those whose codes are known here.
    fn string(&mut self, block: &mut Vec<u8>) -> Vec<u8> {
        let form = self.next();
        let (text, rest) = self.rest.split_at((form & 0x1f).min(self.rest.len()));
        self.rest = rest;
        let is_coded = form & 0x20 != 0;
        let text: Vec<u8> = text.iter().map(|octet| if is_coded { coded_octet(*octet) } else { *octet }).collect();
        let text = text.repeat(if form & 0xc0 == 0xc0 { 40 } else { 1 });
        let written = if is_coded { huffman(&text) } else { text.clone() };
        integer(block, if is_coded { 0x80 } else { 0 }, 7, written.len());
        block.extend_from_slice(&written);
        text
    }
}

/// An octet whose code is known, for any.
fn coded_octet(octet: u8) -> u8 {
    let longer = LONGER.map(|(octet, ..)| octet);
    let known = [FIVE_BITS, SIX_BITS.1, &longer].concat();
    known[usize::from(octet) % known.len()]
}

/// RFC 7541 §5.2, of octets whose codes are known.
fn huffman(text: &[u8]) -> Vec<u8> {
    let (mut coded, mut bits, mut count) = (Vec::new(), 0_u64, 0);
    for octet in text {
        let (code, length) = code(*octet);
        (bits, count) = (bits << length | u64::from(code), count + length);
        while count >= 8 {
            count -= 8;
            coded.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count > 0 {
        // The rest is filled with ones.
        coded.push((bits << (8 - count)) as u8 | 0xff >> count);
    }
    coded
}

/// Its code, and the bits of that.
fn code(octet: u8) -> (u32, u32) {
    let place = |octets: &[u8]| octets.iter().zip(0..).find(|(known, _)| **known == octet).map(|(_, place)| place);
    let longer = LONGER.iter().find(|(known, ..)| *known == octet).map(|(_, code, bits)| (*code, *bits));
    let short = place(FIVE_BITS).map(|place| (place, 5)).or(place(SIX_BITS.1).map(|place| (SIX_BITS.0 + place, 6)));
    short.or(longer).expect("its code is known")
}

/// RFC 7541 §5.1.
fn integer(block: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let most = (1 << prefix_bits) - 1;
    if value < most {
        return block.push(first | value as u8);
    }
    block.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    block.push(rest as u8);
}
