//! The API server without kubectl, which takes a tenth of a second to start: for measurements, and for many objects.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::place::Place;

/// How long many requests may take.
const MANY: Duration = Duration::from_secs(180);

/// An administrator's way to the API server.
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) place: Place,
    /// Where the API server is, without the path.
    pub(super) server: String,
    pub(super) token: &'static str,
    /// Where lists of requests are written.
    pub(super) folder: PathBuf,
}

/// What is asked of the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl Request {
    /// Creates an object in the collection of this path.
    #[must_use]
    pub fn create(collection: &str, object: Value) -> Self {
        Self { method: "POST", path: collection.to_owned(), body: Some(object) }
    }

    /// Changes the object of this path by a merge patch.
    #[must_use]
    pub fn merge(path: &str, change: Value) -> Self {
        Self { method: "PATCH", path: path.to_owned(), body: Some(change) }
    }

    /// Deletes the object of this path.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self { method: "DELETE", path: path.to_owned(), body: None }
    }

    /// Reads the object of this path.
    #[must_use]
    pub fn read(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), body: None }
    }
}

/// How many requests are sent: as fast as they are answered, or so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    PerSecond(u32),
}

impl Api {
    /// One request; the answer.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn ask(&self, request: &Request) -> Result<Value> {
        let list = self.written(std::slice::from_ref(request), None)?;
        let answer = self.place.run(&["curl", "--config", &list])?;
        serde_json::from_str(&answer).context("the API server answered no JSON")
    }

    /// Many requests, all of which must succeed; takes as long as they take.
    ///
    /// # Errors
    /// If one fails; with its status.
    pub fn ask_all(&self, requests: &[Request], pace: Pace) -> Result<()> {
        let list = self.written(requests, Some("/dev/null"))?;
        let rate;
        let how: &[&str] = match pace {
            Pace::AtOnce => &["--parallel", "--parallel-max", "8", "--fail-early"],
            Pace::PerSecond(count) => {
                rate = format!("{count}/s");
                &["--rate", &rate, "--fail-early"]
            }
        };
        let command: Vec<&str> = ["curl"].into_iter().chain(how.iter().copied()).chain(["--config", &list]).collect();
        self.place.run_within(MANY, &command).map(drop)
    }

    /// Writes requests in curl's words; where that is.
    fn written(&self, requests: &[Request], answers: Option<&str>) -> Result<String> {
        let each: Vec<String> = requests.iter().map(|request| self.in_words(request, answers)).collect();
        // Several may be on their way at once, from threads that know nothing of each other.
        let file = tempfile::Builder::new().prefix("requests-").tempfile_in(&self.folder)?.into_temp_path();
        let path = file.keep().context("keeping a list of requests")?;
        fs::write(&path, each.join("next\n"))?;
        Ok(path.display().to_string())
    }

    fn in_words(&self, request: &Request, answer: Option<&str>) -> String {
        let Request { method, path, body } = request;
        let mut words = format!(
            "silent\nshow-error\nfail-with-body\ninsecure\nrequest = {method}\nurl = {}\nheader = {}\n",
            quoted(&format!("{}{path}", self.server)),
            quoted(&format!("authorization: Bearer {}", self.token)),
        );
        if let Some(body) = body {
            let kind = if *method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            let header = quoted(&format!("content-type: {kind}"));
            let _ = write!(words, "header = {header}\ndata = {}\n", quoted(&body.to_string()));
        }
        if let Some(answer) = answer {
            let _ = writeln!(words, "output = {}", quoted(answer));
        }
        words
    }
}

/// As curl's configuration has text.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_has_quotes_and_backslashes_is_read_as_it_was() {
        for (text, expected) in
            [("plain", r#""plain""#), (r#"{"a":1}"#, r#""{\"a\":1}""#), (r"a\n", r#""a\\n""#), ("a\nb", r#""a\nb""#)]
        {
            assert_eq!(quoted(text), expected);
        }
    }
}
