//! Which protocol a client speaks, by the first bytes that it sends. For ports of which nobody has declared it.

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detected {
    Http1,
    /// HTTP/2 without an upgrade (RFC 9113 §3.3).
    Http2,
    Other,
    /// What came may become more than one of them.
    NeedMore,
}

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method. The registry of RFC 9110 §18.2 has none that is longer.
const MAX_METHOD_BYTES: usize = 32;
/// The longest scheme of a target that is looked for.
const MAX_SCHEME_BYTES: usize = 32;
/// Something that has the method and so much of a target is HTTP, however long the rest of its first line is.
const CERTAIN_TARGET_BYTES: usize = 4 * 1024;

/// Decides by the first bytes, as soon as no bytes behind them could change the decision. Bytes are HTTP/1 once they have a method,
/// a target and the beginning of the version: other protocols have lines with spaces too, as `SET /a b` of Redis.
pub(crate) fn detect(bytes: &[u8]) -> Detected {
    if bytes.starts_with(PREFACE) {
        return Detected::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Detected::NeedMore;
    }
    let method = bytes.iter().take_while(|byte| is_method_byte(**byte)).count();
    match bytes.get(method) {
        None if method <= MAX_METHOD_BYTES => return Detected::NeedMore,
        Some(b' ') if (1..=MAX_METHOD_BYTES).contains(&method) => {}
        _ => return Detected::Other,
    }
    let rest = &bytes[method + 1..];
    let target = rest.iter().take_while(|byte| is_target_byte(**byte)).count();
    if !may_begin_target(&bytes[..method], &rest[..target], target < rest.len()) {
        return Detected::Other;
    }
    match &rest[target..] {
        [] if target >= CERTAIN_TARGET_BYTES => Detected::Http1,
        [] => Detected::NeedMore,
        [b' ', version @ ..] => begins_with(version, b"HTTP/1."),
        _ => Detected::Other,
    }
}

/// Whether this can be, or become, one of the forms of RFC 9112 §3.2. A URI may have any scheme: one with a foreign scheme is a bad
/// request, and is to be answered as one.
fn may_begin_target(method: &[u8], target: &[u8], is_whole: bool) -> bool {
    match target {
        [] => !is_whole,
        [b'/', ..] | b"*" => true,
        _ => method == b"CONNECT" || may_begin_uri(target, is_whole),
    }
}

/// A scheme (RFC 3986 §3.1) with `://` behind it.
fn may_begin_uri(target: &[u8], is_whole: bool) -> bool {
    const BEHIND: &[u8] = b"://";
    let is_of_scheme = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let scheme = target.iter().take_while(is_of_scheme).count();
    let behind = &target[scheme..];
    let known = behind.len().min(BEHIND.len());
    target.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme <= MAX_SCHEME_BYTES
        && behind[..known] == BEHIND[..known]
        && (!is_whole || known == BEHIND.len())
}

fn begins_with(bytes: &[u8], expected: &[u8]) -> Detected {
    if bytes.starts_with(expected) {
        Detected::Http1
    } else if expected.starts_with(bytes) {
        Detected::NeedMore
    } else {
        Detected::Other
    }
}

/// Of a token (RFC 9110 §5.6.2).
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_target_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::{CERTAIN_TARGET_BYTES, Detected, PREFACE, detect};

    /// What is decided, and by how many bytes.
    fn decided(bytes: &[u8]) -> (Detected, usize) {
        let undecided = |count: &usize| detect(&bytes[..*count]) == Detected::NeedMore;
        let count = (0..=bytes.len()).take_while(undecided).count().min(bytes.len());
        for longer in count..=bytes.len() {
            assert_eq!(detect(&bytes[..longer]), detect(&bytes[..count]), "more bytes change the decision");
        }
        (detect(bytes), count)
    }

    #[test]
    fn protocols_are_known_by_as_few_bytes_as_tell_them_apart() {
        for (bytes, detected, count) in [
            (&b""[..], Detected::NeedMore, 0),
            (b"GET / HTTP/1.1\r\n", Detected::Http1, 13),
            (b"POST /a/b?c HTTP/1.0\r\n", Detected::Http1, 19),
            (b"M-SEARCH * HTTP/1.1\r\n", Detected::Http1, 18),
            (b"OPTIONS http://a/ HTTP/1.1\r\n", Detected::Http1, 25),
            (b"GET HTTPS://a HTTP/1.1\r\n", Detected::Http1, 21),
            (b"GET ftp://a/ HTTP/1.1\r\n", Detected::Http1, 20),
            (b"GET view-source+x.1://a HTTP/1.1\r\n", Detected::Http1, 31),
            (b"GET /\xc3\xa9 HTTP/1.1\r\n", Detected::Http1, 15),
            (b"CONNECT a:1 HTTP/1.1\r\n", Detected::Http1, 19),
            (b"PRI /x HTTP/1.1\r\n", Detected::Http1, 14),
            (PREFACE, Detected::Http2, 24),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Detected::Other, 19),
            (b"GET / HTTP/2", Detected::Other, 12),
            (b"GET /\r\n", Detected::Other, 6),
            (b"GET  / HTTP/1.1", Detected::Other, 5),
            (b"GET htt HTTP/1.1", Detected::Other, 8),
            (b"GET\r\n", Detected::Other, 4),
            (b"SET /key value\r\n", Detected::Other, 10),
            (b"get key\r\n", Detected::Other, 8),
            (b"get key:value\r\n", Detected::Other, 9),
            (b"get 1st://a HTTP/1.1", Detected::Other, 5),
            (b"*1\r\n$4\r\nPING\r\n", Detected::Other, 3),
            (b"PING\r\n", Detected::Other, 5),
            (b"EHLO mail\r\n", Detected::Other, 10),
            (b"SSH-2.0-OpenSSH_9\r\n", Detected::Other, 18),
            (b"\x16\x03\x01\x02", Detected::Other, 1),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Detected::Other, 1),
            (b"\x10\x10\0\x04MQTT", Detected::Other, 1),
            (b" GET / HTTP/1.1", Detected::Other, 1),
            (b"\r\nGET / HTTP/1.1", Detected::Other, 1),
        ] {
            assert_eq!(decided(bytes), (detected, count), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn no_more_is_held_than_a_method_and_a_long_target() {
        assert_eq!(decided(&[b'a'; 40]), (Detected::Other, 33));
        assert_eq!(decided(&[b"GET ", &[b'a'; 40][..]].concat()), (Detected::Other, 37));
        let line = [b"GET /", &[b'a'; CERTAIN_TARGET_BYTES][..]].concat();
        assert_eq!(decided(&line), (Detected::Http1, CERTAIN_TARGET_BYTES + 4));
    }
}
