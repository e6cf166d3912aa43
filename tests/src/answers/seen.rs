//! What a client saw of one request.

use serde::{Deserialize, Serialize};

use crate::http_mesh::Answer;
use crate::smuggling::reader;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub number: u64,
    /// 0 if there was no response.
    pub status: u16,
    pub interim: Vec<u16>,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub content: String,
    pub ending: Ending,
    pub milliseconds: u64,
}

/// How a response ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Whole,
    /// With a part of its content.
    Broken,
    /// The connection ended without one.
    Nothing,
    /// Nothing came for as long as the client waits.
    Silence,
    /// It is no response of HTTP, or several; why.
    Wrong(String),
}

impl Seen {
    /// What came over a connection of HTTP/1 up to its end.
    #[must_use]
    pub fn of_bytes(number: u64, bytes: &[u8], is_head: bool, is_silent: bool, milliseconds: u64) -> Self {
        let nothing = if is_silent { Ending::Silence } else { Ending::Nothing };
        let mut seen = Self {
            number,
            status: 0,
            interim: Vec::new(),
            headers: Vec::new(),
            trailers: Vec::new(),
            content: String::new(),
            ending: nothing,
            milliseconds,
        };
        if bytes.is_empty() {
            return seen;
        }
        match Answer::parse(&String::from_utf8_lossy(bytes)) {
            Ok(answer) => {
                (seen.status, seen.interim, seen.headers) = (answer.status, answer.interim, answer.headers);
            }
            Err(error) => seen.ending = Ending::Wrong(format!("{error:#}")),
        }
        match reader::responses(bytes, |_| is_head).as_deref() {
            Ok([one]) => {
                seen.content = String::from_utf8_lossy(&one.content).into_owned();
                seen.ending = match (one.is_whole, is_silent) {
                    (true, false) => Ending::Whole,
                    (true, true) => Ending::Silence,
                    _ => Ending::Broken,
                };
            }
            Ok(several) => seen.ending = Ending::Wrong(format!("{} responses", several.len())),
            Err(why) => seen.ending = Ending::Wrong(why.clone()),
        }
        seen
    }

    /// All values of a header, joined.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect();
        (!values.is_empty()).then(|| values.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_carries_one_response_or_something_is_wrong() {
        let seen = |text: &str| Seen::of_bytes(1, text.as_bytes(), false, false, 0);
        let one = seen(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        );
        assert_eq!((one.status, &*one.interim, &*one.content, &one.ending), (200, &[100][..], "a", &Ending::Whole));
        assert_eq!(one.header("x-a").as_deref(), Some("1"));
        assert_eq!(seen("").ending, Ending::Nothing);
        assert_eq!(seen("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na").ending, Ending::Broken);
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2);
        assert_eq!(seen(&two).ending, Ending::Wrong("2 responses".to_owned()));
    }
}
