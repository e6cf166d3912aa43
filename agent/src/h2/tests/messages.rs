//! Requests and responses of applications: heads, content and trailers, both ways.

use super::*;
use crate::h2::Response;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead, Scheme};

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "shop:80"), (":path", "/a?b")];
const POST: [(&str, &str); 4] = [(":method", "POST"), GET[1], GET[2], GET[3]];
const OK: [(&str, &str); 1] = [(":status", "200")];
const END: u8 = flag::END_STREAM;

fn with<'a>(fields: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [fields, more].concat()
}

/// A client's header block, what the server makes of it, in words, and what the client gets.
type Row<'a> = (Vec<(&'a str, &'a str)>, u8, &'a str);

fn described_request(request: &Request) -> String {
    let Request { head, content } = request;
    let fields = head.fields.iter().map(|(name, value)| format!(" {}={}", text(name), text(value)));
    let (method, authority, target) = (text(&head.method), text(&head.authority), text(&head.target));
    format!("{method} {}://{authority}{target}{}, {content:?}", head.scheme.text(), fields.collect::<String>())
}

#[test]
fn requests_of_any_method_are_read() {
    let rows: [Row<'_>; 11] = [
        (GET.to_vec(), END, "GET http://shop:80/a?b, None"),
        (GET.to_vec(), 0, "GET http://shop:80/a?b, Unknown"),
        (with(&POST, &[("content-length", "3")]), 0, "POST http://shop:80/a?b content-length=3, Bytes(3)"),
        (with(&POST, &[("content-length", "0")]), END, "POST http://shop:80/a?b content-length=0, None"),
        (with(&GET[..2], &[GET[3], ("host", "shop")]), END, "GET http://shop/a?b, None"),
        (with(&GET, &[("host", "SHOP:80")]), END, "GET http://shop:80/a?b, None"),
        (with(&GET[..2], &[GET[3]]), END, "GET http:///a?b, None"),
        (
            with(&GET, &[("te", "trailers"), ("x", "1"), ("x", "2")]),
            END,
            "GET http://shop:80/a?b te=trailers x=1 x=2, None",
        ),
        (vec![(":method", "OPTIONS"), (":path", "*"), (":scheme", "https")], END, "OPTIONS https://*, None"),
        (vec![(":method", "PURGE"), (":path", "/"), (":scheme", "HTTP")], END, "PURGE http:///, None"),
        (REQUEST.to_vec(), 0, "CONNECT http://10.0.0.1:80, Unknown"),
    ];
    for (fields, flags, expected) in rows {
        let mut side = Side::of_requests(Role::Server);
        side.takes(&headers(1, flags, &fields));
        let request = side.session.next_request().map(|(id, request)| (id, described_request(&request)));
        assert_eq!(request, Some((1, expected.to_owned())), "{fields:?}");
        assert_eq!(side.sent(), [""; 0], "{fields:?}");
    }
}

#[test]
fn malformed_requests_are_reset_and_nobody_sees_them() {
    let no_path = [GET[0], GET[1], GET[2]];
    let rows: [(&str, Vec<(&str, &str)>); 25] = [
        ("no method", GET[1..].to_vec()),
        ("no scheme", vec![GET[0], GET[2], GET[3]]),
        ("no path", no_path.to_vec()),
        ("an empty path", with(&no_path, &[(":path", "")])),
        ("a path without a slash", with(&no_path, &[(":path", "a")])),
        ("a star that is no OPTIONS", with(&no_path, &[(":path", "*")])),
        ("a blank in the path", with(&no_path, &[(":path", "/a b")])),
        ("a byte beyond ASCII in the path", with(&no_path, &[(":path", "/\u{e9}")])),
        ("a line end in the path", with(&no_path, &[(":path", "/a\r\nb: c")])),
        ("a method twice", with(&GET, &[GET[0]])),
        ("a path twice", with(&GET, &[GET[3]])),
        ("a scheme twice", with(&GET, &[GET[1]])),
        ("an authority twice", with(&GET, &[GET[2]])),
        ("a method that is none", with(&GET[1..], &[(":method", "G T")])),
        ("another scheme", vec![GET[0], (":scheme", "ftp"), GET[2], GET[3]]),
        ("a user in the authority", vec![GET[0], GET[1], (":authority", "me@shop"), GET[3]]),
        ("a path in the authority", vec![GET[0], GET[1], (":authority", "shop/a"), GET[3]]),
        ("another host", with(&GET, &[("host", "cart")])),
        ("a pseudo-header field behind others", with(&[("a", "b")], &GET)),
        ("an unknown pseudo-header field", with(&GET, &[(":protocol", "websocket")])),
        ("a field of a response", with(&GET, &[(":status", "200")])),
        ("a name in capitals", with(&GET, &[("A", "b")])),
        ("a field of HTTP/1", with(&GET, &[("transfer-encoding", "chunked")])),
        ("a CONNECT without an authority", vec![REQUEST[0]]),
        ("a CONNECT with a scheme", with(&REQUEST, &[(":scheme", "http")])),
    ];
    for (name, fields) in rows {
        let mut side = Side::of_requests(Role::Server);
        assert_eq!(side.gets(&headers(1, END, &fields)), [""; 0], "{name}");
        assert_eq!(side.sent(), ["RST_STREAM 1: PROTOCOL_ERROR"], "{name}");
        assert!(side.session.ended().is_none() && side.session.open_streams() == 0, "{name}");
    }
}

