//! Exchanges that no connection carries.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;

use super::super::local::{ClientSide, HandedRequest, LocalStream, ServerSide};
use super::super::{BodyLength, ExchangeError, Received};
use super::super::{CarriedExchange as _, Downstream as _, MessageStream, Upstream as _, hand_over};
use super::now;
use crate::http::h1::CheckedRequest;
use crate::limits::{LimitKind, NodeLimits, PodLimits};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::identity::{Identity, TrustDomain};

type Client = LocalStream<ClientSide>;
type Server = LocalStream<ServerSide>;

fn limits() -> PodLimits {
    NodeLimits::new(|_| 1).for_pod()
}

/// Both sides of a request.
fn begun(method: &str, length: BodyLength, is_http2: bool) -> (Client, HandedRequest) {
    let head = RequestHead {
        method: method.into(),
        target: b"/a".to_vec(),
        authority: b"shop".to_vec(),
        fields: [("a", "b")].into_iter().collect(),
        ..RequestHead::default()
    };
    let checked = CheckedRequest::of(&head, length, is_http2).expect("it may pass");
    let held = limits().of(LimitKind::HttpUpstreams).try_take().expect("it is the first");
    hand_over(checked, Identity::new(TrustDomain::new(""), "shop", "web"), held)
}

fn exchange(method: &str, length: BodyLength) -> (Client, Server) {
    let (client, HandedRequest { stream, .. }) = begun(method, length, false);
    (client, stream)
}

fn response(status: u16) -> ResponseHead {
    ResponseHead { status, ..ResponseHead::default() }
}

/// The next response, if it is there.
fn answered(client: &mut Client) -> Option<Result<(u16, BodyLength), String>> {
    let mut head = ResponseHead::default();
    let length = now(poll_fn(|cx| client.poll_response(cx, &mut head)))?;
    Some(length.map(|length| (head.status, length)).map_err(|error| error.to_string()))
}

/// All that is there of a message.
fn received(stream: &mut impl MessageStream) -> String {
    let mut seen = String::new();
    loop {
        match now(poll_fn(|cx| stream.poll_receive(cx))) {
            Some(Ok(Received::Data(data))) => seen.push_str(&String::from_utf8_lossy(&data)),
            Some(Ok(Received::Trailers(fields))) => return seen + &format!("; {} trailers", fields.len()),
            Some(Ok(Received::End)) => return seen + "; end",
            Some(Err(error)) => return format!("{seen}; {error}"),
            None => return seen + "; waits",
        }
    }
}

fn has_room(stream: &mut impl MessageStream) -> Option<Result<(), String>> {
    now(poll_fn(|cx| stream.poll_room(cx))).map(|room| room.map_err(|error| error.to_string()))
}

#[test]
fn heads_content_and_trailers_pass_both_ways() {
    let (mut client, HandedRequest { stream: mut server, head, length }) = begun("POST", BodyLength::Unknown, true);
    assert_eq!((&*head.method, &*head.target, length), (&b"POST"[..], &b"/a"[..], BodyLength::Unknown));
    assert_eq!(client.peer().service_account.as_ref(), "web");
    assert_eq!(received(&mut server), "; waits");
    client.send_data(Bytes::from_static(b"as"));
    client.send_data(Bytes::from_static(b"k"));
    client.send_trailers(&[("sum", "3"), ("weir-hop-x", "y")].into_iter().collect());
    assert_eq!(received(&mut server), "ask; 1 trailers");
    assert!(answered(&mut client).is_none());
    server.send_response(&response(200), BodyLength::Unknown).expect("it may pass");
    assert_eq!(answered(&mut client), Some(Ok((200, BodyLength::Unknown))));
    server.send_data(Bytes::from_static(b"answer"));
    server.send_trailers(&[("grpc-status", "0")].into_iter().collect());
    assert!(matches!(now(poll_fn(|cx| server.poll_flush(cx))), Some(Ok(()))));
    drop(server);
    assert_eq!(received(&mut client), "answer; 1 trailers", "what is whole arrives, whoever is gone");
}

#[test]
fn interim_responses_are_taken_one_by_one() {
    let (mut client, mut server) = exchange("GET", BodyLength::Empty);
    assert_eq!(received(&mut server), "; end");
    server.send_response(&response(103), BodyLength::Empty).expect("it may pass");
    assert!(now(poll_fn(|cx| server.poll_flush(cx))).is_none(), "the client has not taken it");
    assert_eq!(answered(&mut client), Some(Ok((103, BodyLength::Empty))));
    assert!(matches!(now(poll_fn(|cx| server.poll_flush(cx))), Some(Ok(()))));
    server.send_response(&response(204), BodyLength::Empty).expect("it may pass");
    assert!(server.send_response(&response(200), BodyLength::Empty).is_err(), "there is one final response");
    assert_eq!(answered(&mut client), Some(Ok((204, BodyLength::Empty))));
    assert_eq!(received(&mut client), "; end");
}

