//! Requests: which bytes are one, what of it, and which status others get.

use std::task::Poll;

use super::{Behind, Wire, however_cut, now, seen_by_server, text};
use crate::http::h1::ServerConnection;
use crate::http::h1::raw::{MAX_FIELDS, MAX_HEAD_BYTES};
use crate::http::stream::BodyLength;
use crate::model::http::head::{RequestHead, Scheme};

/// What a server sees of bytes and the end behind them, without that.
fn seen(bytes: &[u8]) -> Vec<String> {
    let mut seen = however_cut(bytes, |pieces| seen_by_server(pieces, Behind::End));
    assert_eq!(seen.pop().as_deref(), Some("closed"), "{:?}", text(bytes));
    seen
}

#[test]
fn targets_have_four_forms() {
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET a|/|"),
        ("get /a?b=c HTTP/1.1\r\nHost: a:8080\r\n\r\n", "get a:8080|/a?b=c|"),
        ("GET //x/../%2f HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET [::1]:80|//x/../%2f|"),
        ("GET http://b/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "GET b|/c?d|"),
        ("GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET b|/|"),
        ("GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET b|/?c|"),
        ("GET http://b:1/ HTTP/1.0\r\n\r\n", "GET b:1|/|"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS a|*|"),
        ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS b|*|"),
        ("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS b|/|"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT a:443||"),
        ("GET / HTTP/1.0\r\n\r\n", "GET |/|"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET a|/|"),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET a|/|"),
        ("M-SEARCH!#$%&'*+.^_`|~ / HTTP/1.1\r\nHost:a\r\n\r\n", "M-SEARCH!#$%&'*+.^_`|~ a|/|"),
    ] {
        assert_eq!(seen(request.as_bytes()), [expected], "{request:?}");
    }
}

#[test]
fn the_scheme_is_that_of_an_absolute_target() {
    for (target, scheme) in [("/", Scheme::Http), ("http://a/", Scheme::Http), ("hTTps://a/", Scheme::Https)] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut server = ServerConnection::new(Wire::new(&[], Behind::End), request.as_bytes().into());
        let mut head = RequestHead::default();
        let polled = now(|cx| server.poll_request(cx, &mut head));
        assert!(matches!(polled, Poll::Ready(Ok(Some(BodyLength::Empty)))), "{target}");
        assert_eq!(head.scheme, scheme, "{target}");
    }
}

/// Asserts that each of the requests is refused with its status, however it is cut.
fn assert_refused(requests: &[(String, u16)]) {
    for (request, status) in requests {
        let seen = seen(request.as_bytes());
        assert_eq!(seen.len(), 1, "{request:?}: {seen:?}");
        assert!(seen[0].starts_with(&format!("{status} ")), "{request:?}: {seen:?}");
    }
}

/// A request with these lines behind `Host`.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn other_first_lines_are_refused() {
    let first = |line: &str, status| (format!("{line}\r\nHost: a\r\n\r\n"), status);
    assert_refused(&[
        first("GET  / HTTP/1.1", 400),
        first("GET /  HTTP/1.1", 400),
        first("GET / HTTP/1.1 ", 400),
        first("GET / a HTTP/1.1", 400),
        first(" GET / HTTP/1.1", 400),
        first("GET\t/ HTTP/1.1", 400),
        first("GET /\0 HTTP/1.1", 400),
        first("GET /\x7f HTTP/1.1", 400),
        first("GET /\t HTTP/1.1", 400),
        first("G(T / HTTP/1.1", 400),
        first("GET /", 400),
        first("GET", 400),
        first("GET / FTP/1.1", 400),
        first("GET / HTTP/1.1x", 400),
        first("GET / http/1.1", 400),
        first("GET / HTTP/1.2", 505),
        first("GET / HTTP/2.0", 505),
        first("GET / HTTP/0.9", 505),
        first("GET / HTTP/11", 505),
        first("\r\n\r\nGET / HTTP/1.1", 400),
        first("\nGET / HTTP/1.1", 400),
        first("\r\rGET / HTTP/1.1", 400),
    ]);
}

