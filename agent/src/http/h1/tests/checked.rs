//! Heads that pass as values: they are what would have been read, had they been written.

use bytes::BytesMut;

use super::{listed, request, request_line, response};
use crate::http::h1::checked::{CheckedRequest, CheckedResponse, Expected, checked_trailers};
use crate::http::h1::encode::{Recipient, write_request, write_response};
use crate::http::h1::framing::RequestForm;
use crate::http::h1::raw::MAX_HEAD_BYTES;
use crate::http::h1::request::read_request;
use crate::http::h1::response::read_response;
use crate::http::stream::BodyLength;
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead, Scheme};

/// The fields in the order of their names: where among them the framing is said is nobody's business.
fn sorted(fields: &HttpFields) -> Vec<String> {
    let mut all: Vec<String> = listed(fields).split(' ').map(str::to_owned).collect();
    all.sort();
    all
}

/// A head of HTTP/1 with these fields behind its own.
fn with(head: RequestHead, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead { fields: fields.iter().copied().collect(), ..head }
}

/// What the reader makes of a request that was written; `None` where either refuses it.
fn over_the_wire(head: &RequestHead, length: BodyLength) -> Option<(RequestHead, BodyLength)> {
    let (mut text, mut read) = (BytesMut::new(), RequestHead::default());
    write_request(head, length, &mut text).ok()?;
    let parsed = read_request(&text, &mut read).ok()??;
    Some((read, parsed.body.length()))
}

#[test]
fn a_request_that_passes_is_what_would_have_been_read() {
    let get = || request("GET", "/b?c");
    let https = RequestHead { scheme: Scheme::Https, ..get() };
    for (head, length) in [
        (get(), BodyLength::Empty),
        (https, BodyLength::Empty),
        (request("POST", "/"), BodyLength::Empty),
        (request("POST", "/"), BodyLength::Known(0)),
        (request("PUT", "/"), BodyLength::Known(7)),
        (request("DELETE", "/"), BodyLength::Empty),
        (request("POST", "/"), BodyLength::Unknown),
        (request("OPTIONS", "*"), BodyLength::Empty),
        (request("M-SEARCH", "/%c3%a9"), BodyLength::Empty),
        (RequestHead { authority: b"[fd00::1]:80".to_vec(), ..get() }, BodyLength::Empty),
        (with(get(), &[("x-a", "1"), ("X-A", "2"), ("x-empty", "")]), BodyLength::Empty),
        (with(get(), &[("te", "trailers"), ("expect", "100-continue")]), BodyLength::Unknown),
        (with(get(), &[("te", "gzip"), ("connection", "x"), ("x", "y"), ("host", "b")]), BodyLength::Empty),
        (with(get(), &[("transfer-encoding", "chunked"), ("upgrade", "x"), ("keep-alive", "1")]), BodyLength::Unknown),
        (with(get(), &[("proxy-connection", "x"), ("http2-settings", "x")]), BodyLength::Empty),
        // The length says what is said of it, whatever the fields say.
        (with(get(), &[("content-length", "7")]), BodyLength::Empty),
        (with(get(), &[("content-length", "7")]), BodyLength::Unknown),
        (with(get(), &[("content-length", "7")]), BodyLength::Known(5)),
        (with(get(), &[("content-length", "5"), ("content-length", "7")]), BodyLength::Known(5)),
        (with(get(), &[("content-length", "5")]), BodyLength::Known(5)),
    ] {
        let (read, read_length) = over_the_wire(&head, length).expect("it can be written, and read");
        let (passed, passed_length) = CheckedRequest::of(&head, length, false).expect("it may pass").into_parts();
        assert_eq!(sorted(&passed.fields), sorted(&read.fields), "{head:?}");
        let fields = HttpFields::default();
        let [passed, read] = [passed, read].map(|head| RequestHead { fields: fields.clone(), ..head });
        assert_eq!((passed, passed_length), (read, read_length), "{head:?}");
    }
}

