//! Both ends on one connection: whole exchanges, and how much waits where one side pauses.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::DuplexStream;

use super::{Behind, Wire, listed, now, request, response};
use crate::http::h1::connection::Connection;
use crate::http::h1::input::MAX_READ_BYTES;
use crate::http::h1::output::MAX_QUEUED_BYTES;
use crate::http::h1::{ClientConnection, ServerConnection};
use crate::http::stream::{BodyLength, Downstream, MessageStream, Received, Upstream};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

fn pair(bytes: usize) -> (ClientConnection<DuplexStream>, ServerConnection<DuplexStream>) {
    let (near, far) = tokio::io::duplex(bytes);
    (ClientConnection::new(near), ServerConnection::new(far, BytesMut::new()))
}

/// Sends content in parts, and its end.
async fn send(stream: &mut impl MessageStream, parts: &[Bytes], trailers: &HttpFields) {
    for part in parts {
        poll_fn(|cx| stream.poll_room(cx)).await.expect("the peer takes it");
        stream.send_data(part.clone());
    }
    if trailers.is_empty() {
        stream.send_end();
    } else {
        stream.send_trailers(trailers);
    }
    poll_fn(|cx| stream.poll_flush(cx)).await.expect("the peer takes it");
}

/// The content of a message, and its trailers.
async fn receive(stream: &mut impl MessageStream) -> (Vec<u8>, String) {
    let mut data = Vec::new();
    loop {
        match poll_fn(|cx| stream.poll_receive(cx)).await.expect("the message is whole") {
            Received::Data(part) => data.extend_from_slice(&part),
            Received::Trailers(trailers) => return (data, listed(&trailers)),
            Received::End => return (data, String::new()),
        }
    }
}

/// Answers requests with their own content and trailers, until the client closes.
async fn echo(server: &mut ServerConnection<DuplexStream>) {
    let mut head = RequestHead::default();
    while let Some(length) = poll_fn(|cx| server.poll_request(cx, &mut head)).await.expect("requests") {
        server.send_response(&response(200, &[]), length).expect("it can be written");
        loop {
            poll_fn(|cx| server.poll_room(cx)).await.expect("the client reads");
            let received = now(|cx| server.poll_receive(cx));
            let received = match received {
                Poll::Ready(received) => received,
                Poll::Pending => {
                    poll_fn(|cx| server.poll_flush(cx)).await.expect("the client reads");
                    poll_fn(|cx| server.poll_receive(cx)).await
                }
            };
            match received.expect("requests are whole") {
                Received::Data(data) => server.send_data(data),
                Received::Trailers(trailers) => break server.send_trailers(&trailers),
                Received::End => break server.send_end(),
            }
        }
        poll_fn(|cx| server.poll_flush(cx)).await.expect("the client reads");
    }
}

#[tokio::test]
async fn content_of_any_size_goes_there_and_back_on_one_connection() {
    let trailers: HttpFields = [("x", "y")].into_iter().collect();
    for pipe in [64 * 1024, 61] {
        let (mut client, mut server) = pair(pipe);
        let asking = async {
            for size in [1, 1023, 1025, 16 * 1024, 100_000] {
                for count in [0, 1, 3] {
                    let part = Bytes::from((0..size).map(|at: usize| at as u8).collect::<Vec<u8>>());
                    let parts = vec![part; count];
                    for length in [BodyLength::Known((size * count) as u64), BodyLength::Unknown] {
                        let has_trailers = length == BodyLength::Unknown && count == 1;
                        let trailers = if has_trailers { &trailers } else { &HttpFields::default() };
                        client.send_request(&request("POST", "/"), length).expect("it is reusable");
                        // An echo that is not read would stop it.
                        let mut head = ResponseHead::default();
                        let answered = exchange(&mut client, &parts, trailers, &mut head).await;
                        assert_eq!((head.status, answered.0 == parts.concat()), (200, true), "{size} {length:?}");
                        assert_eq!(answered.1, listed(trailers));
                        assert!(client.is_reusable(), "{size} {length:?}");
                    }
                }
            }
            drop(client);
        };
        tokio::join!(asking, echo(&mut server));
    }
}

