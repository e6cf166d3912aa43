//! What a client saw of one HTTP exchange, by curl, and what http-echo told it.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A response as curl printed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `HTTP/1.1`, `HTTP/2` or `HTTP/1.0`.
    pub version: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Status of interim responses, in the order they came.
    pub interim: Vec<u16>,
}

/// What http-echo says of a request that reached it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Echo {
    pub pod: String,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub host: Option<String>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// As they came, names in lower case.
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub body_bytes: u64,
    /// Every byte of the body was the pattern's.
    pub body_exact: bool,
    pub peer: String,
    /// Which of the server's connections it came over, and which request it was on that one.
    pub connection: u64,
    pub request: u64,
}

impl Answer {
    /// Reads what `curl --include` prints: heads of interim responses, the response's head, its body.
    ///
    /// # Errors
    /// If it is no HTTP response.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut rest, mut interim) = (text, Vec::new());
        loop {
            let (head, after) = rest.split_once("\r\n\r\n").with_context(|| format!("no head ends in {text:?}"))?;
            let mut lines = head.lines();
            let first = lines.next().unwrap_or_default();
            let mut words = first.split(' ');
            let version = words.next().unwrap_or_default();
            ensure!(version.starts_with("HTTP/"), "{first:?} is no status line");
            let status = words.next().and_then(|status| status.parse().ok());
            let status: u16 = status.with_context(|| format!("{first:?} has no status"))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                rest = after;
                continue;
            }
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
            return Ok(Self { status, version: version.to_owned(), headers, body: after.to_owned(), interim });
        }
    }

    /// The value of a header; of several the first.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// All values of a header.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
    }

    /// Which pod answered; none for a response that the mesh made.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.header("x-pod")
    }

    /// What the server told.
    ///
    /// # Errors
    /// If it was not http-echo that answered.
    pub fn echo(&self) -> Result<Echo> {
        serde_json::from_str(&self.body).with_context(|| format!("http-echo did not answer: {self:?}"))
    }

    /// Checks status and the pod that answered (none: the mesh itself did).
    ///
    /// # Errors
    /// With the answer, if one of it is another.
    pub fn expect(&self, status: u16, pod: Option<&str>) -> Result<()> {
        ensure!(self.status == status && self.pod() == pod, "expected {status} from {pod:?}: {self:?}");
        Ok(())
    }
}

impl Echo {
    /// The value of a field that the server received; several are joined by `, `.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_responses_come_before_the_response() {
        let answer = Answer::parse(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nX-Pod: v1\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nbody\r\n\r\nmore",
        );
        let answer = answer.unwrap();
        assert_eq!((answer.status, &*answer.interim, answer.pod()), (200, &[100, 103][..], Some("v1")));
        assert_eq!((answer.all("set-cookie"), &*answer.body), (vec!["a", "b"], "body\r\n\r\nmore"));
        assert_eq!(Answer::parse("HTTP/2 204 \r\n\r\n").unwrap().version, "HTTP/2");
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for text in ["", "hello\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(Answer::parse(text).is_err(), "{text:?}");
        }
    }
}
