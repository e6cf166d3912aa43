//! A connection to a server: from one exchange to the next.

use std::task::Poll;

use bytes::Bytes;

use super::{Behind, Wire, content, now, request, text};
use crate::http::h1::ClientConnection;
use crate::http::stream::{BodyLength, ExchangeError, MessageStream, Upstream};
use crate::model::http::head::ResponseHead;

const OK: &[u8] = b"HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\na";

/// A client that has sent a request, whose server sends these pieces.
fn asking(pieces: &[&[u8]], behind: Behind) -> ClientConnection<Wire> {
    let mut client = ClientConnection::new(Wire::new(pieces, behind));
    client.send_request(&request("GET", "/"), BodyLength::Empty).expect("it can be written");
    assert!(now(|cx| client.poll_flush(cx)).is_ready());
    client
}

/// The status of the next response.
fn status(client: &mut ClientConnection<Wire>) -> Option<u16> {
    let mut head = ResponseHead::default();
    match now(|cx| client.poll_response(cx, &mut head)) {
        Poll::Ready(Ok(_)) => Some(head.status),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

#[test]
fn a_connection_is_used_again_once_its_exchange_is_over() {
    let mut client = asking(&[OK], Behind::Silence);
    assert!(!client.is_reusable(), "its response has not come");
    assert_eq!(status(&mut client), Some(200));
    assert!(!client.is_reusable(), "its content was not received");
    let early = client.send_request(&request("GET", "/"), BodyLength::Empty);
    assert!(matches!(early, Err(ExchangeError::Malformed(_))));
    assert_eq!(content(&mut client), "a; end");
    assert!(client.is_reusable() && now(|cx| client.poll_idle(cx)).is_pending());
    client.connection.io.pieces.push_back(OK.to_vec());
    client.connection.io.sent.clear();
    client.send_request(&request("GET", "/2"), BodyLength::Empty).expect("it can be written");
    assert_eq!(status(&mut client), Some(200));
    assert_eq!(text(&client.io().sent), "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(content(&mut client), "a; end");
    assert!(client.is_reusable());
}

#[test]
fn a_kept_connection_that_is_closed_or_says_something_is_not_used_again() {
    for (pieces, behind) in [
        (&[OK][..], Behind::End),
        (&[OK], Behind::Reset),
        (&[OK, b"H"], Behind::Silence),
        (&[OK, b"HTTP/1.1 408 Request Timeout\r\n\r\n"], Behind::End),
    ] {
        let mut client = asking(pieces, behind);
        assert_eq!(status(&mut client), Some(200));
        assert_eq!(content(&mut client), "a; end");
        assert!(now(|cx| client.poll_idle(cx)).is_ready(), "{pieces:?} {behind:?}");
        assert!(!client.is_reusable());
    }
    // Bytes that came together with the response.
    let mut client = asking(&[&[OK, OK].concat()], Behind::Silence);
    assert_eq!(status(&mut client), Some(200));
    assert_eq!(content(&mut client), "a; end");
    assert!(!client.is_reusable() && now(|cx| client.poll_idle(cx)).is_ready());
}

#[test]
fn a_server_may_answer_before_it_has_read_the_request() {
    let mut client = ClientConnection::new(Wire::new(&[OK], Behind::Silence));
    client.send_request(&request("POST", "/"), BodyLength::Known(4)).expect("it can be written");
    client.send_data(Bytes::from_static(b"ab"));
    assert_eq!(status(&mut client), Some(200));
    assert_eq!(content(&mut client), "a; end");
    assert!(!client.is_reusable(), "the server still waits for the rest");
    client.send_data(Bytes::from_static(b"cd"));
    client.send_end();
    assert!(!client.is_reusable(), "it has not left");
    assert!(now(|cx| client.poll_flush(cx)).is_ready());
    assert!(client.is_reusable());
}

#[test]
fn a_protocol_does_not_change_within_a_request() {
    let switching = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let mut client = ClientConnection::new(Wire::new(&[switching], Behind::Silence));
    let mut head = request("POST", "/");
    head.upgrade = Some(b"x".to_vec());
    client.send_request(&head, BodyLength::Known(4)).expect("it can be written");
    let polled = now(|cx| client.poll_response(cx, &mut ResponseHead::default()));
    assert!(matches!(polled, Poll::Ready(Err(ExchangeError::Malformed(_)))));
}

#[test]
fn tunnels_end_one_side_after_the_other() {
    let mut client = ClientConnection::new(Wire::new(&[b"HTTP/1.1 200 x\r\n\r\nab"], Behind::End));
    client.send_request(&request("CONNECT", ""), BodyLength::Empty).expect("it can be written");
    assert_eq!(status(&mut client), Some(200));
    client.send_data(Bytes::from_static(b"cd"));
    client.send_end();
    assert!(now(|cx| client.poll_flush(cx)).is_ready());
    assert_eq!(text(&client.io().sent), "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\ncd");
    assert!(client.io().is_shut_down);
    assert_eq!(content(&mut client), "ab; end");
    assert!(!client.is_reusable());
}
