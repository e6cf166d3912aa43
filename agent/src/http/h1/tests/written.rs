//! What is written for heads and content.

use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::{Behind, Wire, now, request, response, text};
use crate::http::h1::{ClientConnection, ServerConnection};
use crate::http::stream::{BodyLength, Downstream, ExchangeError, MessageStream};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

/// What a client writes for a request of this length with these parts, or why it cannot.
fn written(head: &RequestHead, length: BodyLength, parts: &[&'static str], trailers: &[(&str, &str)]) -> String {
    let mut client = ClientConnection::new(Wire::new(&[], Behind::Silence));
    if let Err(error) = client.send_request(head, length) {
        return error.to_string();
    }
    send(&mut client, parts, trailers);
    match now(|cx| client.poll_flush(cx)) {
        Poll::Ready(Ok(())) => text(&client.io().sent),
        other => format!("{other:?}"),
    }
}

fn send(stream: &mut impl MessageStream, parts: &[&'static str], trailers: &[(&str, &str)]) {
    for part in parts {
        stream.send_data(Bytes::from_static(part.as_bytes()));
    }
    if trailers.is_empty() {
        stream.send_end();
    } else {
        stream.send_trailers(&trailers.iter().copied().collect());
    }
}

#[test]
fn requests_are_written_in_one_form() {
    let of =
        |fields: &[(&str, &str)]| RequestHead { fields: fields.iter().copied().collect(), ..request("GET", "/b?c") };
    for (head, length, expected) in [
        (of(&[]), BodyLength::Empty, "GET /b?c HTTP/1.1\r\nhost: a\r\n\r\n"),
        (request("OPTIONS", "*"), BodyLength::Empty, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
        (request("CONNECT", ""), BodyLength::Empty, "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"),
        (request("POST", "/"), BodyLength::Empty, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        (request("DELETE", "/"), BodyLength::Empty, "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (of(&[]), BodyLength::Known(0), "GET /b?c HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        (
            of(&[("X-A", "b"), ("x-a", "c"), ("expect", "100-continue")]),
            BodyLength::Empty,
            "GET /b?c HTTP/1.1\r\nhost: a\r\nx-a: b\r\nx-a: c\r\nexpect: 100-continue\r\n\r\n",
        ),
        // The connection and the framing are ours to write.
        (
            of(&[
                ("host", "b"),
                ("connection", "x"),
                ("transfer-encoding", "chunked"),
                ("keep-alive", "x"),
                ("upgrade", "x"),
                ("proxy-connection", "x"),
                ("content-length", "7"),
                ("te", "gzip"),
                ("x", "y"),
            ]),
            BodyLength::Empty,
            "GET /b?c HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n",
        ),
        (
            of(&[("te", "trailers"), ("te", "trailers")]),
            BodyLength::Empty,
            "GET /b?c HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n",
        ),
        (
            RequestHead { upgrade: Some(b"websocket".to_vec()), ..of(&[("te", "trailers")]) },
            BodyLength::Empty,
            "GET /b?c HTTP/1.1\r\nhost: a\r\nte: trailers\r\nupgrade: websocket\r\nconnection: upgrade, te\r\n\r\n",
        ),
        (
            RequestHead { authority: Vec::new(), ..of(&[("x", "y")]) },
            BodyLength::Empty,
            "GET /b?c HTTP/1.0\r\nx: y\r\n\r\n",
        ),
    ] {
        assert_eq!(written(&head, length, &[], &[]), expected);
    }
}

#[test]
fn names_are_written_as_they_came_where_fields_preserve_case() {
    for (preserves, expected) in [
        (
            false,
            "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: k\r\nx: y\r\nte: trailers\r\ncontent-length: 2\r\nconnection: te\r\n\r\nok",
        ),
        (
            true,
            "POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: k\r\nx: y\r\nte: trailers\r\nContent-Length: 2\r\nConnection: te\r\n\r\nok",
        ),
    ] {
        let mut head = request("POST", "/");
        head.fields.preserve_case(preserves);
        for (name, value) in [("X-API-Key", "k"), ("x", "y"), ("te", "trailers")] {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(written(&head, BodyLength::Known(2), &["ok"], &[]), expected);
    }
}

#[test]
fn content_is_written_as_its_length_says() {
    let head = request("PUT", "/");
    let start = "PUT / HTTP/1.1\r\nhost: a\r\n";
    let chunked = format!("{start}transfer-encoding: chunked\r\n\r\n");
    let known = format!("{start}content-length: 4\r\n\r\n");
    let long: &'static str = "0123456789abcdef".repeat(128).leak();
    for (length, parts, trailers, expected) in [
        (BodyLength::Known(4), &["ab", "", "cd"][..], &[][..], format!("{known}abcd")),
        (BodyLength::Known(4), &["abcd"], &[("x", "y")], format!("{known}abcd")),
        (BodyLength::Unknown, &[], &[], format!("{chunked}0\r\n\r\n")),
        (BodyLength::Unknown, &["ab", "", "c"], &[], format!("{chunked}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")),
        (BodyLength::Unknown, &[long, "c"], &[], format!("{chunked}800\r\n{long}\r\n1\r\nc\r\n0\r\n\r\n")),
        (
            BodyLength::Unknown,
            &["ab"],
            &[("x", "y"), ("connection", "x"), ("content-length", "1")],
            format!("{chunked}2\r\nab\r\n0\r\nx: y\r\n\r\n"),
        ),
    ] {
        assert_eq!(written(&head, length, parts, trailers), expected);
    }
}

#[test]
fn content_that_is_not_as_long_as_its_head_says_is_an_error() {
    for (length, parts, trailers) in [
        (BodyLength::Known(4), &["abc"][..], &[][..]),
        (BodyLength::Known(4), &["abc", "de"], &[]),
        (BodyLength::Known(0), &["a"], &[]),
        (BodyLength::Empty, &["a"], &[]),
        (BodyLength::Unknown, &["a"], &[("x", "y\r\nz")]),
        (BodyLength::Unknown, &["a"], &[("x:", "y")]),
    ] {
        let seen = written(&request("PUT", "/"), length, parts, trailers);
        assert!(seen.starts_with("Ready(Err(Malformed("), "{length:?} {parts:?}: {seen}");
    }
}

#[test]
fn nothing_is_written_that_could_be_read_in_another_way() {
    let get = || request("GET", "/");
    let with = |name: &str, value: &str| {
        let mut fields = HttpFields::default();
        fields.append(name.as_bytes(), value.as_bytes());
        RequestHead { fields, ..get() }
    };
    for head in [
        with("x", "a\r\ny: b"),
        with("x", "a\n"),
        with("x", "a\r"),
        with("x", "a\0"),
        with("x", "a\x7f"),
        with("x:", "a"),
        with("x: y\r\nz", "a"),
        with("x y", "a"),
        with(":path", "/"),
        with("", "a"),
        RequestHead { method: b"GET / HTTP/1.1\r\n".to_vec(), ..get() },
        RequestHead { method: b"G T".to_vec(), ..get() },
        RequestHead { method: Vec::new(), ..get() },
        RequestHead { target: b"/ HTTP/1.1\r\nx: y".to_vec(), ..get() },
        RequestHead { target: b"/a b".to_vec(), ..get() },
        RequestHead { target: b"/\t".to_vec(), ..get() },
        RequestHead { target: Vec::new(), ..get() },
        RequestHead { target: b"a".to_vec(), ..get() },
        RequestHead { target: b"/\xff".to_vec(), ..get() },
        RequestHead { target: b"http://b/".to_vec(), ..get() },
        RequestHead { target: b"*".to_vec(), ..get() },
        RequestHead { authority: b"a\r\nx: y".to_vec(), ..get() },
        RequestHead { authority: b"u@a".to_vec(), ..get() },
        RequestHead { authority: Vec::new(), ..request("CONNECT", "") },
        RequestHead { authority: b"a".to_vec(), ..request("CONNECT", "") },
        RequestHead { upgrade: Some(b"a\r\nb: c".to_vec()), ..get() },
    ] {
        let seen = written(&head, BodyLength::Empty, &[], &[]);
        assert!(seen.starts_with("malformed message: "), "{head:?}: {seen}");
    }
}

/// What a server writes as the response to a request, behind which the connection is open or not.
fn answered(request: &str, head: &ResponseHead, length: BodyLength, parts: &[&'static str]) -> (String, bool) {
    let mut server = ServerConnection::new(Wire::new(&[], Behind::Silence), BytesMut::from(request.as_bytes()));
    let polled = now(|cx| server.poll_request(cx, &mut RequestHead::default()));
    assert!(matches!(polled, Poll::Ready(Ok(Some(_)))), "{request:?}");
    server.send_response(head, length).expect("it can be written");
    send(&mut server, parts, &[]);
    let flushed = now(|cx| server.poll_flush(cx));
    assert!(matches!(flushed, Poll::Ready(Ok(()))), "{request:?}: {flushed:?}");
    assert_eq!(server.io().is_shut_down, !server.is_open() && length == BodyLength::Unknown, "{request:?}");
    (text(&server.io().sent), server.is_open())
}

#[test]
fn responses_are_framed_for_the_request_and_its_version() {
    let [get, head, old, old_kept, closing] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ];
    let ok = response(200, &[]);
    let length = response(200, &[("content-length", "7")]);
    for (request, head, length, parts, expected, is_open) in [
        (get, &ok, BodyLength::Known(1), &["a"][..], "200 OK\r\ncontent-length: 1\r\n\r\na", true),
        (get, &length, BodyLength::Known(1), &["a"], "200 OK\r\ncontent-length: 1\r\n\r\na", true),
        (get, &ok, BodyLength::Empty, &[], "200 OK\r\ncontent-length: 0\r\n\r\n", true),
        (
            get,
            &ok,
            BodyLength::Unknown,
            &["a"],
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            true,
        ),
        (get, &response(204, &[("content-length", "0")]), BodyLength::Empty, &[], "204 No Content\r\n\r\n", true),
        (get, &response(204, &[]), BodyLength::Known(1), &["a"], "204 No Content\r\n\r\n", true),
        (
            get,
            &response(304, &[("content-length", "7")]),
            BodyLength::Empty,
            &[],
            "304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            true,
        ),
        (get, &response(304, &[]), BodyLength::Empty, &[], "304 Not Modified\r\n\r\n", true),
        (get, &response(599, &[("x", "y")]), BodyLength::Empty, &[], "599 \r\nx: y\r\ncontent-length: 0\r\n\r\n", true),
        (head, &ok, BodyLength::Known(1), &["a"], "200 OK\r\ncontent-length: 1\r\n\r\n", true),
        (head, &length, BodyLength::Empty, &[], "200 OK\r\ncontent-length: 7\r\n\r\n", true),
        (head, &ok, BodyLength::Empty, &[], "200 OK\r\n\r\n", true),
        (head, &ok, BodyLength::Unknown, &["a"], "200 OK\r\n\r\n", true),
        (old, &ok, BodyLength::Known(1), &["a"], "200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na", false),
        (old, &ok, BodyLength::Unknown, &["a"], "200 OK\r\nconnection: close\r\n\r\na", false),
        (
            old_kept,
            &ok,
            BodyLength::Known(1),
            &["a"],
            "200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\na",
            true,
        ),
        (old_kept, &ok, BodyLength::Unknown, &["a"], "200 OK\r\nconnection: close\r\n\r\na", false),
        (
            closing,
            &ok,
            BodyLength::Known(1),
            &["a"],
            "200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na",
            false,
        ),
    ] {
        let seen = answered(request, head, length, parts);
        assert_eq!(seen, (format!("HTTP/1.1 {expected}"), is_open), "{request:?} {head:?} {length:?}");
    }
}

#[test]
fn a_response_that_cannot_be_written_is_an_error() {
    for (head, length) in [
        (response(200, &[("x", "a\r\nb")]), BodyLength::Empty),
        (response(99, &[]), BodyLength::Empty),
        (response(600, &[]), BodyLength::Empty),
        (response(200, &[]), BodyLength::Tunnel),
        (response(101, &[]), BodyLength::Tunnel),
    ] {
        let get = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..];
        let mut server = ServerConnection::new(Wire::new(&[], Behind::Silence), get.into());
        assert!(now(|cx| server.poll_request(cx, &mut RequestHead::default())).is_ready());
        let refused = server.send_response(&head, length);
        assert!(matches!(refused, Err(ExchangeError::Malformed(_))), "{head:?}");
        // Another one may take its place.
        server.send_response(&response(502, &[]), BodyLength::Empty).expect("it can be written");
        assert!(now(|cx| server.poll_flush(cx)).is_ready());
        assert_eq!(text(&server.io().sent), "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "{head:?}");
    }
}