#[test]
fn whatever_passes_is_what_would_have_been_read() {
    const METHODS: [&str; 8] = ["GET", "POST", "OPTIONS", "CONNECT", "m.x", "", "G T", "GET\r\n"];
    const TARGETS: [&str; 12] =
        ["/", "/a?b#c", "//", "*", "", "a", "http://a/", "/a b", "/\r\n", "/%0d", "/\u{e9}", "/\0"];
    const AUTHORITIES: [&str; 8] = ["a", "a:80", "[::1]:1", "", "a b", "a:x", "@a", "a\r\nx: y"];
    const FIELDS: [(&str, &str); 20] = [
        ("x", "y"),
        ("x", ""),
        ("x", " y"),
        ("x", "y\r\nz: 1"),
        ("x y", "z"),
        ("x:", "z"),
        ("", "z"),
        ("expect", "100-continue"),
        ("te", "trailers"),
        ("te", "gzip"),
        ("te", "Trailers"),
        ("host", "b"),
        ("connection", "close"),
        ("connection", "authorization"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "gzip, chunked"),
        ("content-length", "3"),
        ("content-length", "x"),
        ("trailer", "x"),
    ];
    let heads = METHODS.iter().flat_map(|method| TARGETS.iter().map(move |target| (method, target)));
    let heads = heads.flat_map(|(method, target)| AUTHORITIES.iter().map(move |authority| (method, target, authority)));
    let mut passing = 0;
    for (method, target, authority) in heads {
        for (at, field) in FIELDS.iter().enumerate() {
            let fields = [*field, FIELDS[(at + 7) % FIELDS.len()]];
            let head =
                RequestHead { authority: authority.as_bytes().to_vec(), ..with(request(method, target), &fields) };
            for length in [BodyLength::Empty, BodyLength::Known(0), BodyLength::Known(3), BodyLength::Unknown] {
                let Ok(passed) = CheckedRequest::of(&head, length, false) else { continue };
                let (passed, passed_length) = passed.into_parts();
                let Some((read, read_length)) = over_the_wire(&head, length) else { panic!("{head:?} is refused") };
                assert_eq!(sorted(&passed.fields), sorted(&read.fields), "{head:?}");
                assert_eq!(passed_length, read_length, "{head:?}");
                let parts = |head: &RequestHead| {
                    let RequestHead { version, method, target, authority, scheme, upgrade, .. } = head.clone();
                    (version, method, target, authority, scheme, upgrade)
                };
                assert_eq!(parts(&passed), parts(&read));
                passing += 1;
            }
        }
    }
    assert!(passing > 1000, "{passing} have passed");
}

#[test]
fn what_may_be_read_in_two_ways_does_not_pass_in_either_version() {
    let get = || request("GET", "/");
    let long = "x".repeat(MAX_HEAD_BYTES);
    let many: Vec<_> = (0..98).map(|_| ("x", "y")).collect();
    for head in [
        request("CONNECT", ""),
        RequestHead { upgrade: Some(b"websocket".to_vec()), ..get() },
        request("", "/"),
        request("GET /x", "/"),
        request("GET\r\nx:", "/"),
        request("GET", ""),
        request("GET", "*"),
        request("GET", "x"),
        request("GET", "/a b"),
        request("GET", "/a\r\nx: y"),
        request("GET", "/a\u{7f}"),
        request("GET", "/\u{e9}"),
        RequestHead { target: b"/\xff".to_vec(), ..get() },
        RequestHead { authority: Vec::new(), ..get() },
        RequestHead { authority: b"a b".to_vec(), ..get() },
        RequestHead { authority: b"user@a".to_vec(), ..get() },
        RequestHead { authority: b"a:x".to_vec(), ..get() },
        with(get(), &[("", "x")]),
        with(get(), &[("x y", "z")]),
        with(get(), &[("x:", "z")]),
        with(get(), &[("x\r\ny", "z")]),
        with(get(), &[("x", "y\r\nz: 1")]),
        with(get(), &[("x", "y\nz")]),
        with(get(), &[("x", "\0")]),
        with(get(), &[("x", " y")]),
        with(get(), &[("x", "y\t")]),
        with(get(), &[("x", &long)]),
        with(get(), &many),
    ] {
        for is_http2 in [false, true] {
            let passed = CheckedRequest::of(&head, BodyLength::Empty, is_http2);
            assert!(passed.is_err(), "HTTP/2: {is_http2}, {}", request_line(&head));
        }
    }
    assert!(CheckedRequest::of(&get(), BodyLength::Tunnel, false).is_err());
}

