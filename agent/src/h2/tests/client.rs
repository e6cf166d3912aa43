//! A client: requests of ours and what comes of them.

use super::*;
use crate::h2::SessionError;

/// Name, bytes, what the owner learns, the response in words, and what the server gets.
type Row = (&'static str, Vec<u8>, &'static [&'static str], &'static str, &'static [&'static str]);

const OK: [(&str, &str); 1] = [(":status", "200")];

fn asking() -> Side {
    let mut side = Side::greeted(Role::Client);
    assert_eq!((side.open(), side.open()), (Some(1), Some(3)));
    let request = ":method=CONNECT :authority=10.0.0.1:80";
    assert_eq!(side.sent(), [format!("HEADERS 1: {request}"), format!("HEADERS 3: {request}")]);
    side
}

#[test]
fn what_a_server_answers_is_the_response_or_breaks_the_stream() {
    let refused = "the peer takes no more requests on this connection";
    let malformed: &'static [&'static str] = &["RST_STREAM 1: PROTOCOL_ERROR"];
    let rows: [Row; 12] = [
        ("nothing", vec![], &[], "none yet", &[]),
        ("a response", headers(1, 0, &OK), &[], "200", &[]),
        ("another status", headers(1, flag::END_STREAM, &[(":status", "503")]), &["end of 1"], "503", &[]),
        ("an interim response", headers(1, 0, &[(":status", "103")]), &[], "none yet", &[]),
        (
            "a response and data",
            [headers(1, 0, &OK), data(1, flag::END_STREAM, b"hi")].concat(),
            &["data of 1: \"hi\", its last"],
            "200",
            &[],
        ),
        (
            "a response and trailers",
            [headers(1, 0, &OK), headers(1, flag::END_STREAM, &[("a", "b")])].concat(),
            &["end of 1"],
            "200",
            &[],
        ),
        (
            "an interim response that is the end",
            headers(1, flag::END_STREAM, &[(":status", "103")]),
            &[],
            "malformed: an interim response that is the end",
            malformed,
        ),
        ("a request", headers(1, 0, &REQUEST), &[], "malformed: an unknown pseudo-header field", malformed),
        (
            "a status that is none",
            headers(1, 0, &[(":status", "099")]),
            &[],
            "malformed: a status that is none",
            malformed,
        ),
        ("a reset", reset(1, Reason::CANCEL), &[], "reset by the peer: CANCEL", &[]),
        ("a stream that is refused", reset(1, Reason::REFUSED_STREAM), &[], refused, &[]),
        ("GOAWAY that does not reach the stream", goaway(0, Reason::NO_ERROR), &[], refused, &[]),
    ];
    for (name, bytes, events, response, frames) in rows {
        let mut side = asking();
        assert_eq!(side.gets(&bytes), events, "{name}");
        assert_eq!(side.response(1), response, "{name}");
        assert_eq!(side.sent(), frames, "{name}");
        assert!(side.session.ended().is_none(), "{name}");
    }
}

#[test]
fn what_a_server_must_not_do_ends_the_connection() {
    for (name, bytes, what) in [
        ("data before the response", data(1, 0, b"hi"), "data before the answer"),
        ("a response to no request", headers(5, 0, &OK), "an answer without a request"),
        ("a response on a stream of the server's", headers(2, 0, &OK), "an answer without a request"),
        ("data on a stream that is not open", data(5, 0, b"hi"), "data on an idle stream"),
    ] {
        let mut side = asking();
        assert_eq!(side.gets(&bytes), [format!("over: HTTP/2 PROTOCOL_ERROR: {what}")], "{name}");
        assert_eq!(side.sent(), ["GOAWAY 0: PROTOCOL_ERROR"], "{name}");
        assert_eq!(side.response(3), format!("connection: HTTP/2 PROTOCOL_ERROR: {what}"), "{name}");
    }
}

#[test]
fn only_a_reset_before_the_end_discards_what_came() {
    for (name, bytes, discarded) in [
        ("nothing", vec![], false),
        (
            "the end, and no more is wanted",
            [data(1, flag::END_STREAM, b"hi"), reset(1, Reason::NO_ERROR)].concat(),
            false,
        ),
        ("the end, and a reset", [data(1, flag::END_STREAM, b"hi"), reset(1, Reason::CANCEL)].concat(), false),
        ("a reset before the end", [data(1, 0, b"hi"), reset(1, Reason::CANCEL)].concat(), true),
        ("no error before the end", [data(1, 0, b"hi"), reset(1, Reason::NO_ERROR)].concat(), true),
    ] {
        let mut side = asking();
        side.gets(&[headers(1, 0, &OK), bytes].concat());
        let is_discarded = |side: &Side| side.session.stream(1).expect("it is there").reset_midway().is_some();
        assert_eq!(is_discarded(&side), discarded, "{name}");
        side.session.end(SessionError::Closed);
        assert_eq!(is_discarded(&side), discarded, "{name}, and the connection ends");
    }
}

#[test]
fn what_comes_for_a_request_that_was_cancelled_concerns_no_other() {
    let large: Vec<(&str, &str)> = std::iter::repeat_n(("name", "a value of some length"), 500).collect();
    for (name, bytes) in [
        ("its response", headers(1, 0, &OK)),
        ("its response, and that is all", headers(1, flag::END_STREAM, &OK)),
        ("its response and data", [headers(1, 0, &OK), data(1, flag::END_STREAM, b"hi")].concat()),
        ("a response that is too large", headers(1, 0, &large)),
        ("a reset", reset(1, Reason::CANCEL)),
    ] {
        let mut side = asking();
        side.session.release(1, Reason::CANCEL);
        assert_eq!(side.sent(), ["RST_STREAM 1: CANCEL"], "{name}");
        assert_eq!(side.gets(&bytes), [""; 0], "{name}");
        side.gets(&headers(3, 0, &OK));
        assert_eq!(side.response(3), "200", "{name}");
    }
}
