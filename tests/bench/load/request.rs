//! A client's connection that asks for the server's page, again and again, and reads each answer to its end; with tokens in turn, if it has
//! any.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long connecting or an answer may take before the connection counts as failed.
const WITHIN: Duration = Duration::from_secs(5);

/// A connection that stays.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Sent one after the other, over and over.
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl Connection {
    /// Connects. Requests carry no token.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        Self::connect(address, vec![request(address, "")])
    }

    /// Connects. Requests carry these tokens in turn.
    pub(crate) fn open_with(address: SocketAddr, tokens: &[&str]) -> Result<Self> {
        ensure!(!tokens.is_empty(), "there are no tokens");
        let with = |token: &&str| request(address, &format!("Authorization: Bearer {token}\r\n"));
        Self::connect(address, tokens.iter().map(with).collect())
    }

    fn connect(address: SocketAddr, requests: Vec<Vec<u8>>) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, WITHIN).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WITHIN))?;
        Ok(Self { stream, requests, next: 0 })
    }

    /// Asks once and reads the answer.
    pub(crate) fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.requests[self.next]).context("asking")?;
        self.next = (self.next + 1) % self.requests.len();
        let mut answer = [0; 4096];
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut answer[filled..]).context("reading the answer")?;
            ensure!(read > 0, "the connection ended within an answer");
            filled += read;
            if let Some(length) = complete(&answer[..filled])? {
                ensure!(length == filled, "{} bytes after the answer", filled - length);
                return Ok(());
            }
        }
    }
}

fn request(address: SocketAddr, fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n").into_bytes()
}

/// Length of an answer, once all of it is there.
fn complete(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200"), "the server said {:?}", text.lines().next());
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).context("no Content-Length")?.1;
    let whole = head + 4 + length.trim().parse::<usize>()?;
    Ok((answer.len() >= whole).then_some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(complete(b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n").unwrap().is_some());
        for cut in 0..answer.len() {
            assert_eq!(complete(&answer[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(complete(answer).unwrap(), Some(answer.len()));
        assert!(complete(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