#[test]
fn other_targets_and_hosts_are_refused() {
    let with_target = |text: &str| (format!("{text} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    assert_refused(&[
        with_target("GET a"),
        with_target("GET *"),
        with_target("OPTIONS *x"),
        with_target("OPTIONS a"),
        with_target("GET ftp://a/"),
        with_target("GET /\u{e9}"),
        with_target("GET /?\u{e9}"),
        with_target("GET http://a/\u{e9}"),
        with_target("GET http:/a/"),
        with_target("GET http://"),
        with_target("GET http:///a"),
        with_target("GET http://u@a/"),
        with_target("GET a:80"),
        with_target("CONNECT /"),
        with_target("CONNECT a"),
        with_target("CONNECT a:"),
        with_target("CONNECT a:0"),
        with_target("CONNECT http://a:1"),
        with_target("CONNECT *"),
    ]);
    assert_refused(
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: /\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            &with("Host: a"),
            &with("hOST: b"),
        ]
        .map(|request| (request.to_string(), 400)),
    );
}

#[test]
fn other_lines_are_refused() {
    let http = |rest: &str| (format!("GET / HTTP/1.1{rest}"), 400);
    assert_refused(&[
        http("\nHost: a\r\n\r\n"),
        http("\rHost: a\r\n\r\n"),
        http("\r\nHost: a\n\r\n"),
        http("\r\nHost: a\r\n\n"),
        http("\r\nHost: a\r\nX: b\nY: c\r\n\r\n"),
        http("\r\nHost: a\r\nX:\nY: c\r\n\r\n"),
        http("\r\n Host: a\r\n\r\n"),
    ]);
    assert_refused(
        &[
            "X: a\rY: b",
            "X: a\r",
            "X: a\r\n b",
            "X: a\r\n\tb",
            " X: a",
            "X : a",
            "X\t: a",
            "X",
            ": a",
            "X Y: a",
            "X(: a",
            "\u{e9}: a",
            "X\0: a",
            "X: \0",
            "X: a\x0bb",
            "X: a\x7f",
        ]
        .map(|line| (with(line), 400)),
    );
}

#[test]
fn where_the_end_is_uncertain_it_is_refused() {
    assert_refused(
        &[
            ("Content-Length: 1\r\nContent-Length: 2", 400),
            ("Content-Length: 1, 2", 400),
            ("Content-Length: +1", 400),
            ("Content-Length: -1", 400),
            ("Content-Length: 0x1", 400),
            ("Content-Length: 1 1", 400),
            ("Content-Length:", 400),
            ("Content-Length: 1,", 400),
            ("Content-Length: 18446744073709551616", 400),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\r\ncontent-length: 0", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
            ("Transfer-Encoding: chunked, chunked", 400),
            ("Transfer-Encoding: chunked, gzip", 400),
            ("Transfer-Encoding: identity", 400),
            ("Transfer-Encoding: xchunked", 400),
            ("Transfer-Encoding: chunked;a=b", 400),
            ("Transfer-Encoding: \"chunked\"", 400),
            ("Transfer-Encoding: ,chunked", 400),
            ("Transfer-Encoding:", 400),
            ("Transfer-Encoding: gzip, chunked", 501),
        ]
        .map(|(lines, status)| (with(lines), status)),
    );
    assert_refused(
        &[
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ]
        .map(|request| (request.to_string(), 400)),
    );
}

#[test]
fn connection_removes_nothing_that_others_rely_on() {
    let many = format!("Connection: {}", "a,".repeat(17));
    assert_refused(
        &[
            "Connection: close, content-length",
            "Connection: Host",
            "Connection: transfer-encoding",
            "Connection: Authorization",
            "Connection: cookie",
            "Connection: close\r\nConnection: X-Forwarded-For",
            "Connection: a b",
            "Connection: :path",
            &many,
        ]
        .map(|lines| (with(lines), 400)),
    );
}

