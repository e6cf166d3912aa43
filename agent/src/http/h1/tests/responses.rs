//! Responses: what a client makes of bytes, for the request that it sent.

use std::task::Poll;

use super::{Behind, Wire, content, however_cut, listed, now, request};
use crate::http::h1::ClientConnection;
use crate::http::stream::{BodyLength, MessageStream, Upstream};
use crate::model::http::head::ResponseHead;

/// What a client sees of a response to a request of this method, one line per event, and whether its connection is reusable then.
fn seen_by_client(method: &str, pieces: &[&[u8]], behind: Behind) -> (Vec<String>, bool) {
    let mut client = ClientConnection::new(Wire::new(pieces, behind));
    let mut asked = request(method, "/");
    asked.upgrade = (method == "UPGRADE").then(|| b"websocket".to_vec());
    client.send_request(&asked, BodyLength::Empty).expect("it can be written");
    let mut head = ResponseHead::default();
    let mut seen = Vec::new();
    loop {
        match now(|cx| client.poll_response(cx, &mut head)) {
            Poll::Ready(Ok(length)) => {
                let upgrade = head.upgrade.as_ref().map(|text| format!(" upgrade:{}", super::text(text)));
                seen.push(format!("{} {}{}", head.status, listed(&head.fields), upgrade.unwrap_or_default()));
                if head.is_interim() {
                    continue;
                }
                if length != BodyLength::Empty {
                    seen.push(content(&mut client));
                }
                break;
            }
            Poll::Ready(Err(error)) => {
                seen.push(error.to_string());
                break;
            }
            Poll::Pending => {
                seen.push("waits".into());
                break;
            }
        }
    }
    assert!(now(|cx| client.poll_flush(cx)).is_ready());
    (seen, client.is_reusable())
}

/// The same, wherever the bytes are cut.
fn seen(method: &str, bytes: &str, behind: Behind) -> (Vec<String>, bool) {
    however_cut(bytes.as_bytes(), |pieces| seen_by_client(method, pieces, behind))
}

#[test]
fn a_response_ends_where_its_request_its_status_and_its_framing_say() {
    let upgraded = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nab";
    for (method, response, expected, is_reusable) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", &["200 content-length=2", "ab; end"][..], true),
        ("GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", &["200 content-length=0", "; end"], true),
        ("GET", "HTTP/1.1 200 \u{e9} x\r\nContent-Length: 0\r\n\r\n", &["200 content-length=0", "; end"], true),
        ("GET", "HTTP/1.1 599 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &["599 ", "; end"], true),
        ("GET", "HTTP/1.1 204 x\r\n\r\n", &["204 "], true),
        ("GET", "HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n", &["304 content-length=7"], true),
        ("HEAD", "HTTP/1.1 200 x\r\nContent-Length: 7\r\n\r\n", &["200 content-length=7"], true),
        ("HEAD", "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", &["200 "], true),
        ("HEAD", "HTTP/1.1 200 x\r\n\r\n", &["200 "], true),
        (
            "GET",
            "HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            &["200 content-length=0", "; end"],
            false,
        ),
        ("GET", "HTTP/1.0 200 x\r\nContent-Length: 0\r\n\r\n", &["200 content-length=0", "; end"], false),
        (
            "GET",
            "HTTP/1.0 200 x\r\nConnection: keep-alive\r\nKeep-Alive: max=2\r\nContent-Length: 0\r\n\r\n",
            &["200 content-length=0", "; end"],
            true,
        ),
        ("CONNECT", "HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nab", &["200 content-length=9", "ab; pending"], false),
        ("CONNECT", "HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\nab", &["407 content-length=2", "ab; end"], true),
        ("UPGRADE", upgraded, &["101  upgrade:websocket", "ab; pending"], false),
        (
            "GET",
            "HTTP/1.1 426 x\r\nConnection: upgrade\r\nUpgrade: a/2\r\nContent-Length: 0\r\n\r\n",
            &["426 content-length=0 upgrade:a/2", "; end"],
            true,
        ),
        (
            "GET",
            "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 x\r\nLink: a\r\n\r\nHTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n",
            &["100 ", "103 link=a", "200 content-length=0", "; end"],
            true,
        ),
        ("GET", "HTTP/1.1 100 x\r\nContent-Length: 5\r\n\r\n", &["100 content-length=5", "waits"], false),
    ] {
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(seen(method, response, Behind::Silence), (expected, is_reusable), "{method} {response:?}");
    }
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    for version in ["1.0", "1.1"] {
        let response = format!("HTTP/{version} 200 x\r\n\r\nab");
        assert_eq!(seen("GET", &response, Behind::End), (vec!["200 ".into(), "ab; end".into()], false));
        assert_eq!(seen("GET", &response, Behind::Reset), (vec!["200 ".into(), "ab; reset by the peer".into()], false));
    }
}

#[test]
fn what_is_no_response_is_malformed() {
    for (method, response) in [
        ("GET", "HTTP/1.1 200 x\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nX: a\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nX: a\r\n b\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nX : a\r\n\r\n"),
        ("GET", "HTTP/1.1  200 x\r\n\r\n"),
        ("GET", "HTTP/1.1 20 x\r\n\r\n"),
        ("GET", "HTTP/1.1 2000 x\r\n\r\n"),
        ("GET", "HTTP/1.1 099 x\r\n\r\n"),
        ("GET", "HTTP/1.1 600 x\r\n\r\n"),
        ("GET", "HTTP/2.0 200 x\r\n\r\n"),
        ("GET", "\r\nHTTP/1.1 200 x\r\n\r\n"),
        ("GET", "ICY 200 x\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nTransfer-Encoding: gzip\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("GET", "HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nConnection: content-length\r\n\r\n"),
        ("GET", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        ("UPGRADE", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
        ("UPGRADE", "HTTP/1.1 101 x\r\n\r\n"),
    ] {
        let (seen, is_reusable) = seen(method, response, Behind::Silence);
        assert!(seen[0].starts_with("malformed message: "), "{response:?}: {seen:?}");
        assert!(!is_reusable, "{response:?}");
    }
}

#[test]
fn no_response_differs_from_one_that_breaks_off() {
    for (response, behind, expected) in [
        ("", Behind::End, "the connection ended before a response came"),
        ("", Behind::Reset, "the connection ended before a response came"),
        ("H", Behind::End, "the connection ended before the message did"),
        ("H", Behind::Reset, "reset by the peer"),
        ("HTTP/1.1 200 x\r\n", Behind::End, "the connection ended before the message did"),
        ("HTTP/1.1 100 x\r\n\r\n", Behind::End, "the connection ended before the message did"),
        ("HTTP/1.1 100 x\r\n\r\n", Behind::Reset, "reset by the peer"),
    ] {
        let (seen, is_reusable) = seen("GET", response, behind);
        assert_eq!((seen.last().map(String::as_str), is_reusable), (Some(expected), false), "{response:?}");
    }
}