#[test]
fn content_that_is_not_as_long_as_its_head_says_breaks_the_stream() {
    let post = |length: &str, flags: u8| headers(1, flags, &with(&POST, &[("content-length", length)]));
    let trailers = headers(1, END, &[("a", "b")]);
    let (fits, broken): (&[&str], &[&str]) = (&[], &["RST_STREAM 1: PROTOCOL_ERROR"]);
    for (name, bytes, frames) in [
        ("all of it", [post("2", 0), data(1, END, b"hi")].concat(), fits),
        ("in parts", [post("2", 0), data(1, 0, b"h"), data(1, 0, b"i"), data(1, END, b"")].concat(), fits),
        ("trailers behind it", [post("2", 0), data(1, 0, b"hi"), trailers.clone()].concat(), fits),
        ("more", [post("2", 0), data(1, 0, b"hi!")].concat(), broken),
        ("less", [post("2", 0), data(1, END, b"h")].concat(), broken),
        ("trailers too early", [post("2", 0), data(1, 0, b"h"), trailers].concat(), broken),
        ("none at all", post("2", END), broken),
        ("data that comes afterwards", [post("2", 0), data(1, 0, b"hi!"), data(1, END, b"x")].concat(), broken),
    ] {
        let mut side = Side::of_requests(Role::Server);
        side.gets(&bytes);
        assert_eq!(side.sent(), frames, "{name}");
        assert!(side.session.ended().is_none(), "{name}");
        let malformed = side.session.stream(1).and_then(|stream| stream.reset_midway()).is_some();
        assert_eq!(malformed, !frames.is_empty() && name != "none at all", "{name}");
    }
}

#[test]
fn trailers_are_there_once_the_peer_has_ended() {
    for (fields, expected) in [(&[("a", "b"), ("c", "d")][..], Some("a=b c=d")), (&[], None), (&[("host", "x")], None)]
    {
        let mut side = Side::of_requests(Role::Server);
        side.gets(&headers(1, 0, &POST));
        assert_eq!(side.gets(&headers(1, END, fields)), ["end of 1"]);
        let trailers = side.session.take_trailers(1).map(|trailers| {
            let fields = trailers.iter().map(|(name, value)| format!("{}={}", text(name), text(value)));
            fields.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(trailers.as_deref(), expected, "{fields:?}");
        let events = side.gets(&headers(1, END, fields));
        assert_eq!(events, ["over: HTTP/2 STREAM_CLOSED: a head after the end of a stream"], "{fields:?}");
    }
    for fields in [&[(":path", "/")][..], &[("connection", "close")]] {
        let mut side = Side::of_requests(Role::Server);
        side.gets(&headers(1, 0, &POST));
        side.gets(&headers(1, END, fields));
        assert_eq!(side.sent(), ["RST_STREAM 1: PROTOCOL_ERROR"], "{fields:?}");
    }
}

/// A client that has asked for this method on stream 1.
fn asking(method: &str) -> Side {
    let mut side = Side::of_requests(Role::Client);
    let mut head = RequestHead { method: method.into(), authority: b"shop".to_vec(), ..RequestHead::default() };
    if method != "CONNECT" {
        head.target = b"/".to_vec();
    }
    assert_eq!(side.session.request(&head, false), Some(1));
    side.sent();
    side
}

/// The responses that have come so far, in words.
fn responses(side: &mut Side) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match side.session.poll_response(1, &mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return all,
            Poll::Ready(Ok(Response { head, content })) => {
                let fields = head.fields.iter().map(|(name, value)| format!(" {}={}", text(name), text(value)));
                all.push(format!("{}{}, {content:?}", head.status, fields.collect::<String>()));
            }
            Poll::Ready(Err(error)) => {
                all.push(error.to_string());
                return all;
            }
        }
    }
}