#[test]
fn fields_of_the_connection_stay_at_it() {
    for (lines, expected) in [
        ("X-A:b\r\nx-a:  c \t", "x-a=b x-a=c"),
        ("X:", "x="),
        ("X: a\tb \u{e9}", "x=a\tb \u{e9}"),
        ("Accept: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive", "accept=b"),
        ("Connection: x-a, X-B ,keep-alive\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3\r\nX-a: 4", "x-c=3"),
        ("X-A: 1\r\nConnection: keep-alive\r\nConnection: x-a\r\nX-B: 2", "x-b=2"),
        ("TE: trailers\r\nConnection: TE", "te=trailers"),
        ("TE: deflate;q=0.5, Trailers", "te=trailers"),
        ("TE: deflate", ""),
        ("Expect: 100-continue", "expect=100-continue"),
        ("Trailer: x", "trailer=x"),
        ("Upgrade: websocket", ""),
        ("Connection: upgrade\r\nUpgrade: websocket", " upgrade:websocket"),
        ("Upgrade: a/1\r\nConnection: Upgrade\r\nUpgrade: b, c", " upgrade:a/1, b, c"),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", ""),
        ("Connection: upgrade\r\nUpgrade: H2C, TLS/1.2, HTTP/2.0, websocket", " upgrade:websocket"),
        ("Connection: upgrade", ""),
    ] {
        assert_eq!(seen(with(lines).as_bytes()), [format!("GET a|/|{expected}")], "{lines:?}");
    }
    let http10 = "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\nX: a\r\n\r\n";
    assert_eq!(seen(http10.as_bytes()), ["GET |/|x=a"]);
}

#[test]
fn content_ends_where_its_framing_says() {
    for (fields, content, seen_fields, seen_content) in [
        ("Content-Length: 3", "abc", "content-length=3", "abc; end"),
        ("Content-Length: 0", "", "content-length=0", "; end"),
        ("Content-Length: 0003", "abc", "content-length=3", "abc; end"),
        ("Content-Length: 3\r\ncontent-length: 3", "abc", "content-length=3", "abc; end"),
        ("Content-Length: 3, 3", "abc", "content-length=3", "abc; end"),
        ("Transfer-Encoding: Chunked", "3\r\nabc\r\n0\r\n\r\n", "", "abc; end"),
        ("Transfer-Encoding: chunked", "1\r\na\r\n0\r\nX: b\r\n\r\n", "", "a; trailers x=b"),
    ] {
        let request = format!("{}{content}", with(fields));
        assert_eq!(seen(request.as_bytes()), [&format!("GET a|/|{seen_fields}"), seen_content], "{request:?}");
    }
    assert_eq!(seen(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"), ["POST a|/|"]);
}

#[test]
fn a_head_that_breaks_off_has_no_answer() {
    for (bytes, expected) in [
        ("", "closed"),
        ("\r\n", "closed"),
        ("\r", "the connection ended before the message did"),
        ("G", "the connection ended before the message did"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "the connection ended before the message did"),
    ] {
        assert_eq!(seen_by_server(&[bytes.as_bytes()], Behind::End), [expected], "{bytes:?}");
    }
    // What is wrong already has one.
    let wrong = however_cut(b"GET / HTTP/1.1\r\nHost: a\r\nX :", |pieces| seen_by_server(pieces, Behind::End));
    assert_eq!(wrong, ["400 invalid name of a field, or a folded line", "closed"]);
    assert_eq!(seen_by_server(&[b"GET"], Behind::Reset), ["reset by the peer"]);
    assert_eq!(seen_by_server(&[b"GET"], Behind::Silence), ["waits"]);
}

#[test]
fn heads_are_bounded() {
    let fields = |count: usize| "a: b\r\n".repeat(count);
    let of_bytes = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nx: ";
        format!("{start}{}\r\n\r\n", "y".repeat(bytes - start.len() - 4))
    };
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes));
    for (request, expected) in [
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(MAX_FIELDS - 1)), "GET"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(MAX_FIELDS)), "431"),
        (of_bytes(MAX_HEAD_BYTES), "GET"),
        (of_bytes(MAX_HEAD_BYTES + 1), "431"),
        (target(MAX_HEAD_BYTES - 100), "GET"),
        (target(MAX_HEAD_BYTES - 20), "431"),
        (target(MAX_HEAD_BYTES), "414"),
        // They are refused before their end has come.
        (target(MAX_HEAD_BYTES)[..=MAX_HEAD_BYTES].into(), "414"),
        (of_bytes(MAX_HEAD_BYTES * 2)[..=MAX_HEAD_BYTES].into(), "431"),
    ] {
        let pieces: Vec<&[u8]> = request.as_bytes().chunks(1000).collect();
        for pieces in [&[request.as_bytes()][..], &pieces] {
            let seen = seen_by_server(pieces, Behind::Silence);
            assert!(seen[0].starts_with(expected), "{} bytes: {:?}", request.len(), seen[0].get(..60));
        }
    }
}
