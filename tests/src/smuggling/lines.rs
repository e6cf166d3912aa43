//! Changes of the first line and of the fields of a request of HTTP/1.

use super::draft::Change;
use super::fate::Fate::{Arrives, Either, Refused};

pub(super) const FIRST_LINES: &[Change] = &[
    ("nothing", Arrives, |_, _| {}),
    ("another method", Arrives, |d, r| {
        d.method = r.of_these(&["PUT", "PATCH", "DELETE", "post", "M-SEARCH"]).to_owned()
    }),
    ("HEAD", Either, |d, _| d.method = "HEAD".to_owned()),
    ("CONNECT", Either, |d, _| d.method = "CONNECT".to_owned()),
    ("a method that is no token", Refused, |d, r| {
        d.method = r.of_these(&["P(ST", "PO\u{e9}ST", "P:ST", "\"POST\"", "POST\0", ""]).to_owned()
    }),
    ("a query", Arrives, |d, r| d.target.push_str(r.of_these(&["?", "?a=b", "?a=b&c", "?/..//%2f", "?http://x/"]))),
    ("a path of dots and slashes", Either, |d, r| {
        d.target.push_str(r.of_these(&["/..", "/./x", "//x", "/%2e%2e/x", "/..;/x", "/%2f", "/;a=b"]))
    }),
    ("marks in the path", Either, |d, r| {
        d.target.push_str(r.of_these(&["|", "{}", "\"", "<>", "\\", "^", "`", "[]", "%", "%zz", "%00"]))
    }),
    ("a fragment", Either, |d, _| d.target.push_str("#x")),
    ("an absolute target", Either, |d, r| {
        d.target = format!(
            "{}{}",
            r.of_these(&["http://other.example", "HTTP://other.example:80", "https://other.example"]),
            d.target
        )
    }),
    ("a target of another form", Refused, |d, r| {
        d.target = r
            .of_these(&["*", "x", "other.example:80", "http:", "http:///x", "http://u@x/", "ftp://x/", "?x", ""])
            .to_owned()
    }),
    ("a control character in the target", Refused, |d, r| {
        d.target.push_str(r.of_these(&["\0", "\x01", "\x7f", "\t", "\x0b", "\r"]))
    }),
    ("a second target", Refused, |d, r| {
        d.target.push_str(r.of_these(&[" x", " HTTP/1.1", "  ", " HTTP/1.0", " /x HTTP/1.1"]))
    }),
    ("other spaces", Refused, |d, r| {
        let at = r.below(2);
        d.spaces[at] = r.of_these(&["  ", "\t", "\x0b", "\x0c", "", "\r", " \t"]);
    }),
    ("something behind the version", Refused, |d, r| {
        d.spaces[2] = r.of_these(&[" ", "\t", "x", " x", "\0", "\r", ",HTTP/1.0"])
    }),
    ("another version", Refused, |d, r| {
        d.version = r
            .of_these(&[
                "HTTP/1.2",
                "HTTP/2.0",
                "HTTP/0.9",
                "HTTP/1",
                "HTTP/1.",
                "HTTP/1.10",
                "HTTP/01.1",
                "http/1.1",
                "HTTP /1.1",
                "HTTP/1,1",
                "ICY/1.1",
                "",
            ])
            .to_owned()
    }),
    ("HTTP/1.0", Either, |d, _| d.version = "HTTP/1.0".to_owned()),
    ("line feeds alone", Refused, |d, _| d.line_end = "\n"),
    ("carriage returns alone", Refused, |d, _| d.line_end = "\r"),
    ("two carriage returns", Refused, |d, _| d.line_end = "\r\r\n"),
    ("a head that ends in line feeds", Refused, |d, r| {
        d.end_of_head = r.of_these(&["\n", "\r\r\n", "\r", " \r\n", "\t\r\n", "\0\r\n"])
    }),
    ("an empty line before", Either, |d, _| d.method.insert_str(0, "\r\n")),
    ("lines before", Refused, |d, r| {
        d.method.insert_str(0, r.of_these(&["\r\n\r\n", "\n", "\r", " ", "\t\r\n", "\0"]))
    }),
];

