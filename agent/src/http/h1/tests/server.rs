//! A client's connection: what becomes of it from one exchange to the next.

use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::{Behind, Wire, content, now, request_line, response, text};
use crate::http::h1::input::MAX_READ_BYTES;
use crate::http::h1::{RequestError, ServerConnection};
use crate::http::stream::{BodyLength, Downstream, ExchangeError, MessageStream};
use crate::model::http::head::RequestHead;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn server(received: &str, behind: Behind) -> ServerConnection<Wire> {
    ServerConnection::new(Wire::new(&[received.as_bytes()], behind), BytesMut::new())
}

/// What comes next: a request in one line, or what else.
fn next(server: &mut ServerConnection<Wire>) -> String {
    let mut head = RequestHead::default();
    match now(|cx| server.poll_request(cx, &mut head)) {
        Poll::Ready(Ok(Some(_))) => request_line(&head),
        Poll::Ready(Ok(None)) => "none".into(),
        Poll::Ready(Err(RequestError::Refused(error))) => error.status().to_string(),
        Poll::Ready(Err(RequestError::Broken(error))) => error.to_string(),
        Poll::Pending => "waits".into(),
    }
}

/// Sends a response with this content as a whole.
fn answer(server: &mut ServerConnection<Wire>, status: u16, body: &'static str) {
    server.send_response(&response(status, &[]), BodyLength::Known(body.len() as u64)).expect("it can be written");
    server.send_data(Bytes::from_static(body.as_bytes()));
    server.send_end();
    assert!(matches!(now(|cx| server.poll_flush(cx)), Poll::Ready(Ok(()))));
}

/// What the client got since the last time.
fn sent(server: &mut ServerConnection<Wire>) -> String {
    text(&std::mem::take(&mut server.connection.io.sent))
}

#[test]
fn a_refused_request_gets_content_unless_it_was_head() {
    for (method, content) in [("GET", "why"), ("HEAD", ""), ("HEADS", "why"), ("head", "why")] {
        let mut server = server(&format!("{method} / HTTP/1.1\r\n\r\n"), Behind::Silence);
        assert_eq!(next(&mut server), "400", "{method}");
        answer(&mut server, 400, "why");
        let sent = sent(&mut server);
        let (head, sent_content) = sent.split_once("\r\n\r\n").expect("a head has an end");
        assert!(head.to_ascii_lowercase().contains("content-length: 3"), "{method}: {head}");
        assert_eq!(sent_content, content, "{method}");
    }
}

#[test]
fn requests_that_came_at_once_are_answered_in_order() {
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let mut server = server(&format!("{GET}{post}{GET}"), Behind::Silence);
    assert_eq!(next(&mut server), "GET a|/|");
    answer(&mut server, 200, "1");
    assert_eq!(next(&mut server), "POST a|/b|content-length=3");
    assert_eq!(content(&mut server), "abc; end");
    answer(&mut server, 200, "2");
    assert_eq!(next(&mut server), "GET a|/|");
    answer(&mut server, 200, "3");
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
    assert_eq!(sent(&mut server), format!("{ok}1{ok}2{ok}3"));
    assert_eq!(next(&mut server), "waits");
}

#[test]
fn content_that_nobody_wanted_is_read_or_ends_the_connection() {
    let long = "x".repeat(64 * 1024);
    let chunks = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let post = |fields: &str, content: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{content}{GET}");
    for (requests, expected) in [
        (post("Content-Length: 3", "abc"), "GET a|/|"),
        (post("Content-Length: 65536", &long), "GET a|/|"),
        (post("Content-Length: 65537", &format!("{long}x")), "none"),
        (post("Content-Length: 18446744073709551615", ""), "none"),
        (post("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"), "GET a|/|"),
        (post("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nx: y\r\n\r\n"), "GET a|/|"),
        (post("Transfer-Encoding: chunked", "3\r\nabcx"), "none"),
        (post("Transfer-Encoding: chunked", &chunks), "none"),
    ] {
        let mut server = server(&requests, Behind::Silence);
        assert!(next(&mut server).starts_with("POST"));
        answer(&mut server, 413, "");
        assert_eq!(next(&mut server), expected, "{}", &requests[..70]);
        assert_eq!(server.is_open(), expected != "none", "{}", &requests[..70]);
    }
}

