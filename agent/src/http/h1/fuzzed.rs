//! The fuzzer's way to both ends of a connection, in memory. Only in the fuzzer's builds; it must do nothing that owners of
//! connections do not.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, Chain, Join, join};

use super::{CheckedRequest, ClientConnection, RequestError, ServerConnection};
use crate::http::detect::{Detected, detect};
use crate::http::stream::{BodyLength, Downstream, ExchangeError, MessageStream, Received, Upstream};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

/// A connection whose peer has sent two pieces and the end, and takes everything.
type Wire<'b> = Join<Chain<&'b [u8], &'b [u8]>, Vec<u8>>;

fn wire<'b>(before: &'b [u8], after: &'b [u8]) -> Wire<'b> {
    join(before.chain(after), Vec::new())
}

/// A message as its receiver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<H> {
    pub head: H,
    length: BodyLength,
    pub content: Vec<u8>,
    pub trailers: HttpFields,
    /// Whether all of it came, in order.
    pub is_whole: bool,
}

/// All requests of a connection, and why no more came: the status of a refusal, 0 for the end between two requests, 1 for one
/// within a request. Each of them gets 204.
#[must_use]
pub fn requests(before: &[u8], after: &[u8]) -> (Vec<Seen<RequestHead>>, u16) {
    let mut server = ServerConnection::new(wire(before, after), BytesMut::new());
    let mut seen = Vec::new();
    let mut head = RequestHead::default();
    loop {
        match now(|cx| server.poll_request(cx, &mut head)) {
            Ok(Some(length)) => seen.push(received(head.clone(), length, &mut server)),
            Ok(None) => return (seen, 0),
            Err(RequestError::Refused(error)) => return (seen, error.status()),
            Err(RequestError::Broken(_)) => return (seen, 1),
        }
        let answer = ResponseHead { status: 204, ..ResponseHead::default() };
        server.send_response(&answer, BodyLength::Empty).expect("it can be written");
    }
}

/// A request that nobody has read, as HTTP/2 or configuration could have made it.
#[must_use]
pub fn composed(method: &[u8], target: &[u8], authority: &[u8], fields: &[(&[u8], &[u8])]) -> Seen<RequestHead> {
    let mut head = RequestHead { method: method.into(), target: target.into(), ..RequestHead::default() };
    head.authority = authority.into();
    for (name, value) in fields {
        head.fields.append(name, value);
    }
    let (content, trailers) = (Vec::new(), HttpFields::default());
    Seen { head, length: BodyLength::Empty, content, trailers, is_whole: true }
}

/// A message whose head came over another version of HTTP; its length is not known before its end.
#[must_use]
pub fn message<H>(head: H, content: Vec<u8>) -> Seen<H> {
    Seen { head, length: BodyLength::Unknown, content, trailers: HttpFields::default(), is_whole: true }
}

impl<H> Seen<H> {
    /// Whether the heads of two messages say the same of their content.
    #[must_use]
    pub fn is_as_long_as(&self, other: &Self) -> bool {
        self.length == other.length
    }
}

/// A request as another side of the process gets it, as a value; `None` where it may not pass so. `is_http2`: it goes on in HTTP/2.
#[must_use]
pub fn passed(request: &Seen<RequestHead>, is_http2: bool) -> Option<Seen<RequestHead>> {
    let (head, length) = CheckedRequest::of(&request.head, request.length, is_http2).ok()?.into_parts();
    Some(Seen { head, length, ..request.clone() })
}

/// The bytes of a request, as they are written to a server; `None` where that is refused.
#[must_use]
pub fn request_bytes(request: &Seen<RequestHead>) -> Option<Vec<u8>> {
    let mut client = ClientConnection::new(join(tokio::io::empty(), Vec::new()));
    client.send_request(&request.head, request.length).ok()?;
    send(request, &mut client).ok()?;
    Some(client.connection.io.writer().clone())
}

/// The final response to a request of this method; `UPGRADE` stands for GET that upgrades. `None` where there is none.
#[must_use]
pub fn response(before: &[u8], after: &[u8], method: &[u8]) -> Option<Seen<ResponseHead>> {
    let mut client = ClientConnection::new(wire(before, after));
    client.send_request(&asking(method), BodyLength::Empty).expect("it can be written");
    let mut head = ResponseHead::default();
    loop {
        let length = now(|cx| client.poll_response(cx, &mut head)).ok()?;
        if !head.is_interim() {
            return Some(received(head, length, &mut client));
        }
    }
}

/// The bytes of a response, as they are written to a client that sent such a request.
#[must_use]
pub fn response_bytes(response: &Seen<ResponseHead>, method: &[u8]) -> Option<Vec<u8>> {
    let mut client = ClientConnection::new(join(tokio::io::empty(), Vec::new()));
    client.send_request(&asking(method), BodyLength::Empty).expect("it can be written");
    now(|cx| client.poll_flush(cx)).expect("everything is taken");
    let mut server = ServerConnection::new(wire(client.connection.io.writer(), b""), BytesMut::new());
    let request = now(|cx| server.poll_request(cx, &mut RequestHead::default()));
    assert!(matches!(request, Ok(Some(BodyLength::Empty))));
    server.send_response(&response.head, response.length).ok()?;
    send(response, &mut server).ok()?;
    Some(server.connection.io.writer().clone())
}

/// By how many of the bytes their protocol is known, and which it is; `None` where more are needed.
#[must_use]
pub fn detected(bytes: &[u8]) -> Option<(usize, impl PartialEq + std::fmt::Debug + use<>)> {
    let is_known = |count: &usize| detect(&bytes[..*count]) != Detected::NeedMore;
    (0..=bytes.len()).find(is_known).map(|count| (count, detect(&bytes[..count])))
}

fn asking(method: &[u8]) -> RequestHead {
    let (method, upgrade) = if method == b"UPGRADE" { (&b"GET"[..], Some(b"x".to_vec())) } else { (method, None) };
    RequestHead { upgrade, ..composed(method, b"/", b"a:1", &[]).head }
}

fn received<H>(head: H, length: BodyLength, stream: &mut impl MessageStream) -> Seen<H> {
    let mut seen = Seen { head, length, content: Vec::new(), trailers: HttpFields::default(), is_whole: false };
    loop {
        match now(|cx| stream.poll_receive(cx)) {
            Ok(Received::Data(data)) => {
                assert!(!data.is_empty());
                seen.content.extend_from_slice(&data);
            }
            Ok(Received::Trailers(trailers)) => return Seen { trailers, is_whole: true, ..seen },
            Ok(Received::End) => return Seen { is_whole: true, ..seen },
            Err(_) => return seen,
        }
    }
}

/// Sends the content in parts of different lengths.
fn send<H>(message: &Seen<H>, stream: &mut impl MessageStream) -> Result<(), ExchangeError> {
    let (short, long) = message.content.split_at(message.content.len() / 3);
    for part in [short, long] {
        stream.send_data(Bytes::copy_from_slice(part));
    }
    if message.trailers.is_empty() {
        stream.send_end();
    } else {
        stream.send_trailers(&message.trailers);
    }
    now(|cx| stream.poll_flush(cx))
}

/// Polls what is always ready: pieces are there, and the peer takes everything.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> T {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing is waited for"),
    }
}
