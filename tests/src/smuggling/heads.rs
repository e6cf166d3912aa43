//! What a client sends over HTTP/2, and a proxy writes as HTTP/1: a request's head that is changed somewhere, and its content.

use super::fate::Fate;
use super::fate::Fate::{Arrives, Either, Refused};
use super::random::Random;
use super::requests::target;

/// A request over HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Fields in their order, pseudo-header fields among them.
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
    pub fate: Fate,
    /// What was changed, for messages.
    pub changes: Vec<&'static str>,
}

type Change = (&'static str, Fate, fn(&mut Case, &mut Random));

/// The fields of a request without content that nobody misreads.
#[must_use]
pub fn plain(server: &str, number: u64, place: u8, host: &str) -> Vec<(String, String)> {
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", &*target(server, number, place))];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The case with this number, for this server.
#[must_use]
pub fn case(seed: u64, number: u64, server: &str, host: &str) -> Case {
    let mut random = Random::of(seed, number);
    let hidden = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", target(server, number, 9));
    let content = match random.below(4) {
        0 => String::new(),
        1 => "0123456789".repeat(random.below(5)),
        2 => hidden,
        _ => format!("0\r\n\r\n{hidden}"),
    };
    let mut case = Case {
        fields: plain(server, number, 1, host),
        content: content.into_bytes(),
        fate: Arrives,
        changes: Vec::new(),
    };
    case.set(":method", "POST");
    case.add("x-usual", "yes");
    let (name, fate, change) = random.of_these(CHANGES);
    change(&mut case, &mut random);
    case.fate = fate;
    case.changes.push(name);
    case
}

impl Case {
    fn add(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    fn set(&mut self, name: &str, value: &str) {
        self.change(name, |before| value.clone_into(before));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut String)) {
        if let Some((_, value)) = self.fields.iter_mut().find(|(known, _)| known == name) {
            change(value);
        }
    }

    fn remove(&mut self, name: &str) {
        self.fields.retain(|(known, _)| known != name);
    }
}

/// What ends a line or a word of HTTP/1, or looks as if it did.
const BREAKS: [&str; 8] = ["\r\n", "\n", "\r", "\0", "\r\n\r\n", "\x0b", "\x7f", "\r\nContent-Length: 5\r\n"];

const CHANGES: &[Change] = &[
    ("nothing", Arrives, |_, _| {}),
    ("another method", Arrives, |c, r| c.set(":method", r.of_these(&["PUT", "PATCH", "DELETE", "post", "M-SEARCH"]))),
    ("GET", Either, |c, _| c.set(":method", "GET")),
    ("HEAD", Either, |c, _| c.set(":method", "HEAD")),
    ("CONNECT", Either, |c, _| c.set(":method", "CONNECT")),
    ("a method that is no token", Refused, |c, r| {
        c.set(
            ":method",
            r.of_these(&["", "POST / HTTP/1.1\r\nHost: x\r\n\r\nGET", "PO ST", "POST ", "P\u{e9}", "P:", "POST\t"]),
        );
    }),
    ("a query", Arrives, |c, r| c.change(":path", |path| path.push_str(r.of_these(&["?", "?a=b", "?/..//%2f"])))),
    ("marks in the path", Either, |c, r| {
        c.change(":path", |path| path.push_str(r.of_these(&["|", "{}", "\"", "\\", "#x", "//x", "/..", "%", "%00"])));
    }),
    ("a path with a break", Refused, |c, r| {
        c.change(":path", |path| path.push_str(&format!("{}x", r.of_these(&BREAKS))));
    }),
    ("a path with a space", Refused, |c, r| {
        c.change(":path", |path| path.push_str(r.of_these(&[" ", " HTTP/1.1", " HTTP/1.1\r\nX: y", "\t"])));
    }),
    ("a path that is none", Refused, |c, r| {
        c.set(":path", r.of_these(&["", "*", "x", "http://other.example/", "?x", " /"]))
    }),
    ("a missing pseudo-header field", Refused, |c, r| c.remove(r.of_these(&[":method", ":scheme", ":path"]))),
    ("a pseudo-header field twice", Refused, |c, r| {
        let (name, value) =
            r.of_these(&[(":path", "/x"), (":method", "GET"), (":scheme", "https"), (":authority", "x")]);
        c.fields.insert(0, (name.to_owned(), value.to_owned()));
    }),
    ("a pseudo-header field behind others", Refused, |c, _| {
        let first = c.fields.remove(0);
        c.fields.push(first);
    }),
    ("an unknown pseudo-header field", Refused, |c, r| {
        c.fields.insert(0, (r.of_these(&[":status", ":x", ":", ":protocol"]).to_owned(), "x".to_owned()));
    }),
    ("a scheme that is none", Refused, |c, r| {
        c.set(":scheme", r.of_these(&["", "http://x/", "ftp", "http\r\nx: y", "http "]))
    }),
    ("an authority that is none", Refused, |c, r| {
        c.set(
            ":authority",
            r.of_these(&["a b", "u@a", "a/b", "a\r\nX: y", "a\n", "a?b", "a#b", "a\0", "a\\b", "a\"b", "\u{e9}"]),
        );
    }),
    ("another authority", Either, |c, r| {
        c.set(
            ":authority",
            r.of_these(&["other.example", "other.example:80", "[::1]:80", "a:", "a:99999", "a,b", "::1", "a:b"]),
        );
    }),
    ("no authority", Either, |c, _| c.remove(":authority")),
    ("an empty authority", Either, |c, _| c.set(":authority", "")),
    ("a host that is another", Refused, |c, r| c.add("host", r.of_these(&["x", "x:80", "a b"]))),
    ("two hosts", Refused, |c, _| {
        c.add("host", "x");
        c.add("host", "x");
    }),
    ("a name that is none", Refused, |c, r| {
        c.add(
            r.of_these(&[
                "",
                "X-A",
                "x a",
                "x:a",
                "x\r\na",
                "x\0",
                "x\t",
                "\u{e9}",
                "x\n",
                "x-a: b\r\ncontent-length",
                " x",
            ]),
            "b",
        );
    }),
    ("a value with a break", Refused, |c, r| c.add("x-a", &format!("b{}c", r.of_these(&BREAKS)))),
    ("a value with blanks around", Either, |c, r| c.add("x-a", r.of_these(&[" b", "b ", "\tb", "  "]))),
    ("bytes beyond ASCII", Either, |c, _| c.add("x-a", "\u{e9}")),
    ("transfer-encoding", Refused, |c, r| {
        c.add("transfer-encoding", r.of_these(&["chunked", "identity", "gzip, chunked", ""]))
    }),
    ("a field of a connection", Refused, |c, r| {
        let (name, value) = r.of_these(&[
            ("connection", "close"),
            ("connection", "content-length"),
            ("keep-alive", "5"),
            ("proxy-connection", "close"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("te", "chunked"),
        ]);
        c.add(name, value);
    }),
    ("te: trailers", Arrives, |c, _| c.add("te", "trailers")),
    ("the right length", Arrives, |c, _| c.add("content-length", &c.content.len().to_string())),
    ("a longer length", Refused, |c, r| c.add("content-length", &(c.content.len() + 1 + r.below(50)).to_string())),
    ("a shorter length", Refused, |c, _| {
        c.content.push(b'x');
        c.add("content-length", &(c.content.len() / 2).to_string());
    }),
    ("a length that is none", Refused, |c, r| {
        let length = c.content.len();
        let [before, behind] = r.of_these(&[
            ["+", ""],
            ["-", ""],
            ["0x", ""],
            ["", " 1"],
            ["", ", 1"],
            ["\"", "\""],
            ["", "e0"],
            ["", "\r\nx: y"],
        ]);
        c.add("content-length", &format!("{before}{length}{behind}"));
    }),
    ("two lengths", Refused, |c, r| {
        c.add("content-length", &c.content.len().to_string());
        c.add("content-length", &(c.content.len() + r.below(2)).to_string());
    }),
    ("cookies in parts", Arrives, |c, _| {
        c.add("cookie", "a=b");
        c.add("cookie", "c=d");
    }),
    ("underscores", Either, |c, r| c.add(r.of_these(&["content_length", "transfer_encoding", "host_"]), "5")),
    ("fields of proxies", Either, |c, r| {
        let (name, value) = r.of_these(&[
            ("x-original-url", "/x"),
            ("expect", "x"),
            ("max-forwards", "0"),
            ("trailer", "content-length"),
        ]);
        c.add(name, value);
    }),
];
