//! Changes of where a request of HTTP/1 ends: lengths, transfer codings, chunks.

use super::draft::{CHUNKED, Change};
use super::fate::Fate::{Arrives, Either, Refused};
use super::random::Random;

pub(super) const LENGTHS: &[Change] = &[
    ("two lengths", Refused, |d, r| {
        let length = d.length();
        d.frame(format!("Content-Length: {length}"));
        d.lines.push(format!("Content-Length: {}", length + r.of_these(&[1, 5, 100])));
    }),
    ("the same length twice", Either, |d, _| {
        let length = d.length();
        d.frame(format!("Content-Length: {length}"));
        d.lines.push(format!("Content-Length: {length}"));
    }),
    ("a list of lengths", Refused, |d, r| {
        let length = d.length();
        d.frame(format!("Content-Length: {length}, {}", length + [1, 5][r.below(2)]));
    }),
    ("a list of the same length", Either, |d, _| {
        let length = d.length();
        d.frame(format!("Content-Length: {length}, {length}"));
    }),
    ("a length of another form", Refused, |d, r| {
        let length = d.length();
        let [before, behind] = r.of_these(&[
            ["+", ""],
            ["-", ""],
            ["0x", ""],
            ["", "."],
            ["", ".0"],
            ["", "e0"],
            ["\"", "\""],
            ["", "x"],
            ["", " 1"],
            ["", "_0"],
            ["\x0b", ""],
            ["", ";"],
            ["0o", ""],
            ["\u{663}", ""],
            ["'", "'"],
            [",", "x"],
        ]);
        d.frame(format!("Content-Length: {before}{length}{behind}"));
    }),
    ("leading zeros", Either, |d, _| {
        let length = d.length();
        d.frame(format!("Content-Length: 000{length}"));
    }),
    ("a huge length", Either, |d, r| {
        d.frame(format!(
            "Content-Length: {}",
            r.of_these(&["18446744073709551616", "99999999999999999999999999", "4294967296", "9223372036854775808"])
        ))
    }),
    ("no length", Refused, |d, _| d.frame("Content-Length:")),
    ("a longer length", Either, |d, _| {
        let length = d.length();
        d.frame(format!("Content-Length: {}", length + 7));
    }),
    ("a shorter length", Either, |d, _| {
        let length = d.length();
        d.frame(format!("Content-Length: {}", length / 2));
    }),
    ("a length and chunks", Refused, |d, r| {
        let length = d.length();
        d.frame(format!("Content-Length: {length}"));
        let at = r.below(d.lines.len() + 1);
        d.lines.insert(at, spelled_chunked(r));
    }),
    ("chunks in HTTP/1.0", Refused, |d, _| {
        d.frame("Content-Length: 0");
        d.version = "HTTP/1.0".to_owned();
        d.lines.push(CHUNKED.to_owned());
    }),
    ("another coding", Refused, |d, r| {
        d.frame(format!(
            "Transfer-Encoding: {}",
            r.of_these(&[
                "gzip",
                "identity",
                "chunked, identity",
                "chunked, chunked",
                "xchunked",
                "chunked x",
                "\"chunked\"",
                "chunked;q=1",
                "cow",
                "",
                "chunked, gzip",
                ",",
                "chunke",
                "chunkedd",
                "deflate, identity",
                "\x0bchunked",
                "chunked\x0b",
                "ch\u{212a}unked"
            ])
        ))
    }),
];

pub(super) const CHUNKS: &[Change] = &[
    ("chunked in another case", Arrives, |d, r| {
        d.frame(format!("Transfer-Encoding:{}", r.of_these(&[" Chunked", "chunked", "\tCHUNKED", " chunked "])))
    }),
    ("chunked twice", Refused, |d, r| d.lines.push(spelled_chunked(r))),
    ("a length beside chunks", Refused, |d, r| {
        let at = r.below(d.lines.len() + 1);
        let length = r.of_these(&["0", "3", "5", "1000"]);
        d.lines.insert(at, format!("Content-Length: {length}"));
    }),
    ("codings before chunked", Refused, |d, r| {
        d.frame(format!(
            "Transfer-Encoding: {}",
            r.of_these(&["gzip, chunked", "identity, chunked", "x, chunked", "chunked, chunked"])
        ))
    }),
    ("chunked beside nothing", Either, |d, r| {
        d.frame(format!("Transfer-Encoding: {}", r.of_these(&["chunked,", ",chunked", ", chunked ,"])))
    }),
    ("leading zeros of a size", Either, |d, r| {
        let zeros = "0".repeat(1 + r.below(20));
        d.ends_with(&format!("{zeros}\r\n\r\n"));
    }),
    ("an extension", Either, |d, r| {
        let extension = r.of_these(&[";a", ";a=b", "; a=\"b\"", ";", " ;a", ";a=b;c", ";\"\r", ";a\nb"]);
        d.ends_with(&format!("0{extension}\r\n\r\n"));
    }),
    ("a size of another form", Refused, |d, r| {
        let size = r.of_these(&[
            "0x0",
            "+0",
            "-0",
            "0_0",
            "g",
            "",
            " 0",
            "\t0",
            "0.0",
            "0,",
            "\"0\"",
            "00000000000000000",
            "10000000000000000",
            "0 0",
            "\0",
            "0\0",
        ]);
        d.ends_with(&format!("{size}\r\n\r\n"));
    }),
    ("a size that ends in a line feed", Refused, |d, _| d.ends_with("0\n\r\n")),
    ("a size that ends otherwise", Refused, |d, r| {
        let end = r.of_these(&["\r", "\r\r\n", "\n\n", "\x0b\r\n", "\0\r\n"]);
        d.ends_with(&format!("0{end}\r\n"));
    }),
    ("chunks that end in line feeds", Refused, |d, _| {
        d.ends_with("1\r\na\n0\r\n\r\n");
    }),
    ("chunks that do not end", Refused, |d, r| {
        let end =
            r.of_these(&["1\r\na0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "2\r\na\r\n0\r\n\r\n", "1\r\na\r\r\n0\r\n\r\n"]);
        d.ends_with(end);
    }),
    ("trailers", Either, |d, r| {
        let field = r.of_these(&["X-A: b", "Cookie: a=b", "Connection: close", "Trailer: x"]);
        d.ends_with(&format!("0\r\n{field}\r\n\r\n"));
    }),
    ("trailers that matter", Refused, |d, r| {
        let field = r.of_these(&["Content-Length: 5", "Transfer-Encoding: chunked", "Host: x"]);
        d.ends_with(&format!("0\r\n{field}\r\n\r\n"));
    }),
    ("trailers that are none", Refused, |d, r| {
        let lines = r.of_these(&[
            "X-A : b\r\n",
            " X-A: b\r\n",
            "X-A: b\n",
            "X-A\r\n",
            "X-A: b\r\n c\r\n",
            "X\0: b\r\n",
            "GET / HTTP/1.1\r\n",
        ]);
        d.ends_with(&format!("0\r\n{lines}\r\n"));
    }),
    ("a last chunk that ends in a line feed", Refused, |d, _| d.ends_with("0\r\n\n")),
    ("more behind the last chunk", Either, |d, r| {
        let more = r.of_these(&["x", "\n", " ", "\0"]);
        d.ends_with(&format!("0\r\n\r\n{more}"));
    }),
];

/// A field that may be read as `chunked`.
fn spelled_chunked(random: &mut Random) -> String {
    let spelled = [
        "Transfer-Encoding: chunked",
        "transfer-encoding: Chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: identity",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
    ];
    random.of_these(&spelled).to_owned()
}
