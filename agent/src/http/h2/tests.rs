//! A client and a server of ours on the two ends of a pipe, and peers that are neither.

mod breaks;
mod flow;

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::client::OpenError;
use super::{ClientConnection, ClientStream, ServerConnection, ServerStream};
use crate::h2::{Reason, WindowBudget};
use crate::http::stream::{BodyLength, Downstream, ExchangeError, MessageStream, Received, Upstream};
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead};

/// What a test may take that waits for something.
const DEADLINE: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes far too long")
}

fn budget() -> WindowBudget {
    WindowBudget::of_kib(64 * 1024)
}

fn fields(fields: &[(&str, &str)]) -> HttpFields {
    fields.iter().copied().collect()
}

fn request(method: &str) -> RequestHead {
    RequestHead {
        version: HttpVersion::Http2,
        method: method.into(),
        target: b"/a".to_vec(),
        authority: b"shop".to_vec(),
        fields: fields(&[("a", "b")]),
        ..RequestHead::default()
    }
}

fn response(status: u16) -> ResponseHead {
    ResponseHead { version: HttpVersion::Http2, status, fields: fields(&[("c", "d")]), upgrade: None }
}

/// A client on one end of a pipe, whose connection is driven. The task ends with the reason for which the connection does.
fn client_on(io: DuplexStream) -> (ClientConnection, JoinHandle<String>) {
    let (client, mut driver) = ClientConnection::new(io, budget());
    let driving = tokio::spawn(async move { poll_fn(|cx| driver.poll_drive(cx)).await.to_string() });
    (client, driving)
}

/// Serves one end of a pipe: each request gets a task. Ends as the connection does.
fn serve<F>(
    io: DuplexStream,
    answer: impl Fn(ServerStream, RequestHead, BodyLength) -> F + Send + 'static,
) -> JoinHandle<String>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let mut server = ServerConnection::new(io, BytesMut::new(), budget());
        loop {
            match poll_fn(|cx| server.poll_request(cx)).await {
                Ok(Some((stream, head, length))) => drop(tokio::spawn(answer(stream, head, length))),
                Ok(None) => return "the end".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    })
}

/// A client and a server.
fn pair<F>(
    answer: impl Fn(ServerStream, RequestHead, BodyLength) -> F + Send + 'static,
) -> (ClientConnection, JoinHandle<String>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (near, far) = duplex(16 * 1024);
    serve(far, answer);
    client_on(near)
}

async fn send(stream: &mut impl MessageStream, data: impl Into<Bytes>) -> Result<(), ExchangeError> {
    poll_fn(|cx| stream.poll_room(cx)).await?;
    stream.send_data(data.into());
    Ok(())
}

async fn head_of(stream: &mut ClientStream) -> Result<(ResponseHead, BodyLength), ExchangeError> {
    let mut head = ResponseHead::default();
    let length = poll_fn(|cx| stream.poll_response(cx, &mut head)).await?;
    Ok((head, length))
}

/// The rest of what comes on a stream: its content, and its trailers or how it broke.
async fn rest_of(stream: &mut impl MessageStream) -> (Vec<u8>, Result<Option<HttpFields>, ExchangeError>) {
    let mut content = Vec::new();
    loop {
        match poll_fn(|cx| stream.poll_receive(cx)).await {
            Ok(Received::Data(data)) => content.extend_from_slice(&data),
            Ok(Received::Trailers(fields)) => return (content, Ok(Some(fields))),
            Ok(Received::End) => return (content, Ok(None)),
            Err(error) => return (content, Err(error)),
        }
    }
}

