//! As much of HPACK (RFC 7541) as a client needs that writes every header as a literal and reads only statuses.

/// A header block of literals that enter no table.
#[must_use]
pub fn block<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name.as_bytes());
        text(&mut bytes, value.as_bytes());
    }
    bytes
}

/// The header block of a CONNECT request.
#[must_use]
pub fn connect(authority: &str) -> Vec<u8> {
    block([(":method", "CONNECT"), (":authority", authority)])
}

/// A string literal without Huffman coding.
pub fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    integer(bytes, 0, 7, text.len());
    bytes.extend(text);
}

fn integer(bytes: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let limit = (1_usize << prefix_bits) - 1;
    let byte = |value: usize| u8::try_from(value).expect("masked to a byte");
    if value < limit {
        bytes.push(first | byte(value));
        return;
    }
    bytes.push(first | byte(limit));
    let mut rest = value - limit;
    while rest >= 128 {
        bytes.push(byte(rest % 128) | 0x80);
        rest /= 128;
    }
    bytes.push(byte(rest));
}

/// The path of a request's header block, where every string is a literal without Huffman coding. The dynamic table must have been
/// forbidden to the peer.
#[must_use]
pub fn path(mut block: &[u8]) -> Option<String> {
    loop {
        let first = *block.first()?;
        let prefix_bits = match first {
            0x80.. => 7,
            0x40..=0x7f => 6,
            0x20..=0x3f => 5,
            _ => 4,
        };
        let index = read_integer(&mut block, prefix_bits)?;
        match (prefix_bits, index) {
            (7, 4) => return Some("/".to_owned()),
            (7 | 5, _) => continue,
            (_, 0) => drop(read_text(&mut block)?),
            _ => {}
        }
        let value = read_text(&mut block)?;
        if matches!(index, 4 | 5) {
            return String::from_utf8(value.to_vec()).ok();
        }
    }
}

fn read_integer(block: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let limit = (1_usize << prefix_bits) - 1;
    let mut next = || {
        let (first, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*first))
    };
    let mut value = next()? & limit;
    if value < limit {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn read_text<'b>(block: &mut &'b [u8]) -> Option<&'b [u8]> {
    let is_plain = *block.first()? < 0x80;
    let length = read_integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    is_plain.then_some(text)
}

/// The status that a response's header block begins with. The dynamic table must have been forbidden to the peer.
#[must_use]
pub fn status(block: &[u8]) -> Option<u16> {
    let (&first, rest) = block.split_first()?;
    match first {
        // Statuses of the static table.
        0x88 => Some(200),
        0x89 => Some(204),
        0x8a => Some(206),
        0x8b => Some(304),
        0x8c => Some(400),
        0x8d => Some(404),
        0x8e => Some(500),
        // A change of the table's size comes before the fields.
        0x20..=0x3e => status(rest),
        // Literals whose name is that of an entry for `:status`.
        0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => {
            let (&length, value) = rest.split_first()?;
            let value = value.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { str::from_utf8(value).ok()?.parse().ok() } else { huffman_digits(value) }
        }
        _ => None,
    }
}

/// A number in Huffman coding: 0, 1 and 2 have five bits, the other digits six.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1))).collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = number(bits.get(at..at + 5)?);
        let (digit, length) = if short < 3 { (short, 5) } else { (number(bits.get(at..at + 6)?).checked_sub(22)?, 6) };
        at += length;
        value = value * 10 + digit;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        for (block, expected) in [
            (&[0x88][..], Some(200)),
            (&[0x20, 0x8c], Some(400)),
            (&[0x48, 3, b'4', b'0', b'1'], Some(401)),
            // "401" and "503" in Huffman coding: 011010 00000 00001, 011011 00000 011001.
            (&[0x08, 0x82, 0b0110_1000, 0b0000_0001], Some(401)),
            (&[0x48, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111], Some(503)),
            (&[0xbe], None),
            (&[], None),
        ] {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }

    #[test]
    fn the_path_is_found_among_other_fields() {
        let long = "x".repeat(300);
        let fields = |path| block([(":method", "GET"), ("x-long", &*long), (":path", path), ("x-a", "b")]);
        for (block, expected) in [
            (&[0x82, 0x86, 0x84][..], Some("/")),
            (&[0x20, 0x82, 0x04, 2, b'/', b'a', 0x86], Some("/a")),
            (&[0x82, 0x1f, 17, 1, b'c', 0x44, 2, b'/', b'a'], Some("/a")),
            (&[0x82, 0x04, 2, b'/'], None),
            (&[0x82, 0x04, 0x81, 0x1f], None),
            (&[0x82], None),
        ] {
            assert_eq!(path(block).as_deref(), expected, "{block:x?}");
        }
        assert_eq!(path(&fields("/a")), None, "a name in full is another one's way to write it");
    }

    #[test]
    fn lengths_of_any_size_are_written() {
        let mut bytes = Vec::new();
        text(&mut bytes, &[b'a'; 300]);
        assert_eq!(bytes[..3], [0x7f, 0xad, 0x01]);
        assert_eq!(bytes.len(), 303);
    }
}
