//! Requests as streams of their own, beside tunnels: first as sessions see them, then over a network.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hbone::connection::{Counted, HboneConnection};
use crate::hbone::request_stream::{ClientSide, RequestSlot, RequestStream};
use crate::hbone::transport::Transport;
use crate::hbone::{AgeLimit, HboneServer, Incoming, IncomingRequest};
use crate::http::{BodyLength, Downstream as _, ExchangeError, MessageStream as _, Received as Part, Upstream as _};
use crate::limits::{Limit, LimitKind, NodeLimits};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::http::hop;

const HOP: [(&str, &[u8]); 1] = [(hop::DESTINATION, b"10.0.0.1:80")];
/// What one reader that stops may make both sides hold.
const HELD_BYTES: usize = 1024 * 1024;

fn head(target: &str) -> RequestHead {
    RequestHead {
        method: b"POST".to_vec(),
        target: target.into(),
        authority: b"web".to_vec(),
        fields: [("a", "1")].into_iter().collect(),
        ..RequestHead::default()
    }
}

#[tokio::test]
async fn both_sides_have_to_say_that_they_take_part() {
    for takes_part in [true, false] {
        let (near, far) = greeted_as(100_000, takes_part).await;
        assert_eq!((near.http2.has_request_streams(), far.http2.has_request_streams()), (takes_part, takes_part));
    }
}

#[tokio::test]
async fn a_peer_is_told_how_to_send_requests_only_where_it_takes_part() {
    for takes_part in [true, false] {
        let (mut near, mut far) = greeted_as(100_000, takes_part).await;
        let id = open(&mut near);
        carry(&mut near, &mut far, 100_000);
        assert!(far.http2.next_request().is_some());
        let said: HttpFields = match far.http2.has_request_streams() {
            true => [(hop::CARRIAGE, "streams")].into_iter().collect(),
            false => HttpFields::default(),
        };
        assert!(far.http2.grant(id, &said).is_ok());
        carry(&mut far, &mut near, 100_000);
        let response = near.http2.poll_response(id, &mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(response)) = response else { panic!("{response:?}") };
        assert_eq!((response.head.status, response.head.fields.contains(hop::CARRIAGE)), (200, takes_part));
    }
}

#[tokio::test]
async fn a_request_its_interim_response_and_trailers_pass_beside_a_tunnel() {
    let (mut near, mut far) = greeted(100_000).await;
    let mut context = Context::from_waker(Waker::noop());
    let tunnel = open(&mut near);
    let id = near.http2.request_with(&head("/a?b"), false, &HOP).expect("the peer accepts streams");
    near.http2.send_trailers(id, &[("x-sum", "6")].into_iter().collect());
    carry(&mut near, &mut far, 100_000);
    let arrived: Vec<_> = std::iter::from_fn(|| far.http2.next_request()).collect();
    let [(first, connect), (second, request)] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!((*first, &connect.head.method[..], *second), (tunnel, &b"CONNECT"[..], id));
    assert_eq!((&request.head.target[..], request.head.fields.first("a")), (&b"/a?b"[..], Some(&b"1"[..])));
    assert_eq!(request.head.fields.first(hop::DESTINATION), Some(&b"10.0.0.1:80"[..]));
    assert_eq!(far.http2.take_trailers(id), Some([("x-sum", "6")].into_iter().collect()));
    for status in [103, 200] {
        far.http2.send_response(id, &ResponseHead { status, ..ResponseHead::default() }, false);
    }
    let laid = far.poll_lay_part(id, &mut context, &[std::io::IoSlice::new(b"content")], true);
    assert!(matches!(laid, Poll::Ready(Ok(7))), "{laid:?}");
    carry(&mut far, &mut near, 100_000);
    for status in [103, 200] {
        let response = near.http2.poll_response(id, &mut context);
        assert!(matches!(&response, Poll::Ready(Ok(response)) if response.head.status == status), "{response:?}");
    }
    let stream = near.http2.stream_mut(id).expect("it is there");
    assert!(stream.remote_ended() && stream.local_ended(), "the end goes with the last content");
    assert_eq!(stream.attached.pending.pop().as_deref(), Some(&b"content"[..]));
    assert_eq!((why_ended(&near), why_ended(&far)), (None, None));
}

