//! GET over HTTP/1.1 from inside a network namespace, for the kit's own questions (readiness, metrics, admin). It is not
//! a program of any pod: nothing captures it. Traffic that a test is about is made by real programs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Status and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

/// Asks an address inside a namespace.
///
/// # Errors
/// If nobody answers in HTTP.
pub fn get(netns: &OwnedFd, address: SocketAddr, path: &str) -> Result<Response> {
    request(netns, address, "GET", path)
}

/// As [`get`], with another method and no body.
///
/// # Errors
/// If nobody answers in HTTP.
pub fn request(netns: &OwnedFd, address: SocketAddr, method: &str, path: &str) -> Result<Response> {
    namespace::enter(netns.as_fd(), || exchange(address, method, path))?
        .with_context(|| format!("{method} http://{address}{path}"))
}

fn exchange(address: SocketAddr, method: &str, path: &str) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Response> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("answer without a header end")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("answer without a status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body).context("chunked body is malformed")? } else { body.to_owned() };
    Ok(Response { status, body })
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, tail) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(tail.get(..size)?);
        rest = tail.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_bodies() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(plain, Response { status: 200, body: "ok".into() });
        let chunked =
            parse(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n6\r\n ready\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap(), Response { status: 503, body: "not ready".into() });
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        for answer in
            [&b""[..], b"hello", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz"]
        {
            assert!(parse(answer).is_err(), "{answer:?}");
        }
    }
}
