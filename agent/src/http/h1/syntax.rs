//! The smallest parts of messages: tokens, values, lists, numbers, authorities (RFC 9110 §5.6, RFC 3986 §3.2), and a field as it is
//! written.

use bytes::BytesMut;

/// Which bytes a token may have (RFC 9110 §5.6.2).
static TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// Which bytes a registered name may have: unreserved ones, sub-delims, and `%` of encoded ones (RFC 3986 §3.2.2).
static REGISTERED_NAME: [bool; 256] = table(b"-._~!$&'()*+,;=%");

/// Letters, digits, and some more.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

/// Methods, names of fields and options of connections are tokens.
#[inline]
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().fold(true, |good, byte| good & TOKEN[usize::from(*byte)])
}

/// Whether a field's value has no control characters but tabs, so that it ends no line (RFC 9110 §5.5).
#[inline]
pub(super) fn is_value(bytes: &[u8]) -> bool {
    // Without a branch per byte, so that the compiler looks at many at once.
    !bytes.iter().fold(false, |bad, byte| bad | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f))
}

/// Whether it may stand between the spaces of a request line. As in what is read, bytes beyond ASCII must be UTF-8.
pub(super) fn is_target(bytes: &[u8]) -> bool {
    let is_printed = !bytes.iter().fold(false, |bad, byte| bad | (*byte <= b' ') | (*byte == 0x7f));
    is_printed && !bytes.is_empty() && str::from_utf8(bytes).is_ok()
}

/// The members of a list, without those that are empty (RFC 9110 §5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed).filter(|member| !member.is_empty())
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A number that consists of digits alone; `None` where it does not, and where it is too large.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The digits of a number, right-aligned in `place`.
pub(super) fn decimal_text(mut number: u64, place: &mut [u8; 20]) -> &[u8] {
    let mut start = place.len();
    loop {
        start -= 1;
        place[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &place[start..];
        }
    }
}

/// Whether it is a host with or without a port: what `Host` and `:authority` may say. User information is refused, as RFC 9110
/// §4.2.4 says, and so is an empty host (§4.2.1).
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    if let Some(rest) = bytes.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let is_ipv6_byte = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        return end > 0 && rest[..end].iter().all(is_ipv6_byte) && is_port_or_nothing(&rest[end + 1..]);
    }
    let end = bytes.iter().position(|byte| !REGISTERED_NAME[usize::from(*byte)]).unwrap_or(bytes.len());
    end > 0 && is_port_or_nothing(&bytes[end..])
}

/// RFC 3986 allows a colon without digits behind it.
fn is_port_or_nothing(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes == b":" || port(bytes).is_some()
}

/// The port of what begins with a colon.
fn port(bytes: &[u8]) -> Option<u16> {
    decimal(bytes.strip_prefix(b":")?).and_then(|number| u16::try_from(number).ok())
}

/// Whether it is an authority with a port that can be connected to: the target of CONNECT (RFC 9110 §9.3.6).
pub(super) fn is_authority_with_port(bytes: &[u8]) -> bool {
    let Some(colon) = bytes.iter().rposition(|byte| *byte == b':') else { return false };
    is_authority(bytes) && port(&bytes[colon..]).is_some_and(|port| port != 0)
}

/// Writes one field, of a head or of a trailer section.
///
/// # Errors
/// Where it would end its line, or be read as another field.
#[inline]
pub(super) fn write_field(name: &[u8], value: &[u8], text: &mut BytesMut) -> Result<(), &'static str> {
    if !is_token(name) {
        return Err("the name of a field is not a token");
    }
    if !is_value(value) {
        return Err("the value of a field has control characters");
    }
    text.reserve(name.len() + value.len() + 4);
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_hosts_with_or_without_a_port() {
        let long = "9".repeat(30);
        for (text, is_one, has_port) in [
            ("a", true, false),
            ("a.b-c_d~e:80", true, true),
            ("a:", true, false),
            ("a:0", true, false),
            ("a:65535", true, true),
            ("a:65536", false, false),
            (&format!("a:{long}"), false, false),
            ("a:8x", false, false),
            ("a:+8", false, false),
            ("a:1:2", false, false),
            ("10.0.0.1:80", true, true),
            ("[::1]", true, false),
            ("[fd00::a]:80", true, true),
            ("[::ffff:1.2.3.4]:1", true, true),
            ("::1", false, false),
            ("[]:80", false, false),
            ("[::1", false, false),
            ("[::1]x", false, false),
            ("[::1%eth0]", false, false),
            ("%41.b", true, false),
            ("", false, false),
            (":80", false, false),
            ("user@a", false, false),
            ("a/b", false, false),
            ("a?b", false, false),
            ("a#b", false, false),
            ("a\\b", false, false),
            ("a b", false, false),
            ("a\u{e9}", false, false),
        ] {
            let seen = (is_authority(text.as_bytes()), is_authority_with_port(text.as_bytes()));
            assert_eq!(seen, (is_one, has_port), "{text}");
        }
    }

    #[test]
    fn numbers_are_digits_and_fit() {
        for (text, number) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            (" 1", None),
            ("1 ", None),
            ("0x1", None),
            ("1e3", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), number, "{text:?}");
        }
        for number in [0, 7, 10, 12_345, u64::MAX] {
            assert_eq!(decimal_text(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn tokens_values_and_lists() {
        for (text, token, value) in [
            ("GET", true, true),
            ("x-A_1", true, true),
            ("a:", false, true),
            ("a b", false, true),
            ("", false, true),
            ("a\tb", false, true),
            ("a\r", false, false),
            ("a\n", false, false),
            ("\0", false, false),
            ("a\u{7f}", false, false),
            ("\u{e9}", false, true),
        ] {
            assert_eq!((is_token(text.as_bytes()), is_value(text.as_bytes())), (token, value), "{text:?}");
        }
        // Wherever in a value they stand.
        for (byte, is_good) in
            [(0, false), (9, true), (10, false), (31, false), (32, true), (126, true), (127, false), (128, true)]
        {
            for at in 0..20 {
                let mut value = [b'a'; 20];
                value[at] = byte;
                assert_eq!(is_value(&value), is_good, "{byte} at {at}");
            }
        }
        let list: Vec<&[u8]> = members(b", a ,\tb c,,d").collect();
        assert_eq!(list, [&b"a"[..], b"b c", b"d"]);
    }
}