#[test]
fn responses_are_read_with_what_the_request_makes_of_them() {
    let length = ("content-length", "5");
    let of = |status: &'static str| vec![(":status", status), length];
    for (method, fields, flags, expected) in [
        ("GET", OK.to_vec(), END, "200, None"),
        ("GET", of("200"), 0, "200 content-length=5, Bytes(5)"),
        ("GET", of("200"), END, "malformed: less content than its length says"),
        ("GET", of("304"), END, "304 content-length=5, None"),
        ("GET", of("204"), 0, "204 content-length=5, None"),
        ("GET", vec![(":status", "999")], END, "999, None"),
        ("HEAD", of("200"), END, "200 content-length=5, None"),
        ("HEAD", of("200"), 0, "200 content-length=5, None"),
        ("CONNECT", of("200"), 0, "200 content-length=5, Unknown"),
        ("CONNECT", of("403"), 0, "403 content-length=5, Bytes(5)"),
        ("GET", vec![], 0, "malformed: no status"),
        ("GET", vec![OK[0], OK[0]], 0, "malformed: a pseudo-header field twice"),
        ("GET", vec![(":status", "20")], 0, "malformed: a status that is none"),
        ("GET", vec![("a", "b"), OK[0]], 0, "malformed: a pseudo-header field behind others"),
        ("GET", vec![(":status", "101")], 0, "malformed: a change of protocols"),
    ] {
        let mut side = asking(method);
        side.gets(&headers(1, flags, &fields));
        assert_eq!(responses(&mut side), [expected], "{method}: {fields:?}");
        assert_eq!(side.sent().is_empty(), !expected.starts_with("malformed"), "{method}: {fields:?}");
    }
}

#[test]
fn content_where_there_is_none_breaks_the_stream() {
    for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304")] {
        let mut side = asking(method);
        side.gets(&[headers(1, 0, &[(":status", status)]), data(1, 0, b"x")].concat());
        assert_eq!(side.sent(), ["RST_STREAM 1: PROTOCOL_ERROR"], "{method}, {status}");
    }
}

#[test]
fn interim_responses_come_one_after_the_other_and_not_without_end() {
    let interim = |status: &str| headers(1, 0, &[(":status", status), ("a", "b")]);
    let mut side = asking("GET");
    side.gets(&[interim("103"), interim("100"), headers(1, END, &OK)].concat());
    assert_eq!(responses(&mut side), ["103 a=b, None", "100 a=b, None", "200, None"]);
    for count in [8, 9] {
        let mut side = asking("GET");
        side.gets(&interim("103").repeat(count));
        let expected: &[&str] = if count == 8 { &[] } else { &["RST_STREAM 1: PROTOCOL_ERROR"] };
        assert_eq!(side.sent(), expected, "{count}");
    }
}

#[test]
fn heads_and_trailers_are_written() {
    let fields: HttpFields =
        [("accept", "a"), ("connection", "close"), ("te", "gzip"), ("te", "trailers")].into_iter().collect();
    let mut side = Side::of_requests(Role::Client);
    let head = RequestHead {
        method: b"GET".to_vec(),
        target: b"/".to_vec(),
        authority: b"shop".to_vec(),
        scheme: Scheme::Https,
        fields: fields.clone(),
        ..RequestHead::default()
    };
    let connect = RequestHead { method: b"CONNECT".to_vec(), authority: b"shop:1".to_vec(), ..RequestHead::default() };
    assert_eq!((side.session.request(&head, true), side.session.request(&connect, false)), (Some(1), Some(3)));
    assert_eq!(
        side.sent(),
        [
            "HEADERS 1: :method=GET :scheme=https :path=/ :authority=shop accept=a te=trailers, the end",
            "HEADERS 3: :method=CONNECT :authority=shop:1",
        ]
    );
    side.session.send_trailers(3, &[("a", "b")].into_iter().collect());
    side.session.send_trailers(1, &fields);
    assert_eq!(side.sent(), ["HEADERS 3: a=b, the end"], "the other had ended");

    let mut side = Side::of_requests(Role::Server);
    side.gets(&[headers(1, END, &GET), headers(3, END, &GET)].concat());
    for (id, status, ends) in [(1, 103, false), (1, 200, false), (3, 302, true), (3, 200, true)] {
        side.session.send_response(
            id,
            &ResponseHead { status, fields: fields.clone(), ..ResponseHead::default() },
            ends,
        );
    }
    let rest = "accept=a te=trailers";
    let expected = [("1", "103", ""), ("1", "200", ""), ("3", "302", ", the end")];
    assert_eq!(side.sent(), expected.map(|(id, status, end)| format!("HEADERS {id}: :status={status} {rest}{end}")));
}