/// Sends content and receives the answer at the same time.
async fn exchange(
    client: &mut ClientConnection<DuplexStream>,
    parts: &[Bytes],
    trailers: &HttpFields,
    head: &mut ResponseHead,
) -> (Vec<u8>, String) {
    let (mut next, mut is_sent, mut is_answered, mut data) = (0, false, false, Vec::new());
    let trailers = poll_fn(|cx| {
        while !is_sent && client.poll_room(cx).is_ready() {
            match parts.get(next) {
                Some(part) => client.send_data(part.clone()),
                None if trailers.is_empty() => client.send_end(),
                None => client.send_trailers(trailers),
            }
            is_sent = next == parts.len();
            next += 1;
        }
        let _ = client.poll_flush(cx);
        if !is_answered {
            let Poll::Ready(length) = client.poll_response(cx, head) else { return Poll::Pending };
            assert_ne!(length.expect("there is a response"), BodyLength::Empty);
            is_answered = true;
        }
        loop {
            match client.poll_receive(cx) {
                Poll::Ready(Ok(Received::Data(part))) => data.extend_from_slice(&part),
                Poll::Ready(Ok(Received::Trailers(trailers))) => return Poll::Ready(listed(&trailers)),
                Poll::Ready(Ok(Received::End)) => return Poll::Ready(String::new()),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    (data, trailers)
}

#[tokio::test]
async fn a_reader_that_pauses_holds_its_sender() {
    const PIPE_BYTES: usize = 1024;
    const PART_BYTES: usize = 4096;
    let (mut client, mut server) = pair(PIPE_BYTES);
    client.send_request(&request("POST", "/"), BodyLength::Unknown).expect("it can be written");
    let part = Bytes::from(vec![0; PART_BYTES]);
    let mut fill = || {
        let mut sent = 0;
        while now(|cx| client.poll_room(cx)).is_ready() {
            client.send_data(part.clone());
            sent += PART_BYTES;
            assert!(sent <= 10 * MAX_QUEUED_BYTES, "nothing holds the sender");
        }
        sent
    };
    // Nobody reads: what waits is what the queue and the pipe hold.
    let sent = fill();
    assert!((MAX_QUEUED_BYTES - PART_BYTES..=MAX_QUEUED_BYTES + PIPE_BYTES + PART_BYTES).contains(&sent), "{sent}");
    // A server that has the head and reads no content takes no more than one read.
    let polled = now(|cx| server.poll_request(cx, &mut RequestHead::default()));
    assert!(matches!(polled, Poll::Ready(Ok(Some(BodyLength::Unknown)))));
    let more = fill();
    assert!(more <= MAX_READ_BYTES + PART_BYTES, "{more}");
    // What the reader takes, the sender may send.
    let Poll::Ready(Ok(Received::Data(data))) = now(|cx| server.poll_receive(cx)) else { panic!("there is some") };
    assert!(data.len() <= PIPE_BYTES);
}

#[tokio::test]
async fn a_response_that_is_not_read_is_queued_within_a_bound() {
    let (mut client, mut server) = pair(1024);
    client.send_request(&request("GET", "/"), BodyLength::Empty).expect("it can be written");
    assert!(now(|cx| client.poll_flush(cx)).is_ready());
    assert!(now(|cx| server.poll_request(cx, &mut RequestHead::default())).is_ready());
    server.send_response(&response(200, &[]), BodyLength::Unknown).expect("it can be written");
    let mut sent = 0;
    // Parts so small that each costs more than it carries.
    while now(|cx| server.poll_room(cx)).is_ready() {
        server.send_data(Bytes::from_static(b"x"));
        sent += 1;
        assert!(sent <= MAX_QUEUED_BYTES, "nothing holds the sender");
    }
    let (head, none) = (&mut ResponseHead::default(), HttpFields::default());
    let received = async {
        poll_fn(|cx| client.poll_response(cx, head)).await.expect("there is a response");
        receive(&mut client).await.0.len()
    };
    let (received, ()) = tokio::join!(received, send(&mut server, &[], &none));
    assert_eq!(received, sent);
}

/// What the buffers of a connection take.
fn held<IO>(connection: &Connection<IO>) -> usize {
    connection.input.buffer.capacity() + connection.output.capacity()
}

#[test]
fn a_connection_that_waits_holds_no_buffers() {
    let get = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..];
    let mut server = ServerConnection::new(Wire::new(&[get, get], Behind::Silence), BytesMut::new());
    for _ in 0..2 {
        assert!(now(|cx| server.poll_request(cx, &mut RequestHead::default())).is_ready());
        server.send_response(&response(200, &[]), BodyLength::Known(5000)).expect("it can be written");
        server.send_data(Bytes::from(vec![0; 5000]));
        server.send_end();
    }
    assert!(now(|cx| server.poll_request(cx, &mut RequestHead::default())).is_pending());
    assert_eq!(held(&server.connection), 0);

    let ok = &b"HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\na"[..];
    let mut client = ClientConnection::new(Wire::new(&[ok], Behind::Silence));
    client.send_request(&request("GET", "/"), BodyLength::Empty).expect("it can be written");
    assert!(now(|cx| client.poll_response(cx, &mut ResponseHead::default())).is_ready());
    while !matches!(now(|cx| client.poll_receive(cx)), Poll::Ready(Ok(Received::End))) {}
    assert_eq!(held(&client.connection), 0);
}