/// A connection over loopback, as its client has it, and what its server does with each request.
struct Connected {
    connection: Arc<HboneConnection>,
    is_wanted: Arc<AtomicBool>,
    held: Limit,
    _driving: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Connected {
    /// `serve` is called with each request that comes.
    async fn with<F>(serve: impl Fn(IncomingRequest) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let root = TestRoot::new();
        let (client, server) = (root.workload(CLIENT), root.workload(SERVER));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (near, (far, _)) = (near.expect("a connection"), accepted.expect("a connection"));
        let (trusted, expected) = (TrustedDomains(vec![TrustDomain::new("cluster.local")]), [id(SERVER)]);
        let (near, far) = tokio::join!(connect(&client, near, &expected, &trusted), accept(&server, far, &trusted));
        let (near, far) = (near.expect("a handshake"), far.expect("a handshake"));
        let age = AgeLimit { max: Duration::from_secs(3600), drain: Duration::from_secs(1) };
        let budget = || WindowBudget::of_kib(64 * 1024);
        let (transport, _) = Transport::new(near, Role::Client, budget(), age, true);
        let server = tokio::spawn(async move { HboneServer::start(far, budget(), age, true).await });
        transport.ready().await.expect("it greets");
        let (mut server, _) = server.await.expect("a task").expect("it greets");
        let driven = transport.clone();
        let driving = tokio::spawn(async move { drop(poll_fn(|cx| driven.poll_drive(cx)).await) });
        let serving = tokio::spawn(async move {
            while let Ok(incoming) = server.next().await {
                let Incoming::Request(request) = incoming else { panic!("a tunnel") };
                drop(tokio::spawn(serve(request)));
            }
        });
        let limits = NodeLimits::new(|_| 1000).for_pod();
        let held = limits.of(LimitKind::HttpUpstreams).clone();
        let take = || held.try_take().expect("there are enough");
        let counted = Counted { _peer: take(), _origin: take() };
        let close = CancellationToken::new().drop_guard();
        let connection = HboneConnection::new(transport, id(SERVER), address, close, counted);
        Self { connection, is_wanted: Arc::new(AtomicBool::new(true)), held, _driving: driving, serving }
    }

    fn send(&self, target: &str, length: BodyLength) -> RequestStream<ClientSide> {
        let slot = self.connection.reserve(100).expect("it takes streams");
        let held = self.held.try_take().expect("there are enough");
        let slot = RequestSlot::new(slot, self.is_wanted.clone());
        slot.send(&head(target), length, &HOP, held).expect("it takes streams")
    }
}

/// All content that comes, and the trailers.
async fn all_of(
    stream: &mut (impl crate::http::MessageStream + ?Sized),
) -> Result<(Vec<u8>, HttpFields), ExchangeError> {
    let mut content = Vec::new();
    loop {
        match poll_fn(|cx| stream.poll_receive(cx)).await? {
            Part::Data(data) => content.extend_from_slice(&data),
            Part::Trailers(trailers) => return Ok((content, trailers)),
            Part::End => return Ok((content, HttpFields::default())),
        }
    }
}

/// Sends content in pieces, and its end.
async fn send_all(
    stream: &mut impl crate::http::MessageStream,
    content: &[u8],
    trailers: Option<&HttpFields>,
) -> Result<(), ExchangeError> {
    for piece in content.chunks(10_000) {
        poll_fn(|cx| stream.poll_room(cx)).await?;
        stream.send_data(Bytes::copy_from_slice(piece));
    }
    match trailers {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_end(),
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}

/// Answers with what came: its content, and its trailers with one of ours.
async fn echo(request: IncomingRequest) {
    let IncomingRequest { mut stream, head, .. } = request;
    let (content, mut trailers) = all_of(&mut stream).await.expect("a whole request");
    if !trailers.is_empty() {
        trailers.append(b"weir-hop-forged", b"1");
    }
    let fields = [("target", std::str::from_utf8(&head.target).unwrap())].into_iter().collect();
    let response = ResponseHead { status: 200, fields, ..ResponseHead::default() };
    let interim = ResponseHead { status: 103, ..ResponseHead::default() };
    stream.send_response(&interim, BodyLength::Empty).expect("it can be written");
    stream.send_response(&response, BodyLength::Unknown).expect("it can be written");
    send_all(&mut stream, &content, Some(&trailers)).await.expect("the client is there");
}

#[tokio::test]
async fn bodies_and_trailers_pass_bit_by_bit_both_ways() {
    let connected = Connected::with(echo).await;
    let exchanges = [0_usize, 1, 16_384, 70_000, 3_000_001].map(|length| {
        let content: Vec<u8> = (0..length).map(|number| (number ^ (number >> 8)) as u8).collect();
        let mut stream = connected.send(&format!("/{length}"), BodyLength::Unknown);
        tokio::spawn(async move {
            let trailers = (length % 2 == 1).then(|| [("x-sum", "6")].into_iter().collect());
            send_all(&mut stream, &content, trailers.as_ref()).await.expect("it is read");
            let mut head = ResponseHead::default();
            for status in [103, 200] {
                poll_fn(|cx| stream.poll_response(cx, &mut head)).await.expect("a response");
                assert_eq!(head.status, status, "{length}");
            }
            assert_eq!(head.fields.first("target"), Some(format!("/{length}").as_bytes()));
            let (came, with) = all_of(&mut stream).await.expect("a whole response");
            assert!(came == content, "{length}: {} bytes came", came.len());
            assert_eq!(with, trailers.unwrap_or_default(), "{length}");
        })
    });
    for exchange in exchanges {
        exchange.await.expect("it is exact");
    }
    assert_eq!(connected.connection.transport.session().http2.open_streams(), 0);
}

#[tokio::test]
async fn a_reader_that_stops_holds_its_sender_and_nobody_else() {
    let connected = Connected::with(|request| async move {
        if request.head.target == b"/stops" {
            return std::future::pending().await;
        }
        echo(request).await;
    })
    .await;
    let mut stopped = connected.send("/stops", BodyLength::Unknown);
    let mut sent = 0;
    let sending = async {
        while poll_fn(|cx| stopped.poll_room(cx)).await.is_ok() {
            stopped.send_data(Bytes::from(vec![0; 10_000]));
            let _ = poll_fn(|cx| Poll::Ready(stopped.poll_push(cx))).await;
            sent += 10_000;
            assert!(sent <= HELD_BYTES, "it goes on");
        }
    };
    let others = async {
        for round in 0..20 {
            let mut stream = connected.send("/others", BodyLength::Unknown);
            send_all(&mut stream, &vec![1; 100_000], None).await.expect("it is read");
            let mut head = ResponseHead { status: 103, ..ResponseHead::default() };
            while head.is_interim() {
                poll_fn(|cx| stream.poll_response(cx, &mut head)).await.expect("a response");
            }
            assert_eq!(all_of(&mut stream).await.expect("a whole response").0.len(), 100_000, "{round}");
        }
    };
    tokio::select! {
        () = sending => panic!("it was broken"),
        () = others => {}
    }
    assert!(sent > 0);
}

#[tokio::test]
async fn how_a_stream_ends_says_who_ended_it_and_whether_the_request_was_seen() {
    let (left, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let connected = Connected::with(move |request| {
        let left = left.clone();
        async move {
            let IncomingRequest { mut stream, head, .. } = request;
            match &head.target[..] {
                b"/refused" => stream.refuse(),
                b"/reset" => drop(stream),
                b"/midway" | b"/panics" => {
                    let response = ResponseHead { status: 200, ..ResponseHead::default() };
                    stream.send_response(&response, BodyLength::Unknown).expect("it can be written");
                    stream.send_data(Bytes::from_static(b"some"));
                    poll_fn(|cx| stream.poll_flush(cx)).await.expect("the client is there");
                    assert_ne!(head.target, b"/panics", "a fault");
                }
                _ => {
                    drop(left.send("came".to_owned()));
                    drop(left.send(poll_fn(|cx| stream.poll_left(cx)).await.to_string()));
                }
            }
        }
    })
    .await;
    let response = async |target: &str| {
        let mut stream = connected.send(target, BodyLength::Empty);
        let mut head = ResponseHead::default();
        let answered = poll_fn(|cx| stream.poll_response(cx, &mut head)).await;
        match answered {
            Ok(_) => all_of(&mut stream).await.map(|_| ()),
            Err(error) => Err(error),
        }
    };
    assert!(matches!(response("/reset").await, Err(ExchangeError::Reset)));
    assert!(matches!(response("/midway").await, Err(ExchangeError::Reset)));
    assert!(matches!(response("/panics").await, Err(ExchangeError::Reset)));
    assert!(connected.is_wanted.load(Ordering::Relaxed));
    assert!(matches!(response("/refused").await, Err(ExchangeError::Refused)));
    assert!(!connected.is_wanted.load(Ordering::Relaxed), "further requests go inside of CONNECT");
    let left = connected.send("/left", BodyLength::Empty);
    assert_eq!(seen.recv().await.as_deref(), Some("came"));
    drop(left);
    assert_eq!(seen.recv().await.as_deref(), Some("reset by the peer"));
    let mut stream = connected.send("/unanswered", BodyLength::Empty);
    assert_eq!(seen.recv().await.as_deref(), Some("came"));
    connected.serving.abort();
    let answered = poll_fn(|cx| stream.poll_response(cx, &mut ResponseHead::default())).await;
    assert!(matches!(answered, Err(ExchangeError::NoResponse | ExchangeError::Refused)), "{answered:?}");
}