#[test]
fn an_expectation_is_answered_by_whoever_the_request_reaches() {
    let request = |version: &str| {
        format!(
            "POST / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    };
    // The server says that it wants the content.
    let mut waiting = server(&request("1.1"), Behind::Silence);
    assert_eq!(next(&mut waiting), "POST a|/|expect=100-continue content-length=3");
    assert_eq!((content(&mut waiting), sent(&mut waiting)), ("; pending".into(), String::new()));
    waiting.send_response(&response(100, &[]), BodyLength::Empty).expect("it can be written");
    assert!(now(|cx| waiting.poll_flush(cx)).is_ready());
    assert_eq!(sent(&mut waiting), "HTTP/1.1 100 Continue\r\n\r\n");
    waiting.connection.io.pieces.push_back(b"abc".to_vec());
    assert_eq!(content(&mut waiting), "abc; end");
    answer(&mut waiting, 200, "");
    assert_eq!(sent(&mut waiting), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert!(waiting.is_open());
    // Without 100 nobody knows whether the content comes.
    let mut refused = server(&request("1.1"), Behind::Silence);
    next(&mut refused);
    answer(&mut refused, 417, "");
    let closing = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!((sent(&mut refused), refused.is_open()), (closing.into(), false));
    // HTTP/1.0 knows neither the expectation nor interim responses.
    let mut old = server(&format!("{}abc", request("1.0")), Behind::Silence);
    assert_eq!(next(&mut old), "POST a|/|content-length=3");
    old.send_response(&response(100, &[]), BodyLength::Empty).expect("it can be written");
    answer(&mut old, 200, "");
    let kept = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n";
    assert_eq!((sent(&mut old), old.is_open()), (kept.into(), true));
}

#[test]
fn tunnels_carry_bytes_both_ways_until_both_sides_end() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut switching = response(101, &[]);
    switching.upgrade = Some(b"websocket".to_vec());
    let changed = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    for (request, head, expected) in
        [(upgrade, &switching, changed), (connect, &response(200, &[]), "HTTP/1.1 200 OK\r\n\r\n")]
    {
        let mut server = server(&format!("{request}GET \0"), Behind::End);
        assert_ne!(next(&mut server), "waits");
        server.send_response(head, BodyLength::Tunnel).expect("it can be written");
        server.send_data(Bytes::from_static(b"\r\n\0"));
        assert!(now(|cx| server.poll_flush(cx)).is_ready());
        assert_eq!(sent(&mut server), format!("{expected}\r\n\0"));
        assert_eq!(content(&mut server), "GET \0; end");
        assert!(!server.io().is_shut_down);
        server.send_end();
        assert!(now(|cx| server.poll_flush(cx)).is_ready());
        assert_eq!((server.io().is_shut_down, server.is_open()), (true, false));
        assert_eq!(next(&mut server), "none");
    }
}

#[test]
fn a_refused_tunnel_may_have_bytes_behind_it() {
    let mut server = server(&format!("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n{GET}"), Behind::Silence);
    next(&mut server);
    answer(&mut server, 403, "");
    assert_eq!(sent(&mut server), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!((next(&mut server), server.is_open()), ("none".into(), false));
}

#[test]
fn a_protocol_changes_only_behind_a_whole_request_that_asked_for_it() {
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n", 101),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 101),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 101),
    ] {
        let mut server = server(request, Behind::Silence);
        assert_ne!(next(&mut server), "waits");
        let refused = server.send_response(&response(status, &[]), BodyLength::Tunnel);
        assert!(matches!(refused, Err(ExchangeError::Malformed(_))), "{request:?}");
    }
}

#[test]
fn the_last_response_says_so_and_waits_for_the_client() {
    let closing = "content-length: 0\r\nconnection: close\r\n\r\n";
    // The owner wants to close.
    let mut draining = server(GET, Behind::Silence);
    next(&mut draining);
    draining.close_after_response();
    answer(&mut draining, 204, "");
    assert_eq!(sent(&mut draining), "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    assert!(!draining.is_open());
    assert!(matches!(now(|cx| draining.poll_close(cx)), Poll::Ready(Ok(()))));
    assert!(draining.io().is_shut_down);
    // A request was refused: more of it may come.
    let mut refused = server("GET / HTTP/1.1\r\n\r\n", Behind::Silence);
    assert_eq!(next(&mut refused), "400");
    answer(&mut refused, 400, "");
    assert_eq!(sent(&mut refused), format!("HTTP/1.1 400 Bad Request\r\n{closing}"));
    assert!(!refused.is_open());
    assert!(now(|cx| refused.poll_close(cx)).is_pending());
    assert!(refused.io().is_shut_down);
    refused.connection.io.pieces.push_back(GET.into());
    refused.connection.io.behind = Behind::End;
    assert!(matches!(now(|cx| refused.poll_close(cx)), Poll::Ready(Ok(()))));
    // A client that writes more than a head may have is read to its end; one that goes on for longer is not waited for.
    for (kilobytes, is_read) in [(100, true), (1000, true), (1100, false)] {
        let mut flooded = server("\r\r", Behind::End);
        assert_eq!(next(&mut flooded), "400");
        answer(&mut flooded, 400, "");
        flooded.connection.io.pieces.extend((0..kilobytes).map(|_| vec![0; 1024]));
        assert!(matches!(now(|cx| flooded.poll_close(cx)), Poll::Ready(Ok(()))));
        assert_eq!(flooded.io().pieces.is_empty(), is_read, "{kilobytes}");
    }
    // No request came in time.
    let mut silent = server("GET", Behind::Silence);
    assert_eq!(next(&mut silent), "waits");
    answer(&mut silent, 408, "");
    assert_eq!(sent(&mut silent), format!("HTTP/1.1 408 Request Timeout\r\n{closing}"));
    assert!(!silent.is_open());
}

#[test]
fn a_client_that_leaves_is_noticed_while_it_waits() {
    for (behind, expected) in
        [(Behind::End, Some("Truncated")), (Behind::Reset, Some("Reset")), (Behind::Silence, None)]
    {
        // What it has sent before counts, and waits.
        let mut server = server(&GET.repeat(2), behind);
        assert_eq!(next(&mut server), "GET a|/|");
        let left = match now(|cx| server.poll_left(cx)) {
            Poll::Ready(error) => Some(format!("{error:?}")),
            Poll::Pending => None,
        };
        assert_eq!(left.as_deref(), expected);
        answer(&mut server, 200, "");
        assert_eq!(next(&mut server), "GET a|/|");
    }
}

#[test]
fn a_client_that_sends_ahead_is_read_ahead_within_a_bound() {
    let mut server = server(GET, Behind::Silence);
    assert_eq!(next(&mut server), "GET a|/|");
    server.connection.io.pieces.extend((0..1024).map(|_| vec![b'x'; 1024]));
    assert!(now(|cx| server.poll_left(cx)).is_pending());
    let read = 1024 - server.io().pieces.len();
    assert!((MAX_READ_BYTES / 1024..=MAX_READ_BYTES / 1024 * 2).contains(&read), "{read} KiB");
}
