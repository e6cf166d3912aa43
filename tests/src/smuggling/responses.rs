//! What a server sends for one request: a response that is changed somewhere, often with another one hidden in it or behind it.

use super::fate::Fate;
use super::fate::Fate::{Arrives, Either, Refused};
use super::random::Random;

/// The bytes of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub bytes: Vec<u8>,
    /// Whether the server ends the connection behind them.
    pub closes: bool,
    pub fate: Fate,
    /// What was changed, for messages.
    pub changes: Vec<&'static str>,
    /// The content, where it arrives.
    pub content: Vec<u8>,
}

struct Draft {
    first: String,
    lines: Vec<String>,
    line_end: &'static str,
    end_of_head: &'static str,
    content: String,
    closes: bool,
}

type Change = (&'static str, Fate, fn(&mut Draft, &mut Random));

/// A response that nobody must ever take for one of its own.
const HIDDEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nHIDDEN";
const CHUNKED: &str = "Transfer-Encoding: chunked";

/// The case with this number.
#[must_use]
pub fn case(seed: u64, number: u64) -> Case {
    let mut random = Random::of(seed, number);
    let content = match random.below(3) {
        0 => "0123456789".repeat(1 + random.below(4)),
        1 => HIDDEN.to_owned(),
        _ => format!("0\r\n\r\n{HIDDEN}"),
    };
    let mut draft = Draft {
        first: "HTTP/1.1 200 OK".to_owned(),
        lines: vec!["X-Usual: yes".to_owned()],
        line_end: "\r\n",
        end_of_head: "\r\n",
        content: content.clone(),
        closes: false,
    };
    let kind = random.below(3);
    match kind {
        0 => draft.lines.push(format!("Content-Length: {}", content.len())),
        1 => {
            draft.lines.push(CHUNKED.to_owned());
            draft.content = format!("{:x}\r\n{content}\r\n0\r\n\r\n", content.len());
        }
        _ => draft.closes = true,
    }
    let (mut fate, mut changes) = (Arrives, Vec::new());
    let framing: &[Change] = [LENGTHS, CHUNKS, HEADS][kind];
    // Two are of two tables: the second must not take the first one back.
    let choice = random.below(3);
    let is_also = choice == 2 && kind < 2;
    let tables = [(choice != 1, framing), (choice == 1 || is_also, HEADS)];
    for (_, table) in tables.into_iter().filter(|(is_chosen, _)| *is_chosen) {
        let (name, change_fate, change) = random.of_these(table);
        change(&mut draft, &mut random);
        fate = fate.max(change_fate);
        changes.push(name);
    }
    let mut bytes = draft.first + draft.line_end;
    for line in draft.lines {
        bytes = bytes + &line + draft.line_end;
    }
    let bytes = (bytes + draft.end_of_head + &draft.content).into_bytes();
    Case { bytes, closes: draft.closes, fate, changes, content: content.into_bytes() }
}

impl Draft {
    fn frame(&mut self, line: String) {
        let is_framing = |line: &String| line.starts_with("Content-Length:") || line == CHUNKED;
        match self.lines.iter_mut().find(|line| is_framing(line)) {
            Some(place) => *place = line,
            None => self.lines.push(line),
        }
    }

    fn ends_with(&mut self, last: &str) {
        let kept = self.content.len() - "0\r\n\r\n".len();
        self.content.truncate(kept);
        self.content.push_str(last);
        // What may wait for more gets the end.
        self.closes = true;
    }
}

const HEADS: &[Change] = &[
    ("nothing", Arrives, |_, _| {}),
    ("another reason", Arrives, |d, r| {
        d.first = format!("HTTP/1.1 200 {}", r.of_these(&["", "Fine", "HTTP/1.1 404 No", "a  b"]))
    }),
    ("no space before a reason", Either, |d, _| d.first = "HTTP/1.1 200".to_owned()),
    ("a reason of other bytes", Either, |d, r| d.first = format!("HTTP/1.1 200 {}", r.of_these(&["\u{e9}", "a\tb"]))),
    ("a reason with control characters", Refused, |d, r| {
        d.first = format!("HTTP/1.1 200 a{}b", r.of_these(&["\0", "\r", "\x01", "\x7f"]))
    }),
    ("another version", Refused, |d, r| {
        d.first = format!(
            "{} 200 OK",
            r.of_these(&[
                "HTTP/1.2",
                "HTTP/2.0",
                "HTTP/0.9",
                "http/1.1",
                "ICY",
                "HTTP/1",
                "HTTP/11",
                "HTTP/1.10",
                " HTTP/1.1"
            ])
        );
    }),
    ("a status that is none", Refused, |d, r| {
        d.first =
            format!("HTTP/1.1 {} OK", r.of_these(&["20", "2000", "abc", "+20", "-200", "2 00", "0x0", " 200", "20a"]));
    }),
    ("line feeds alone", Refused, |d, _| d.line_end = "\n"),
    ("carriage returns alone", Refused, |d, _| {
        d.line_end = "\r";
        d.closes = true;
    }),
    ("a head that ends otherwise", Refused, |d, r| {
        d.end_of_head = r.of_these(&["\n", "\r\r\n", " \r\n", "\0\r\n"]);
        d.closes = true;
    }),
    ("lines before", Refused, |d, r| {
        d.first.insert_str(0, r.of_these(&["\r\n", "\n", " ", "x\r\n", "\r\n\r\n", HIDDEN_PART]))
    }),
    ("white space before a colon", Refused, |d, r| {
        d.lines.push(r.of_these(&["X-A : b", "Content-Length : 5", "Transfer-Encoding : chunked"]).to_owned())
    }),
    ("a folded line", Refused, |d, r| {
        d.lines.push(r.of_these(&["X-A: b\r\n c", "X-A: b\r\n\tContent-Length: 5"]).to_owned())
    }),
    ("a name that is none", Refused, |d, r| {
        d.lines.push(format!("{}: b", r.of_these(&["X A", "X(A)", "X\0", "", "X,A", "\u{e9}"])))
    }),
    ("a line without a colon", Refused, |d, r| d.lines.push(r.of_these(&["X-A", "HTTP/1.1 200 OK", "\0"]).to_owned())),
    ("a value with control characters", Refused, |d, r| {
        d.lines.push(format!("X-A: b{}c", r.of_these(&["\0", "\x01", "\r", "\n", "\x0b", "\x7f"])))
    }),
    ("a length and chunks", Refused, |d, r| {
        d.lines.push(format!("Content-Length: {}", r.below(40)));
        d.lines.push(CHUNKED.to_owned());
        d.closes = true;
    }),
    ("another coding", Refused, |d, r| {
        d.frame(format!(
            "Transfer-Encoding: {}",
            r.of_these(&["identity", "chunked, identity", "chunked, chunked", "xchunked", "\"chunked\"", ""])
        ));
        d.closes = true;
    }),
    ("an interim response before", Arrives, |d, r| {
        d.first.insert_str(0, r.of_these(&["HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]))
    }),
    ("an interim response with a length", Either, |d, _| {
        d.first.insert_str(0, "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n");
        d.closes = true;
    }),
    ("a change of protocols", Refused, |d, _| d.first = "HTTP/1.1 101 Switching".to_owned()),
    ("Connection that lists what matters", Either, |d, r| {
        d.lines.push(format!("Connection: {}", r.of_these(&["content-length", "transfer-encoding", "close"])))
    }),
    ("HTTP/1.0", Either, |d, _| {
        d.first = "HTTP/1.0 200 OK".to_owned();
        d.closes = true;
    }),
    ("many fields", Refused, |d, _| d.lines.extend((0..200).map(|number| format!("X-{number}: a")))),
    ("a long field", Refused, |d, _| d.lines.push(format!("X-A: {}", "a".repeat(70_000)))),
];

/// The beginning of a response, of which another one is the value of a field.
const HIDDEN_PART: &str = "HTTP/1.1 200 OK\r\nX-B ";

const LENGTHS: &[Change] = &[
    ("two lengths", Refused, |d, r| d.lines.push(format!("Content-Length: {}", d.content.len() + 1 + r.below(9)))),
    ("the same length twice", Either, |d, _| d.lines.push(format!("Content-Length: {}", d.content.len()))),
    ("a list of lengths", Refused, |d, _| d.frame(format!("Content-Length: {}, 5000", d.content.len()))),
    ("a length that is none", Refused, |d, r| {
        let [before, behind] =
            r.of_these(&[["+", ""], ["-", ""], ["0x", ""], ["", "x"], ["", " 1"], ["\"", "\""], ["", ".0"]]);
        d.frame(format!("Content-Length: {before}{}{behind}", d.content.len()));
    }),
    ("a huge length", Refused, |d, _| d.frame("Content-Length: 18446744073709551616".to_owned())),
    ("a longer length", Either, |d, _| {
        d.frame(format!("Content-Length: {}", d.content.len() + 10));
        d.closes = true;
    }),
    ("a response behind it", Arrives, |d, _| d.content.push_str(HIDDEN)),
    ("bytes behind it", Arrives, |d, r| d.content.push_str(r.of_these(&["x", "\r\n", "\n", "\0", "HTTP/1.1 "]))),
    ("content of a status that has none", Either, |d, r| {
        d.first = r.of_these(&["HTTP/1.1 204 No", "HTTP/1.1 304 Not"]).to_owned();
        d.closes = true;
    }),
];

const CHUNKS: &[Change] = &[
    ("chunked twice", Refused, |d, _| d.lines.push(CHUNKED.to_owned())),
    ("a size that is none", Either, |d, r| {
        let size = r.of_these(&["0x0", "+0", "-0", "g", "", " 0", "0.0", "10000000000000000", "0 0", "\0"]);
        d.ends_with(&format!("{size}\r\n\r\n"));
    }),
    ("sizes that end otherwise", Either, |d, r| {
        let end = r.of_these(&["0\n\r\n", "0\r\n\n", "0\r\r\n\r\n", "0\r\n\r"]);
        d.ends_with(end);
    }),
    ("chunks that do not end", Either, |d, r| {
        let end = r.of_these(&["1\r\na0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "1\r\na\n0\r\n\r\n", ""]);
        d.ends_with(end);
    }),
    ("trailers", Either, |d, r| {
        let field = r.of_these(&["X-A: b", "Content-Length: 5", "X-A : b", " x", "X\0: y", HIDDEN]);
        d.ends_with(&format!("0\r\n{field}\r\n\r\n"));
    }),
    ("extensions", Either, |d, r| {
        let extension = r.of_these(&[";a", ";a=\"b\"", " ;a", ";\n"]);
        d.ends_with(&format!("0{extension}\r\n\r\n"));
    }),
    ("a response behind it", Arrives, |d, _| d.content.push_str(HIDDEN)),
    ("bytes behind it", Arrives, |d, r| d.content.push_str(r.of_these(&["x", "\r\n", "\0", "0\r\n\r\n"]))),
];
