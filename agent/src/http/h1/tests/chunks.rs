//! The chunked coding, read.

use super::{Behind, however_cut, seen_by_server};

/// What is received of a request with these chunks, and whether the connection takes another one.
fn received(chunks: &[u8]) -> (String, bool) {
    let request = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", chunks].concat();
    let mut seen = however_cut(&request, |pieces| seen_by_server(pieces, Behind::Silence));
    let is_open = seen.pop().expect("the last event") == "waits";
    (seen.remove(1), is_open)
}

#[test]
fn chunks_are_read_in_one_way() {
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1024));
    for (chunks, expected) in [
        ("0\r\n\r\n", "; end"),
        ("000\r\n\r\n", "; end"),
        ("1\r\na\r\n0\r\n\r\n", "a; end"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789; end"),
        ("000000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789; end"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc; end"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n; end"),
        ("1;x\r\na\r\n0;y=\"z\"\r\n\r\n", "a; end"),
        ("1 \t;x\r\na\r\n0\r\n\r\n", "a; end"),
        (&long_extension, "a; end"),
        ("0\r\nX-A: b\r\ny: c \r\n\r\n", "; trailers x-a=b y=c"),
        ("0\r\nConnection: x\r\nTrailer: y\r\n\r\n", "; end"),
    ] {
        assert_eq!(received(chunks.as_bytes()), (expected.into(), true), "{chunks:?}");
    }
}

#[test]
fn other_chunks_end_the_connection() {
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1025));
    let many_trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(101));
    for (chunks, content) in [
        ("\r\n", ""),
        (";x\r\n", ""),
        ("g\r\n", ""),
        ("-1\r\n", ""),
        ("+1\r\na\r\n", ""),
        (" 1\r\na\r\n", ""),
        ("0x1\r\na\r\n", ""),
        ("1 \r\na\r\n", ""),
        ("1\na\r\n0\r\n\r\n", ""),
        ("1\r\ra\r\n", ""),
        ("1;x\na\r\n", ""),
        ("1;x\0\r\na\r\n", ""),
        ("1;x\r\r\na\r\n", ""),
        ("10000000000000000\r\na", ""),
        ("00000000000000001\r\na", ""),
        (&long_extension, ""),
        ("1\r\nab\r\n", "a"),
        ("1\r\na\n0\r\n\r\n", "a"),
        ("1\r\na0\r\n\r\n", "a"),
        ("1\r\na\rx", "a"),
        ("0\r\nX : a\r\n\r\n", ""),
        ("0\r\nX: a\n\r\n", ""),
        ("0\r\nX: a\r\n b\r\n\r\n", ""),
        ("0\r\n\n", ""),
        ("0\r\nContent-Length: 1\r\n\r\n", ""),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("0\r\nHost: b\r\n\r\n", ""),
        (&many_trailers, ""),
    ] {
        let (seen, is_open) = received(chunks.as_bytes());
        assert!(seen.starts_with(&format!("{content}; malformed message: ")), "{chunks:?}: {seen}");
        assert!(!is_open, "{chunks:?}");
    }
}

#[test]
fn content_that_breaks_off_is_no_content_that_ended() {
    for (framing, content) in [
        ("Content-Length: 5", "abc"),
        ("Content-Length: 18446744073709551615", "abc"),
        ("Transfer-Encoding: chunked", "4\r\nabc"),
        ("Transfer-Encoding: chunked", "ffffffffffffffff\r\nabc"),
        ("Transfer-Encoding: chunked", "3\r\nabc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nX: y\r\n"),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{content}");
        let seen = however_cut(request.as_bytes(), |pieces| seen_by_server(pieces, Behind::End));
        assert_eq!(seen[1..], ["abc; the connection ended before the message did", "closed"], "{request:?}");
    }
}