#[test]
fn content_is_as_long_as_its_head_says() {
    for (length, sent, ends, fault) in [
        (BodyLength::Known(4), "ab", true, Some("less content")),
        (BodyLength::Known(4), "abcde", false, Some("more content")),
        (BodyLength::Known(0), "a", false, Some("more content")),
        (BodyLength::Empty, "a", false, Some("more content")),
        (BodyLength::Known(4), "abcd", true, None),
        (BodyLength::Known(0), "", true, None),
        (BodyLength::Unknown, "abcdef", true, None),
    ] {
        let (mut client, mut server) = exchange("GET", length);
        client.send_data(Bytes::from_static(sent.as_bytes()));
        if ends {
            client.send_end();
        }
        let seen = has_room(&mut client).expect("there is room");
        match fault {
            Some(fault) => assert!(seen.is_err_and(|error| error.contains(fault)), "{length:?} {sent}"),
            None => assert_eq!((seen, received(&mut server)), (Ok(()), format!("{sent}; end")), "{length:?}"),
        }
    }
    // A response that has no content has none, whatever is sent.
    for (method, status, length) in
        [("HEAD", 200, BodyLength::Known(4)), ("GET", 204, BodyLength::Unknown), ("GET", 304, BodyLength::Known(4))]
    {
        let (mut client, mut server) = exchange(method, BodyLength::Empty);
        server.send_response(&response(status), length).expect("it may pass");
        server.send_data(Bytes::from_static(b"abcd"));
        server.send_end();
        assert!(matches!(now(poll_fn(|cx| server.poll_flush(cx))), Some(Ok(()))));
        assert_eq!(answered(&mut client), Some(Ok((status, BodyLength::Empty))));
        assert_eq!(received(&mut client), "; end", "{method} {status}");
    }
}

#[test]
fn a_reader_that_pauses_holds_its_writer() {
    for (part, most) in [(vec![7; 16 * 1024], 3), (vec![7], 64)] {
        let (mut client, mut server) = exchange("PUT", BodyLength::Unknown);
        let mut sent = 0;
        while let Some(room) = has_room(&mut client) {
            room.expect("nothing is wrong");
            client.send_data(part.clone().into());
            sent += 1;
            assert!(sent <= most, "parts of {} bytes", part.len());
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(client.poll_room(&mut Context::from_waker(&waker)).is_pending());
        let mut taken = 0;
        while let Some(Ok(Received::Data(_))) = now(poll_fn(|cx| server.poll_receive(cx))) {
            taken += 1;
        }
        assert_eq!((taken, woken.0.load(Ordering::Relaxed)), (sent, 1), "it is told once");
        assert_eq!(has_room(&mut client), Some(Ok(())));
    }
}

/// How often a task was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_side_that_leaves_too_early_resets_the_exchange() {
    let reset = || ExchangeError::Reset.to_string();
    // The client leaves.
    let (mut client, mut server) = exchange("PUT", BodyLength::Unknown);
    client.send_data(Bytes::from_static(b"much"));
    assert!(now(poll_fn(|cx| server.poll_left(cx))).is_none());
    drop(client);
    assert!(matches!(now(poll_fn(|cx| server.poll_left(cx))), Some(ExchangeError::Reset)));
    assert_eq!(received(&mut server), format!("; {}", reset()), "it overtakes what was sent");
    assert_eq!(has_room(&mut server), Some(Err(reset())));
    // The server leaves without an answer.
    for (is_http2, expected) in [(false, ExchangeError::NoResponse.to_string()), (true, reset())] {
        let (mut client, handed) = begun("GET", BodyLength::Empty, is_http2);
        drop(handed);
        assert_eq!(answered(&mut client), Some(Err(expected)));
        assert_eq!(has_room(&mut client), Some(Err(reset())));
    }
    // It leaves within its answer.
    let (mut client, mut server) = exchange("GET", BodyLength::Empty);
    server.send_response(&response(200), BodyLength::Known(4)).expect("it may pass");
    assert_eq!(answered(&mut client), Some(Ok((200, BodyLength::Known(4)))));
    server.send_data(Bytes::from_static(b"ab"));
    drop(server);
    assert_eq!(received(&mut client), format!("; {}", reset()));
}

#[test]
fn a_place_is_held_while_a_request_is_under_way() {
    let limits = limits();
    let limit = limits.of(LimitKind::HttpUpstreams);
    let head = RequestHead { method: b"GET".to_vec(), target: b"/".to_vec(), ..RequestHead::default() };
    let head = RequestHead { authority: b"a".to_vec(), fields: HttpFields::default(), ..head };
    let checked = CheckedRequest::of(&head, BodyLength::Empty, false).expect("it may pass");
    let held = limit.try_take().expect("it is the first");
    let (client, _handed) = hand_over(checked, Identity::new(TrustDomain::new(""), "shop", "web"), held);
    assert!(limit.try_take().is_none());
    drop(client);
    assert!(limit.try_take().is_some());
}

#[test]
fn whoever_waits_is_woken() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let mut count = 0;
    let mut expect = |what: &str| {
        count += 1;
        assert_eq!(woken.0.load(Ordering::Relaxed), count, "{what}");
    };
    let (mut client, mut server) = exchange("PUT", BodyLength::Unknown);
    assert!(server.poll_receive(&mut cx).is_pending());
    client.send_data(Bytes::from_static(b"a"));
    expect("content");
    assert!(matches!(server.poll_receive(&mut cx), Poll::Ready(Ok(Received::Data(_)))));
    assert!(server.poll_receive(&mut cx).is_pending());
    client.send_end();
    expect("the end");
    assert!(server.poll_left(&mut cx).is_pending());
    let mut head = ResponseHead::default();
    assert!(client.poll_response(&mut cx, &mut head).is_pending());
    server.send_response(&response(200), BodyLength::Known(1)).expect("it may pass");
    expect("the response");
    assert!(client.poll_response(&mut cx, &mut head).is_ready() && client.poll_receive(&mut cx).is_pending());
    server.send_data(Bytes::from_static(b"b"));
    expect("its content");
    drop(client);
    expect("a client that leaves");
}
