//! How a connection ends in good order, and how it does otherwise.

use std::io;
use std::task::{Context, Waker};

use super::*;
use crate::h2::SessionError;

const ANNOUNCED: [&str; 2] = ["GOAWAY 2147483647: NO_ERROR", "PING leaving!"];

#[test]
fn a_server_that_leaves_serves_what_was_on_its_way_and_then_names_the_last_stream() {
    let mut side = Side::serving(&[1]);
    side.session.leave();
    side.session.leave();
    assert_eq!(side.sent(), ANNOUNCED, "once");
    assert_eq!(side.gets(&request(3)).len(), 1, "it was on its way");
    assert_eq!(side.gets(&frame_of(kind::PING, flag::ACK, 0, b"12345678")), [""; 0]);
    assert_eq!(side.sent(), [""; 0], "another ping");
    side.gets(&frame_of(kind::PING, flag::ACK, 0, b"leaving!"));
    assert_eq!(side.sent(), ["GOAWAY 3: NO_ERROR"]);
    assert_eq!(side.gets(&request(5)), [""; 0]);
    assert_eq!(side.sent(), ["RST_STREAM 5: REFUSED_STREAM"]);
    for stream in [1, 3] {
        assert!(!side.session.is_done(), "{stream} is open");
        side.session.release(stream, Reason::CANCEL);
    }
    assert!(side.session.is_done());
}

#[test]
fn a_peer_is_asked_whether_it_is_there_one_question_at_a_time() {
    let mut side = Side::greeted(Role::Client);
    let is_there = |side: &mut Side| side.session.poll_is_there(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(is_there(&mut side), "nothing was asked");
    side.session.ask_whether_there();
    side.session.ask_whether_there();
    assert_eq!(side.sent(), ["PING alive-?\n"], "once");
    for (payload, expected) in [(b"12345678", false), (b"leaving!", false), (b"alive-?\n", true)] {
        assert_eq!(side.gets(&frame_of(kind::PING, flag::ACK, 0, payload)), [""; 0]);
        assert_eq!(is_there(&mut side), expected, "{payload:?}");
    }
    side.session.ask_whether_there();
    assert_eq!((side.sent().join(" "), is_there(&mut side)), ("PING alive-?\n".to_owned(), false), "again");
}

#[test]
fn a_client_opens_no_more_streams_once_the_peer_leaves() {
    let mut side = Side::greeted(Role::Client);
    assert_eq!((side.open(), side.open()), (Some(1), Some(3)));
    side.sent();
    side.gets(&goaway(1, Reason::NO_ERROR));
    assert!(!side.session.accepts_streams());
    assert_eq!(side.open(), None);
    assert_eq!(side.response(1), "none yet");
    assert_eq!(side.response(3), "the peer takes no more requests on this connection");
    for stream in [1, 3] {
        assert!(!side.session.is_done());
        side.session.release(stream, Reason::CANCEL);
    }
    assert!(side.session.is_done());
    assert_eq!(side.sent(), ["RST_STREAM 1: CANCEL"], "the other is not known to the peer");
}

#[test]
fn a_client_that_leaves_opens_nothing_more() {
    let mut side = Side::greeted(Role::Client);
    side.session.leave();
    assert_eq!(side.open(), None);
    assert_eq!(side.sent(), ANNOUNCED);
}

#[test]
fn an_end_breaks_all_streams_and_is_reported_where_the_peer_can_be_reached() {
    for (error, text, frames) in [
        (SessionError::Aborted, "closed by this agent", &["GOAWAY 3: NO_ERROR"][..]),
        (SessionError::Done, "no longer used", &["GOAWAY 3: NO_ERROR"]),
        (SessionError::Closed, "closed by the peer", &[]),
        (SessionError::Io(io::ErrorKind::BrokenPipe.into()), "broken pipe", &[]),
    ] {
        let mut side = Side::serving(&[1, 3]);
        side.session.end(error);
        side.session.end(SessionError::Closed);
        let why = side.session.ended().map(|error| error.to_string());
        assert_eq!(why.as_deref(), Some(text), "the first reason stays");
        assert_eq!(side.sent(), frames, "{text}");
        let broken = side.session.stream(1).and_then(|stream| stream.failure()).map(|error| error.to_string());
        assert_eq!(broken, Some(format!("connection: {text}")));
        side.session.release(1, Reason::CANCEL);
        assert_eq!(side.sent(), [""; 0], "nothing is sent after the end");
    }
}

#[test]
fn a_peer_that_leaves_with_an_error_ends_the_connection() {
    let mut side = Side::serving(&[1]);
    assert_eq!(side.gets(&goaway(0, Reason(2))), ["over: closed by the peer: HTTP/2 INTERNAL_ERROR"]);
    assert_eq!(side.sent(), ["GOAWAY 1: NO_ERROR"]);
}
