//! A client's and a server's session that exchange real TLS records, without a network.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::StatusCode;
use tokio::io::{AsyncReadExt, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::application::{Application, TcpEnd};
use super::session::{Received, SecuredSession};
use crate::h2::{Role, WindowBudget};
use crate::model::identity::TrustDomain;
use crate::tls::handshake::{TrustedDomains, accept, connect};
use crate::tls::test_mesh::{TestRoot, id};

mod request_streams;

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// Both ends of a connection whose handshake is over. `has_streams`: whether the client takes part in requests as streams of their own.
async fn ends(has_streams: bool) -> (SecuredSession, SecuredSession) {
    let root = TestRoot::new();
    let (client, server) = (root.workload(CLIENT), root.workload(SERVER));
    let (near, far) = duplex(64 * 1024);
    let (trusted, expected) = (TrustedDomains(vec![TrustDomain::new("cluster.local")]), [id(SERVER)]);
    let (near, far) = tokio::join!(connect(&client, near, &expected, &trusted), accept(&server, far, &trusted));
    let (near, far) = (near.expect("a handshake"), far.expect("a handshake"));
    let budget = || WindowBudget::of_kib(0);
    let mut near_session = SecuredSession::new(Role::Client, near.records, near.received, budget(), has_streams);
    let mut far_session = SecuredSession::new(Role::Server, far.records, far.received, budget(), true);
    near_session.receive_early();
    far_session.receive_early();
    (near_session, far_session)
}

/// What an end sends next, at most so many bytes of it.
fn sent(from: &mut SecuredSession, most: usize) -> Vec<u8> {
    let bytes = from.sealed_output();
    let part = bytes[..most.min(bytes.len())].to_vec();
    from.sent(part.len());
    part
}

/// Gives an end these bytes, as many at a time as it reads; none are the end of the network's connection.
fn receive(to: &mut SecuredSession, mut bytes: &[u8]) -> Received {
    loop {
        let read = |place: &mut [u8]| {
            let (now, later) = bytes.split_at(place.len().min(bytes.len()));
            place[..now.len()].copy_from_slice(now);
            bytes = later;
            Ok(now.len())
        };
        let received = to.receive(read).expect("bytes came");
        if bytes.is_empty() || received == Received::End {
            return received;
        }
    }
}

/// Carries all that one end sends to the other, so many bytes at a time.
fn carry(from: &mut SecuredSession, to: &mut SecuredSession, cut: usize) {
    loop {
        let part = sent(from, cut);
        if part.is_empty() {
            return;
        }
        receive(to, &part);
    }
}

async fn greeted(cut: usize) -> (SecuredSession, SecuredSession) {
    greeted_as(cut, true).await
}

async fn greeted_as(cut: usize, has_streams: bool) -> (SecuredSession, SecuredSession) {
    let (mut near, mut far) = ends(has_streams).await;
    for _ in 0..2 {
        carry(&mut near, &mut far, cut);
        carry(&mut far, &mut near, cut);
    }
    assert!(near.http2.is_ready() && far.http2.is_ready());
    (near, far)
}

fn open(near: &mut SecuredSession) -> u32 {
    open_with(near, b"")
}

fn open_with(near: &mut SecuredSession, baggage: &[u8]) -> u32 {
    let fields: [(&str, &[u8]); 3] = [(":method", b"CONNECT"), (":authority", b"10.0.0.1:80"), ("baggage", baggage)];
    near.open(fields).expect("the peer accepts streams")
}

fn why_ended(session: &SecuredSession) -> Option<String> {
    session.http2.ended().map(ToString::to_string)
}

#[tokio::test]
async fn a_request_and_its_answer_pass_however_the_network_cuts_them() {
    for cut in [1, 7, 100, 100_000] {
        let (mut near, mut far) = greeted(cut).await;
        let id = open(&mut near);
        carry(&mut near, &mut far, cut);
        let (arrived, request) = far.http2.next_request().expect("a request");
        assert_eq!((arrived, &request.head.authority[..]), (id, &b"10.0.0.1:80"[..]), "{cut}");
        assert!(far.http2.respond(id, StatusCode::OK, false).is_ok());
        far.http2.end_stream(id);
        carry(&mut far, &mut near, cut);
        let response = near.http2.poll_response(id, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(&response, Poll::Ready(Ok(response)) if response.head.status == 200), "{cut}: {response:?}");
        assert!(near.http2.stream(id).expect("it is there").remote_ended(), "{cut}");
        assert_eq!((why_ended(&near), why_ended(&far)), (None, None), "{cut}");
    }
}

#[tokio::test]
async fn more_frames_than_the_network_accepts_leave_in_order() {
    let (mut near, mut far) = greeted(100_000).await;
    // Far more than one chunk of records holds, while nothing is sent: as many streams as a pod may have with that window.
    let ids: Vec<u32> = (0..2_048).map(|_| open_with(&mut near, &[b'b'; 150])).collect();
    carry(&mut near, &mut far, 5000);
    let arrived: Vec<u32> = std::iter::from_fn(|| far.http2.next_request()).map(|(id, _)| id).collect();
    assert_eq!(arrived, ids[..200], "as many as the server allows");
    assert_eq!((why_ended(&near), why_ended(&far)), (None, None));
}

#[tokio::test]
async fn a_record_that_was_damaged_ends_the_session_without_an_answer() {
    let (mut near, mut far) = greeted(100_000).await;
    let first = open(&mut near);
    let mut bytes = sent(&mut near, usize::MAX);
    open(&mut near);
    bytes.extend(sent(&mut near, usize::MAX));
    *bytes.last_mut().expect("a record") ^= 1;
    assert_eq!(receive(&mut far, &bytes), Received::End);
    assert_eq!(why_ended(&far).as_deref(), Some("TLS: a record was forged or damaged on its way"));
    assert!(far.http2.stream(first).is_some_and(|stream| stream.failure().is_some()), "what came before is broken too");
    assert_eq!(far.sealed_output(), b"", "nobody is left to receive it");
}

#[tokio::test]
async fn a_peer_that_closes_ends_the_session() {
    let (mut near, mut far) = greeted(100_000).await;
    let close_notify = near.close_notify();
    assert_eq!(receive(&mut far, close_notify.as_ref()), Received::End);
    assert_eq!(why_ended(&far).as_deref(), Some("closed by the peer"));
    assert_eq!(receive(&mut near, b""), Received::End, "the connection without TLS's word for it");
    assert_eq!(why_ended(&near).as_deref(), Some("closed by the peer"));
}

/// A connection of an application, and its other end, which holds as much as fits and nobody reads. Returns how much that is.
async fn full_application() -> (TcpStream, TcpStream, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (ours, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (ours, (application, _)) = (ours.expect("a connection"), accepted.expect("a connection"));
    ours.writable().await.expect("a connection");
    let mut held = 0;
    while let Ok(count) = ours.try_write(&[0; 64 * 1024]) {
        held += count;
    }
    (ours, application, held)
}

#[tokio::test]
async fn what_came_before_the_connection_ended_is_delivered_before_the_end_is_shown() {
    const BYTES: usize = 60_000;
    for (ends_stream, outcome) in [(true, Ok(())), (false, Err("HBONE stream: connection: closed by the peer"))] {
        let (mut near, mut far) = greeted(100_000).await;
        let id = open(&mut near);
        carry(&mut near, &mut far, 100_000);
        assert!(far.http2.next_request().is_some() && far.http2.respond(id, StatusCode::OK, false).is_ok());
        let (tcp, mut application, held) = full_application().await;
        near.attach(id, Application { tcp: Arc::new(tcp), end: TcpEnd::Source, bytes: Arc::default() });
        let fill = |places: &mut [IoSliceMut<'_>]| Ok(places.iter().map(|place| place.len()).sum());
        assert!(far.has_room(), "the response is laid down before the data");
        let laid = far.output.fill(&mut far.records, id, BYTES, 16, None, fill).expect("there is room");
        far.http2.data_sent(id, laid);
        if ends_stream {
            far.http2.end_stream(id);
        }
        carry(&mut far, &mut near, 100_000);
        assert_eq!(receive(&mut near, b""), Received::End);
        let pending = near.http2.stream(id).expect("it is there").attached.pending.len();
        assert!(pending > 0, "the application's socket took it");
        let mut bytes = 0;
        let reading = async {
            let mut block = vec![0; 4096];
            while bytes < held + laid {
                bytes += application.read(&mut block).await.expect("no reset");
            }
            drop(application);
        };
        let (relayed, ()) = tokio::join!(poll_fn(|cx| near.poll_relay(id, cx)), reading);
        assert_eq!(relayed.map_err(|error| error.to_string()), outcome.map_err(str::to_owned));
        assert_eq!(bytes, held + laid);
    }
}
