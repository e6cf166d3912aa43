//! Behaviours of HTTP/1: what bytes mean, what is refused, what is written, and what becomes of the connection.

mod checked;
mod chunks;
mod client;
mod duplex;
mod requests;
mod responses;
mod server;
mod written;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{RequestError, ServerConnection};
use crate::http::stream::{BodyLength, Downstream, MessageStream, Received};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

/// What happens on a [`Wire`] behind its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Silence,
    End,
    Reset,
}

/// A connection whose peer has sent some pieces, each of which takes a read of its own, and reads what it gets.
#[derive(Debug)]
struct Wire {
    pieces: VecDeque<Vec<u8>>,
    behind: Behind,
    sent: Vec<u8>,
    /// How many bytes of what is sent the peer will still take.
    takes: usize,
    is_shut_down: bool,
}

impl Wire {
    fn new(pieces: &[&[u8]], behind: Behind) -> Self {
        let pieces = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()).collect();
        Self { pieces, behind, sent: Vec::new(), takes: usize::MAX, is_shut_down: false }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(piece) = self.pieces.front_mut() else {
            return match self.behind {
                Behind::Silence => Poll::Pending,
                Behind::End => Poll::Ready(Ok(())),
                Behind::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        };
        let count = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.takes);
        if count == 0 {
            return Poll::Pending;
        }
        self.takes -= count;
        self.sent.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut_down = true;
        Poll::Ready(Ok(()))
    }
}

/// Polls where nobody needs to be woken.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn listed(fields: &HttpFields) -> String {
    fields.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join(" ")
}

fn request(method: &str, target: &str) -> RequestHead {
    let authority = if method == "CONNECT" { "a:1" } else { "a" };
    RequestHead { method: method.into(), target: target.into(), authority: authority.into(), ..RequestHead::default() }
}

/// A request in one line.
fn request_line(head: &RequestHead) -> String {
    let RequestHead { method, target, authority, fields, upgrade, .. } = head;
    let upgrade = upgrade.as_ref().map(|upgrade| format!(" upgrade:{}", text(upgrade))).unwrap_or_default();
    format!("{} {}|{}|{}{upgrade}", text(method), text(authority), text(target), listed(fields))
}

fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    ResponseHead { status, fields: fields.iter().copied().collect(), ..ResponseHead::default() }
}

/// All that is received of a message: its content, and how it ends.
fn content(stream: &mut impl MessageStream) -> String {
    let mut data = Vec::new();
    let end = loop {
        match now(|cx| stream.poll_receive(cx)) {
            Poll::Ready(Ok(Received::Data(part))) => {
                assert!(!part.is_empty());
                data.extend_from_slice(&part);
            }
            Poll::Ready(Ok(Received::End)) => break "end".to_string(),
            Poll::Ready(Ok(Received::Trailers(trailers))) => break format!("trailers {}", listed(&trailers)),
            Poll::Ready(Err(error)) => break error.to_string(),
            Poll::Pending => break "pending".to_string(),
        }
    };
    format!("{}; {end}", text(&data))
}

/// What a server sees of a connection, one line per event. It answers each request with 204, and each one that is refused with the
/// status that it deserves.
fn seen_by_server(pieces: &[&[u8]], behind: Behind) -> Vec<String> {
    let mut server = ServerConnection::new(Wire::new(pieces, behind), BytesMut::new());
    let mut head = RequestHead::default();
    let mut seen = Vec::new();
    loop {
        match now(|cx| server.poll_request(cx, &mut head)) {
            Poll::Ready(Ok(Some(length))) => {
                seen.push(request_line(&head));
                if length != BodyLength::Empty {
                    seen.push(content(&mut server));
                }
                server.send_response(&response(204, &[]), BodyLength::Empty).expect("it can be written");
            }
            Poll::Ready(Err(RequestError::Refused(error))) => {
                seen.push(format!("{} {error}", error.status()));
                server.send_response(&response(error.status(), &[]), BodyLength::Empty).expect("it can be written");
            }
            Poll::Ready(Err(RequestError::Broken(error))) => {
                seen.push(error.to_string());
                break;
            }
            Poll::Ready(Ok(None)) => {
                seen.push("closed".into());
                break;
            }
            Poll::Pending => {
                seen.push("waits".into());
                break;
            }
        }
    }
    seen
}

/// Whatever `see` makes of bytes: it must be the same wherever they are cut in two, and byte by byte.
fn however_cut<T: PartialEq + std::fmt::Debug>(bytes: &[u8], see: impl Fn(&[&[u8]]) -> T) -> T {
    let whole = see(&[bytes]);
    for cut in 1..bytes.len() {
        let (before, after) = bytes.split_at(cut);
        assert_eq!(see(&[before, after]), whole, "cut at {cut}: {:?}", text(bytes));
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(see(&single), whole, "byte by byte: {:?}", text(bytes));
    whole
}
