//! A request of HTTP/1 while it is being made: without a change, and what changes do to it.

use super::fate::Fate;
use super::random::Random;

/// A request that is being made.
pub(super) struct Draft {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) version: String,
    /// What is between the parts of the first line, and behind it.
    pub(super) spaces: [&'static str; 3],
    pub(super) host: Vec<String>,
    /// Whole lines without their ends, that of the framing among them.
    pub(super) lines: Vec<String>,
    pub(super) line_end: &'static str,
    pub(super) end_of_head: &'static str,
    /// The content as it is sent.
    pub(super) content: Vec<u8>,
}

/// A way to change a request, and the fate of a request that is changed so.
pub(super) type Change = (&'static str, Fate, fn(&mut Draft, &mut Random));

/// The line of a request whose content is in chunks.
pub(super) const CHUNKED: &str = "Transfer-Encoding: chunked";

/// A request without a change, and its content: none, of a length, or in chunks. Some content looks like a request.
pub(super) fn draft(random: &mut Random, target: String, host: &str, hidden: &str) -> (Draft, Vec<u8>) {
    let content = match random.below(3) {
        0 => "0123456789".repeat(random.below(5)),
        1 => format!("GET {hidden} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        _ => format!("0\r\n\r\nGET {hidden} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    };
    let mut draft = Draft {
        method: "POST".to_owned(),
        target,
        version: "HTTP/1.1".to_owned(),
        spaces: [" ", " ", ""],
        host: vec![format!("Host: {host}")],
        lines: vec!["X-Usual: yes".to_owned()],
        line_end: "\r\n",
        end_of_head: "\r\n",
        content: Vec::new(),
    };
    match random.below(5) {
        0 => {
            draft.method = "GET".to_owned();
            return (draft, Vec::new());
        }
        1 | 2 => {
            draft.lines.push(format!("Content-Length: {}", content.len()));
            draft.content = content.clone().into_bytes();
        }
        _ => {
            draft.lines.push(CHUNKED.to_owned());
            draft.content = chunks(&content, random);
        }
    }
    (draft, content.into_bytes())
}

/// Content in chunks, with a last one.
fn chunks(content: &str, random: &mut Random) -> Vec<u8> {
    let mut out = String::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
        let size = format!("{:x}", chunk.len());
        let size = random.of_these(&[size.to_uppercase().as_str(), &size]).to_owned();
        out.push_str(&format!("{size}\r\n{chunk}\r\n"));
        rest = after;
    }
    out.push_str("0\r\n\r\n");
    out.into_bytes()
}

impl Draft {
    /// Appends the request as it is sent.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let [first, second, third] = self.spaces;
        let mut head = format!("{}{first}{}{second}{}{third}", self.method, self.target, self.version);
        head.push_str(self.line_end);
        for line in self.host.iter().chain(&self.lines) {
            head.push_str(line);
            head.push_str(self.line_end);
        }
        head.push_str(self.end_of_head);
        out.extend(head.bytes());
        out.extend(&self.content);
    }

    /// Replaces the line of the framing, if there is one; else adds one.
    pub(super) fn frame(&mut self, line: impl Into<String>) {
        let is_framing = |line: &String| line.starts_with("Content-Length:") || line == CHUNKED;
        let line = line.into();
        match self.lines.iter_mut().find(|line| is_framing(line)) {
            Some(place) => *place = line,
            None => self.lines.push(line),
        }
    }

    /// Bytes of the content as it is sent.
    pub(super) fn length(&self) -> usize {
        self.content.len()
    }

    /// Replaces what ends the content, the last chunk.
    pub(super) fn ends_with(&mut self, last: &str) {
        let kept = self.content.len() - "0\r\n\r\n".len();
        self.content.truncate(kept);
        self.content.extend(last.bytes());
    }
}