pub(super) const FIELDS: &[Change] = &[
    ("no host", Refused, |d, _| d.host.clear()),
    ("two hosts", Refused, |d, r| {
        d.host.push(r.of_these(&["Host: other.example", "hOST: other.example", "Host:"]).to_owned())
    }),
    ("the same host twice", Refused, |d, _| d.host.push(d.host[0].clone())),
    ("a host that is none", Refused, |d, r| {
        d.host[0] = format!(
            "Host: {}",
            r.of_these(&[
                "", "a b", "a/b", "u@a", "a\tb", "a:b", "a:99999", "[::1", "a\\b", "a?b", "a#b", "http://a", "a\"b"
            ])
        )
    }),
    ("another host", Arrives, |d, r| {
        d.host[0] = format!(
            "Host: {}",
            r.of_these(&["other.example", "other.example:80", "[::1]:80", "127.0.0.1", "OTHER.example"])
        )
    }),
    ("an unusual host", Either, |d, r| {
        d.host[0] = format!("Host: {}", r.of_these(&["other.example:", "a,b", "%41", "a!b"]))
    }),
    ("white space before a colon", Refused, |d, r| {
        d.lines.push(
            r.of_these(&["X-A : b", "X-A\t: b", "Content-Length : 5", "Transfer-Encoding : chunked", "Host : x"])
                .to_owned(),
        )
    }),
    ("a folded line", Refused, |d, r| {
        d.lines.push(
            r.of_these(&[
                "X-A: b\r\n c",
                "X-A:\r\n b",
                "X-A: b\r\n\tContent-Length: 5",
                "X-A: b\r\n Transfer-Encoding: chunked",
            ])
            .to_owned(),
        )
    }),
    ("a folded first line", Refused, |d, r| d.host[0].insert_str(0, r.of_these(&[" ", "\t"]))),
    ("a name that is no token", Refused, |d, r| {
        d.lines.push(format!(
            "{}: b",
            r.of_these(&["X A", "X(A)", "X\0", "X\u{e9}", "", "X,A", "X/A", "\"X\"", "X\x0b", "X@A", "\u{feff}X"])
        ))
    }),
    ("a line without a colon", Refused, |d, r| {
        d.lines.push(r.of_these(&["X-A", "GET / HTTP/1.1", "chunked", "\0", "x y"]).to_owned())
    }),
    ("a value with control characters", Refused, |d, r| {
        d.lines.push(format!(
            "X-A: b{}c",
            r.of_these(&["\0", "\x01", "\r", "\n", "\x0b", "\x0c", "\x7f", "\x08", "\rContent-Length: 5\r"])
        ))
    }),
    ("a line feed in a value, and a field", Refused, |d, r| {
        d.lines.push(format!(
            "X-A: b\n{}",
            r.of_these(&["Content-Length: 5", "Transfer-Encoding: chunked", "X-B: c", "Host: x"])
        ))
    }),
    ("a tab and bytes beyond ASCII in a value", Either, |d, r| {
        d.lines.push(format!("X-A: {}", r.of_these(&["a\tb", "\u{e9}", "  a  ", "\ta", "\u{a0}"])))
    }),
    ("an empty value", Arrives, |d, r| d.lines.push(r.of_these(&["X-A:", "X-A: ", "X-A:\t "]).to_owned())),
    ("underscores", Either, |d, r| {
        d.lines.push(r.of_these(&["Content_Length: 5", "Transfer_Encoding: chunked", "X_A: b", "Host_: x"]).to_owned())
    }),
    ("Connection that lists what matters", Refused, |d, r| {
        d.lines.push(format!(
            "Connection: {}",
            r.of_these(&[
                "content-length",
                "Transfer-Encoding",
                "host",
                "close, content-length",
                "x-a, cookie",
                "Host"
            ])
        ))
    }),
    ("Connection that lists others", Either, |d, r| {
        d.lines.push(format!(
            "Connection: {}",
            r.of_these(&["x-usual", "keep-alive, x-usual", "close", "te", ",,keep-alive,"])
        ))
    }),
    ("an upgrade", Either, |d, r| {
        d.lines.push("Connection: Upgrade".to_owned());
        d.lines.push(format!("Upgrade: {}", r.of_these(&["h2c", "HTTP/2.0", "TLS/1.0"])));
    }),
    ("fields of proxies", Either, |d, r| {
        d.lines.push(
            r.of_these(&[
                "Proxy-Connection: close",
                "Keep-Alive: 5",
                "TE: trailers",
                "TE: chunked",
                "Trailer: Content-Length",
                "Max-Forwards: 0",
                "X-HTTP-Method-Override: PUT",
                "X-Original-URL: /x",
                "HTTP2-Settings: AAMAAABk",
                "Expect: x",
            ])
            .to_owned(),
        )
    }),
    ("many fields", Refused, |d, _| d.lines.extend((0..200).map(|number| format!("X-{number}: a")))),
    ("a long field", Refused, |d, _| d.lines.push(format!("X-A: {}", "a".repeat(70_000)))),
];
