//! The static Huffman code of HPACK (RFC 7541 appendix B). The code is canonical: the lengths of its codes define it.

use std::sync::LazyLock;

/// Code lengths in bits, by octet. The end-of-string code (30 ones) is not here: it must not occur.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26,
];
/// Bits of the longest code.
const LONGEST: u32 = 30;
/// Bits by which codes are looked up at once; hardly any longer code is ever sent.
const SHORT: u32 = 10;

/// The octets in the order of their codes, and two ways to an octet.
struct Code {
    octets: Vec<u8>,
    /// For each length the first code, where its octets begin, and how many there are.
    by_length: [(u32, usize, u32); LONGEST as usize + 1],
    /// By the next bits: the octet and the length of its code, which is zero where the code is longer.
    short: [(u8, u8); 1 << SHORT],
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut octets = Vec::with_capacity(LENGTHS.len());
    let mut by_length = [(0, 0, 0); LONGEST as usize + 1];
    let mut short = [(0, 0); 1 << SHORT];
    let mut next = 0_u32;
    for (length, entry) in (0_u32..).zip(&mut by_length) {
        next <<= 1;
        let start = octets.len();
        for octet in (0..=u8::MAX).filter(|octet| u32::from(LENGTHS[usize::from(*octet)]) == length) {
            let code = next + u32::try_from(octets.len() - start).expect("at most 256 octets");
            octets.push(octet);
            if length <= SHORT {
                // Whatever bits follow the code.
                let (from, count) = ((code << (SHORT - length)) as usize, 1 << (SHORT - length));
                short[from..from + count].fill((octet, LENGTHS[usize::from(octet)]));
            }
        }
        let count = u32::try_from(octets.len() - start).expect("at most 256 octets");
        *entry = (next, start, count);
        next += count;
    }
    Code { octets, by_length, short }
});

impl Code {
    /// The octet whose code these 30 bits begin with, and the code's length.
    fn next(&self, bits: u32) -> Option<(u8, u32)> {
        let (octet, length) = self.short[(bits >> (LONGEST - SHORT)) as usize];
        if length > 0 {
            return Some((octet, length.into()));
        }
        (SHORT + 1..=LONGEST).find_map(|length| {
            let (first, start, count) = self.by_length[length as usize];
            let at = (bits >> (LONGEST - length)).wrapping_sub(first);
            (at < count).then(|| (self.octets[start + at as usize], length))
        })
    }
}

/// Appends the text that a Huffman-coded string stands for. `None` if it is not one: an unknown code, the end-of-string
/// code, or padding that is not a beginning of it shorter than an octet (RFC 7541 §5.2).
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let code = &*CODE;
    // The last `held` bits of `bits` are still to be decoded.
    let (mut bits, mut held) = (0_u64, 0_u32);
    let mut coded = coded.iter();
    loop {
        while held < LONGEST
            && let Some(octet) = coded.next()
        {
            bits = bits << 8 | u64::from(*octet);
            held += 8;
        }
        // Behind the last bit there are ones, as if the padding went on.
        let ahead = if held >= LONGEST { bits >> (held - LONGEST) } else { !(!bits << (LONGEST - held)) };
        let ahead = u32::try_from(ahead & ((1 << LONGEST) - 1)).expect("30 bits");
        match code.next(ahead).filter(|(_, length)| *length <= held) {
            Some((octet, length)) => {
                text.push(octet);
                held -= length;
            }
            None => {
                let padding = (1 << held) - 1;
                return (held < 8 && bits & padding == padding).then_some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn decoded(coded: &[u8]) -> Option<String> {
        let mut text = Vec::new();
        decode(coded, &mut text)?;
        String::from_utf8(text).ok()
    }

    #[test]
    fn examples_of_the_rfc_are_read() {
        // RFC 7541 §C.4 and §C.6.
        for (coded, text) in [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[], ""),
        ] {
            assert_eq!(decoded(coded).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for coded in [
            &[0xff, 0xff, 0xff, 0xff][..], // the end of the string, spelled out
            &[0x64, 0x02, 0xff],           // a whole octet of padding
            &[0x64, 0x02, 0x00],           // padding that is not ones
        ] {
            assert_eq!(decoded(coded), None, "{coded:x?}");
        }
    }
}