#[test]
fn a_block_longer_than_a_frame_goes_on_in_others() {
    let long = "x".repeat(20_000);
    let fields = [("a", &*long), ("b", &*long)].into_iter().collect();
    let mut client = Side::of_requests(Role::Client);
    let head = RequestHead {
        method: b"GET".to_vec(),
        target: b"/".to_vec(),
        authority: b"shop".to_vec(),
        fields,
        ..RequestHead::default()
    };
    client.session.request(&head, true);
    let bytes = client.session.outgoing().to_vec();
    let frames = client.sent();
    assert_eq!(frames[1..], ["CONTINUATION 1: 16384", "CONTINUATION 1, the last: 7255"]);
    let mut server = Side::of_requests(Role::Server);
    server.takes(&bytes);
    let request = server.session.next_request().map(|(_, request)| request.head);
    assert_eq!(request.map(|head| head.fields), Some(head.fields));
}

#[test]
fn a_head_of_a_tunnel_may_be_no_longer_where_requests_come_beside_it() {
    let (large, refused) = ("x".repeat(20 * 1024), ["HEADERS 1: :status=431, the end", "RST_STREAM 1: NO_ERROR"]);
    for (name, head, expected) in [("a request", &GET[..], &[][..]), ("CONNECT", &REQUEST[..], &refused[..])] {
        let session = Session::new(Role::Server, Usage::HBONE_WITH_REQUESTS, WindowBudget::of_kib(0));
        let mut server = Side { session, reader: FrameReader::new(Role::Server) }.greet();
        server.gets(&in_frames(1, &with(head, &[("a", &large)])));
        assert_eq!(server.sent(), expected, "{name}");
    }
}

#[test]
fn a_head_larger_than_is_accepted_is_answered_or_breaks_the_stream() {
    let long = "x".repeat(64 * 1024);
    let mut server = Side::of_requests(Role::Server);
    server.gets(&in_frames(1, &with(&GET, &[("a", &long)])));
    assert_eq!(server.sent(), ["HEADERS 1: :status=431, the end", "RST_STREAM 1: NO_ERROR"]);
    let mut client = asking("GET");
    client.gets(&in_frames(1, &with(&OK, &[("a", &long)])));
    assert_eq!(responses(&mut client), ["malformed: a header section that is too long"]);
    assert_eq!(client.sent(), ["RST_STREAM 1: PROTOCOL_ERROR"]);
}

/// HEADERS and CONTINUATION.
fn in_frames(id: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin_block(&mut out);
    out.extend(block(fields));
    frame::finish_block(&mut out, start, id, false);
    out
}

#[test]
fn a_table_that_the_peer_makes_smaller_is_acknowledged_in_the_next_block() {
    let mut side = Side::of_requests(Role::Server);
    side.gets(&[settings(&[(1, 0)]), headers(1, END, &GET)].concat());
    side.sent();
    side.session.send_response(1, &ResponseHead { status: 200, ..ResponseHead::default() }, true);
    assert_eq!(side.session.outgoing()[frame::HEADER_BYTES..], [0x20, 0x88]);
}

#[test]
fn streams_that_both_sides_end_earn_their_peer_further_work() {
    let mut side = Side::of_requests(Role::Server);
    let before = side.session.pace.work;
    for number in 0..100 {
        let id = 2 * number + 1;
        side.gets(&[headers(id, END, &GET), window_update(0, 1)].concat());
        side.session.send_response(id, &ResponseHead { status: 200, ..ResponseHead::default() }, true);
        side.session.release(id, Reason::CANCEL);
    }
    assert!(side.session.pace.work <= before, "it goes on for ever");
    for number in 100..200 {
        let id = 2 * number + 1;
        side.gets(&[headers(id, END, &GET), reset(id, Reason::CANCEL)].concat());
    }
    assert_eq!(side.session.pace.work, 200, "requests that are taken back earn nothing");

    let mut side = asking("GET");
    let before = side.session.pace.work;
    side.session.send_trailers(1, &HttpFields::default());
    side.gets(&[headers(1, 0, &OK), headers(1, END, &[])].concat());
    assert_eq!(side.session.pace.work, before + 2);
    side.session.release(1, Reason::CANCEL);
    assert!(side.session.pace.work <= before, "a server that answers earns it, too");
}

#[test]
fn streams_that_a_pod_opens_count_until_they_are_released() {
    let budget = WindowBudget::of_kib(1 << 20);
    let side = |streams: u32| {
        let session = Session::<()>::new(Role::Server, Usage::REQUESTS, budget.clone());
        let mut side = Side { session, reader: FrameReader::new(Role::Server) };
        let window = side.sent().remove(0);
        let mut side = side.greet();
        (0..streams).for_each(|number| drop(side.gets(&headers(2 * number + 1, 0, &GET))));
        (window, side)
    };
    let (window, first) = side(1024);
    assert_eq!(window, "SETTINGS 3=1024 4=65536 5=65536 6=65536");
    let (window, _second) = side(1024);
    assert_eq!(window, "SETTINGS 3=1024 4=16384 5=65536 6=65536", "half of the larger windows are in use");
    drop(first);
    assert_eq!(side(0).0, "SETTINGS 3=1024 4=65536 5=65536 6=65536");
}