/// Answers with what came, as it comes, and ends as the request does.
async fn echo(mut stream: ServerStream, _: RequestHead, _: BodyLength) {
    stream.send_response(&response(200), BodyLength::Unknown).expect("it can be written");
    loop {
        match poll_fn(|cx| stream.poll_receive(cx)).await {
            Ok(Received::Data(data)) => {
                if send(&mut stream, data).await.is_err() {
                    return;
                }
            }
            Ok(Received::Trailers(fields)) => return stream.send_trailers(&fields),
            Ok(Received::End) => return stream.send_end(),
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn a_request_and_its_response_pass_with_their_heads_and_content() {
    let (client, _driving) = pair(|mut stream, head, length| async move {
        assert_eq!((&head, length), (&request("POST"), BodyLength::Unknown));
        let (content, end) = rest_of(&mut stream).await;
        assert!(matches!(end, Ok(None)), "{end:?}");
        stream.send_response(&response(201), BodyLength::Unknown).expect("it can be written");
        send(&mut stream, content).await.expect("there is room");
        stream.send_end();
    });
    within(async {
        for _ in 0..3 {
            let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
            for part in ["h", "", "i"] {
                send(&mut stream, part).await.expect("there is room");
            }
            stream.send_end();
            let head = head_of(&mut stream).await.expect("a response");
            assert_eq!(head, (response(201), BodyLength::Unknown));
            let (content, end) = rest_of(&mut stream).await;
            assert!(matches!(end, Ok(None)), "{end:?}");
            assert_eq!(content, b"hi");
        }
        assert_eq!(client.load(), 0);
    })
    .await;
}

#[tokio::test]
async fn heads_tell_what_follows_them() {
    let length = |bytes: u64| fields(&[("content-length", &bytes.to_string())]);
    for (method, content, status, answer, expected) in [
        ("GET", BodyLength::Empty, 200, BodyLength::Known(2), BodyLength::Known(2)),
        ("GET", BodyLength::Empty, 200, BodyLength::Empty, BodyLength::Empty),
        ("HEAD", BodyLength::Empty, 200, BodyLength::Empty, BodyLength::Empty),
        ("HEAD", BodyLength::Empty, 200, BodyLength::Known(2), BodyLength::Empty),
        ("PUT", BodyLength::Known(2), 204, BodyLength::Empty, BodyLength::Empty),
        ("CONNECT", BodyLength::Tunnel, 200, BodyLength::Tunnel, BodyLength::Tunnel),
        ("CONNECT", BodyLength::Tunnel, 403, BodyLength::Empty, BodyLength::Empty),
    ] {
        let (client, _driving) = pair(move |mut stream, _, came| async move {
            assert_eq!(came, content, "{method}");
            let mut head = response(status);
            if let BodyLength::Known(bytes) = answer {
                head.fields = length(bytes);
            }
            stream.send_response(&head, answer).expect("it can be written");
            if answer == BodyLength::Known(2) && method != "HEAD" {
                stream.send_data(Bytes::from_static(b"hi"));
            }
            stream.send_end();
        });
        let mut head = request(method);
        if let BodyLength::Known(bytes) = content {
            head.fields = length(bytes);
        }
        let mut stream = client.open(&head, content).expect("there is room");
        if content == BodyLength::Known(2) {
            stream.send_data(Bytes::from_static(b"hi"));
            stream.send_end();
        }
        let (came, length) = within(head_of(&mut stream)).await.expect("a response");
        assert_eq!((came.status, length), (status, expected), "{method}");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_and_instead_of_content() {
    let trailers = fields(&[("grpc-status", "0"), ("grpc-message", "")]);
    let (client, _driving) = pair(echo);
    for content in ["", "hi"] {
        let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
        stream.send_data(content.into());
        stream.send_trailers(&trailers);
        let (_, length) = within(head_of(&mut stream)).await.expect("a response");
        assert_eq!(length, BodyLength::Unknown);
        let (came, end) = within(rest_of(&mut stream)).await;
        assert_eq!((&came[..], end.expect("whole").as_ref()), (content.as_bytes(), Some(&trailers)));
    }
    let (client, _driving) = pair(|mut stream, _, _| async move {
        let head = ResponseHead { status: 200, fields: fields(&[("grpc-status", "12")]), ..ResponseHead::default() };
        stream.send_response(&head, BodyLength::Empty).expect("it can be written");
    });
    let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    let (head, length) = within(head_of(&mut stream)).await.expect("a response");
    assert_eq!((head.fields.first("grpc-status"), length), (Some(&b"12"[..]), BodyLength::Empty), "trailers only");
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let (client, _driving) = pair(|mut stream, _, _| async move {
        for status in [100, 103, 200] {
            stream.send_response(&response(status), BodyLength::Empty).expect("it can be written");
        }
        assert!(stream.send_response(&response(101), BodyLength::Tunnel).is_err(), "HTTP/2 has no 101");
    });
    let mut stream = client.open(&request("GET"), BodyLength::Empty).expect("there is room");
    for status in [100, 103, 200] {
        assert_eq!(within(head_of(&mut stream)).await.expect("a response"), (response(status), BodyLength::Empty));
    }
}

#[tokio::test]
async fn heads_longer_than_a_frame_pass() {
    let long = "x".repeat(20_000);
    let expected = fields(&[("a", &long), ("b", &long)]);
    let (client, _driving) = pair(|mut stream, head, _| async move {
        let head = ResponseHead { status: 200, fields: head.fields, ..ResponseHead::default() };
        stream.send_response(&head, BodyLength::Empty).expect("it can be written");
    });
    let head = RequestHead { fields: expected.clone(), ..request("GET") };
    let mut stream = client.open(&head, BodyLength::Empty).expect("there is room");
    assert_eq!(within(head_of(&mut stream)).await.expect("a response").0.fields, expected);
    drop(stream);
    let head = RequestHead { fields: fields(&[("a", &"x".repeat(70_000))]), ..request("GET") };
    let mut stream = client.open(&head, BodyLength::Empty).expect("there is room");
    assert_eq!(within(head_of(&mut stream)).await.expect("a response").0.status, 431, "longer than is accepted");
}

/// A frame as a peer that is not ours writes it.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// GET http://shop/
fn get(stream: u8) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, b"\x82\x86\x84\x01\x04shop")
}

#[tokio::test]
async fn a_connection_goes_on_with_what_was_read_of_it_before() {
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1)].concat();
    for read in [0, 1, 24, 30, all.len()] {
        let (mut near, far) = duplex(1024);
        let mut server = ServerConnection::new(far, BytesMut::from(&all[..read]), budget());
        near.write_all(&all[read..]).await.expect("it fits");
        let request = within(poll_fn(|cx| server.poll_request(cx))).await.expect("HTTP/2").expect("a request");
        assert_eq!((request.1.authority, request.2), (b"shop".to_vec(), BodyLength::Empty), "{read} bytes");
        assert_eq!(server.open_streams(), 1);
    }
}