#[test]
fn names_pass_in_their_own_case_and_a_request_of_http2_with_its_scheme() {
    let mut head = request("GET", "/");
    head.fields.preserve_case(true);
    head.fields.append(b"X-API-Key", b"k");
    let (passed, _) = CheckedRequest::of(&head, BodyLength::Empty, false).expect("it may pass").into_parts();
    assert_eq!(passed.fields.iter_original().collect::<Vec<_>>(), [(&b"X-API-Key"[..], &b"k"[..])]);
    let head = RequestHead { scheme: Scheme::Https, ..with(request("POST", "/"), &[("content-length", "0")]) };
    let (passed, length) = CheckedRequest::of(&head, BodyLength::Empty, true).expect("it may pass").into_parts();
    assert_eq!((passed.version, passed.scheme, length), (HttpVersion::Http2, Scheme::Https, BodyLength::Empty));
    assert_eq!(listed(&passed.fields), "content-length=0");
}

#[test]
fn a_response_that_passes_is_what_would_have_been_read() {
    for (method, head, length) in [
        ("GET", response(200, &[("x", "y"), ("connection", "x"), ("transfer-encoding", "gzip")]), BodyLength::Known(5)),
        ("GET", response(200, &[("content-length", "5")]), BodyLength::Known(5)),
        ("GET", response(200, &[("content-length", "5")]), BodyLength::Unknown),
        ("GET", response(200, &[("content-length", "5")]), BodyLength::Empty),
        ("GET", response(599, &[]), BodyLength::Unknown),
        ("GET", response(100, &[]), BodyLength::Empty),
        ("GET", response(103, &[("link", "x")]), BodyLength::Empty),
        ("GET", response(204, &[("content-length", "5")]), BodyLength::Known(5)),
        ("GET", response(304, &[("content-length", "5")]), BodyLength::Empty),
        ("GET", response(304, &[("content-length", "5"), ("content-length", "6")]), BodyLength::Unknown),
        ("HEAD", response(200, &[("content-length", "5")]), BodyLength::Empty),
        ("HEAD", response(200, &[]), BodyLength::Known(5)),
        ("HEAD", response(200, &[]), BodyLength::Empty),
    ] {
        let (mut text, mut read) = (BytesMut::new(), ResponseHead::default());
        let asked = RequestForm::by(method.as_bytes(), false);
        let to = Recipient { asked, is_http10: false, persists: true };
        write_response(&head, length, to, &mut text).expect("it can be written");
        let parsed = read_response(&text, &mut read, asked).expect("it can be read").expect("it is whole");
        let expected = Expected { is_head: method == "HEAD", is_http2: false };
        let passed = CheckedResponse::of(&head, length, expected).expect("it may pass");
        assert_eq!(sorted(&passed.head.fields), sorted(&read.fields), "{head:?} {length:?}");
        let seen = (passed.head.status, passed.head.version, passed.length);
        assert_eq!(seen, (read.status, read.version, parsed.body.length()), "{head:?} {length:?}");
        assert_eq!(passed.has_no_content, asked.has_no_content(head.status), "{head:?}");
    }
}

#[test]
fn a_response_that_is_none_does_not_pass() {
    for is_http2 in [false, true] {
        let of = |head: &ResponseHead, length| {
            CheckedResponse::of(head, length, Expected { is_head: false, is_http2 }).map(|_| ())
        };
        for status in [0, 99, 101, 1000] {
            assert!(of(&response(status, &[]), BodyLength::Empty).is_err(), "{status}");
        }
        assert_eq!(of(&response(600, &[]), BodyLength::Empty).is_ok(), is_http2);
        assert!(of(&response(200, &[]), BodyLength::Tunnel).is_err());
        for field in [("x y", "z"), ("x", "y\r\nz: 1"), ("x", "y ")] {
            assert!(of(&response(200, &[field]), BodyLength::Empty).is_err(), "{field:?}");
        }
    }
}

#[test]
fn trailers_pass_without_what_is_none() {
    let of =
        |fields: &[(&str, &str)]| checked_trailers(&fields.iter().copied().collect()).map(|fields| listed(&fields));
    let all = [("grpc-status", "0"), ("content-length", "7"), ("host", "a"), ("trailer", "x"), ("te", "trailers")];
    assert_eq!(of(&all), Ok("grpc-status=0".to_owned()));
    assert!(of(&[("x", "y\r\n")]).is_err());
}
