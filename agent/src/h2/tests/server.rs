//! A server: requests, their bodies and their answers.

use http::StatusCode;

use super::*;

/// Name, bytes, what the owner learns, and what the client gets.
type Row = (&'static str, Vec<u8>, &'static [&'static str], &'static [&'static str]);

#[test]
fn both_sides_begin_with_their_settings() {
    let window = "WINDOW_UPDATE 0: 16711681";
    let server = Side::new(Role::Server).sent();
    assert_eq!(server, ["SETTINGS 3=200 4=16384 5=65536 6=16384", window]);
    let client = Side::new(Role::Client).sent();
    assert_eq!(client, ["preface", "SETTINGS 2=0 4=65536 5=65536 6=16384", window]);
}

#[test]
fn a_session_is_ready_once_the_peer_has_sent_its_settings() {
    let mut side = Side::new(Role::Server);
    side.sent();
    assert_eq!(side.gets(frame::PREFACE), [""; 0]);
    assert!(!side.session.is_ready());
    assert_eq!(side.gets(&settings(&[(3, 7)])), [""; 0]);
    assert!(side.session.is_ready());
    assert_eq!(side.session.max_streams(), 7);
    assert_eq!(side.sent(), ["SETTINGS ack"]);
}

/// What a client may send to a server that serves stream 1.
fn allowed() -> Vec<Row> {
    let whole = block(&REQUEST);
    let padded = [&[2, 0, 0, 0, 0, 9][..], &whole, &[0, 0]].concat();
    let parts = [
        frame_of(kind::HEADERS, 0, 3, &whole[..2]),
        frame_of(kind::CONTINUATION, 0, 3, &whole[2..5]),
        frame_of(kind::CONTINUATION, flag::END_HEADERS, 3, &whole[5..]),
    ];
    vec![
        ("a ping is answered", frame_of(kind::PING, 0, 0, b"12345678"), &[], &["PING ack 12345678"]),
        ("the acknowledgement of a ping is not", frame_of(kind::PING, flag::ACK, 0, b"12345678"), &[], &[]),
        ("settings are acknowledged", settings(&[(4, 1)]), &[], &["SETTINGS ack"]),
        ("a priority is ignored", frame_of(kind::PRIORITY, 0, 1, &[0; 5]), &[], &[]),
        ("an unknown type is ignored", frame_of(77, 0, 1, b"?"), &[], &[]),
        ("a request", request(3), &["request 3: CONNECT 10.0.0.1:80"], &[]),
        (
            "fields of a request",
            headers(3, 0, &[REQUEST[0], REQUEST[1], ("a", "b")]),
            &["request 3: CONNECT 10.0.0.1:80 a=\"b\""],
            &[],
        ),
        ("a request in pieces", parts.concat(), &["request 3: CONNECT 10.0.0.1:80"], &[]),
        (
            "padding and priority",
            frame_of(kind::HEADERS, flag::END_HEADERS | flag::PADDED | flag::PRIORITY, 3, &padded),
            &["request 3: CONNECT 10.0.0.1:80"],
            &[],
        ),
        ("data", data(1, 0, b"hi"), &["data of 1: \"hi\""], &[]),
        ("the last data", data(1, flag::END_STREAM, b"hi"), &["data of 1: \"hi\", its last"], &[]),
        ("padded data", data(1, flag::PADDED, &[1, b'h', b'i', 0]), &["data of 1: \"hi\""], &[]),
        ("trailers end a stream", headers(1, flag::END_STREAM, &[("a", "b")]), &["end of 1"], &[]),
    ]
}

/// What breaks a stream, and leaves the connection alone.
fn broken_streams() -> Vec<Row> {
    let large = "x".repeat(17 * 1024);
    vec![
        ("trailers that are not the end", headers(1, 0, &[("a", "b")]), &[], &["RST_STREAM 1: PROTOCOL_ERROR"]),
        (
            "a CONNECT with a path",
            headers(3, 0, &[(":method", "CONNECT"), (":path", "/")]),
            &[],
            &["RST_STREAM 3: PROTOCOL_ERROR"],
        ),
        ("no method", headers(3, 0, &[(":authority", "a:1")]), &[], &["RST_STREAM 3: PROTOCOL_ERROR"]),
        (
            "a name in capitals",
            headers(3, 0, &[REQUEST[0], REQUEST[1], ("A", "b")]),
            &[],
            &["RST_STREAM 3: PROTOCOL_ERROR"],
        ),
        (
            "a field of HTTP/1",
            headers(3, 0, &[REQUEST[0], REQUEST[1], ("connection", "close")]),
            &[],
            &["RST_STREAM 3: PROTOCOL_ERROR"],
        ),
        (
            "a pseudo-header field twice",
            headers(3, 0, &[REQUEST[0], REQUEST[0]]),
            &[],
            &["RST_STREAM 3: PROTOCOL_ERROR"],
        ),
        (
            "a header section larger than we accept",
            headers(3, 0, &[REQUEST[0], REQUEST[1], ("a", &large)]),
            &[],
            &["HEADERS 3: :status=431, the end", "RST_STREAM 3: NO_ERROR"],
        ),
        ("a reset", reset(1, Reason::CANCEL), &[], &[]),
        ("a window of a stream that grows by nothing", window_update(1, 0), &[], &["RST_STREAM 1: PROTOCOL_ERROR"]),
        (
            "a window of a stream that is too large",
            window_update(1, (1 << 31) - 1),
            &[],
            &["RST_STREAM 1: FLOW_CONTROL_ERROR"],
        ),
        ("GOAWAY without an error", goaway(0, Reason::NO_ERROR), &[], &[]),
    ]
}

#[test]
fn what_a_client_sends_becomes_events_and_answers() {
    for (name, bytes, events, frames) in allowed().into_iter().chain(broken_streams()) {
        let mut side = Side::serving(&[1]);
        assert_eq!(side.gets(&bytes), events, "{name}");
        assert_eq!(side.sent(), frames, "{name}");
        assert!(side.session.ended().is_none(), "{name}");
    }
}

#[test]
fn a_request_is_accepted_or_refused() {
    let mut side = Side::serving(&[1, 3]);
    assert!(side.session.respond(1, StatusCode::OK, false).is_ok());
    assert_eq!(side.sent(), ["HEADERS 1: :status=200", "WINDOW_UPDATE 1: 49152"]);
    assert!(side.session.respond(3, StatusCode::FORBIDDEN, true).is_ok());
    assert_eq!(side.sent(), ["HEADERS 3: :status=403, the end", "RST_STREAM 3: NO_ERROR"]);
    side.session.release(3, Reason::CANCEL);
    assert_eq!(side.sent(), [""; 0], "it was reset before");
}

#[test]
fn a_request_that_was_reset_cannot_be_answered() {
    let mut side = Side::serving(&[1]);
    side.gets(&reset(1, Reason::CANCEL));
    let answered = side.session.respond(1, StatusCode::OK, false).map_err(|error| error.to_string());
    assert_eq!(answered, Err("reset by the peer: CANCEL".to_owned()));
    assert_eq!(side.sent(), [""; 0]);
}

#[test]
fn a_stream_that_is_released_is_reset_unless_both_sides_ended_it() {
    for (peer_ends, we_end, expected) in [
        (false, false, &["RST_STREAM 1: CANCEL"][..]),
        (true, false, &["RST_STREAM 1: CANCEL"]),
        (false, true, &["DATA 1: \"\", the end", "RST_STREAM 1: CANCEL"]),
        (true, true, &["DATA 1: \"\", the end"]),
    ] {
        let mut side = Side::serving(&[1]);
        if peer_ends {
            side.gets(&data(1, flag::END_STREAM, &[]));
        }
        if we_end {
            side.session.end_stream(1);
        }
        side.session.release(1, Reason::CANCEL);
        assert_eq!(side.sent(), expected, "peer ends: {peer_ends}, we end: {we_end}");
    }
}

#[test]
fn what_comes_for_a_released_stream_is_dropped() {
    let mut side = Side::serving(&[1]);
    side.session.release(1, Reason::CANCEL);
    side.sent();
    let late = [data(1, 0, b"late"), window_update(1, 5), reset(1, Reason::CANCEL)].concat();
    assert_eq!(side.gets(&late), [""; 0]);
    assert_eq!(side.gets(&headers(1, flag::END_STREAM, &[("a", "b")])), [""; 0], "trailers");
    assert_eq!(side.sent(), [""; 0]);
}

#[test]
fn a_peer_may_have_as_many_streams_as_it_knows_of() {
    for (acknowledged, limit) in [(false, 1000), (true, 200)] {
        let mut side = Side::greeted(Role::Server);
        if acknowledged {
            side.gets(&frame_of(kind::SETTINGS, flag::ACK, 0, &[]));
        }
        for number in 0..limit {
            assert_eq!(side.gets(&request(2 * number + 1)).len(), 1, "{number}");
        }
        assert_eq!(side.gets(&request(2 * limit + 1)), [""; 0]);
        assert_eq!(side.sent(), [format!("RST_STREAM {}: REFUSED_STREAM", 2 * limit + 1)]);
        // One that the peer reset counts until its owner has noticed.
        side.gets(&reset(1, Reason::CANCEL));
        assert_eq!(side.gets(&request(2 * limit + 3)), [""; 0]);
        side.session.release(1, Reason::CANCEL);
        assert_eq!(side.gets(&request(2 * limit + 5)).len(), 1);
    }
}

#[test]
fn nothing_may_follow_what_the_client_has_ended_reset_or_passed_over() {
    let (ended, head) = (data(1, flag::END_STREAM, b"hi"), headers(1, flag::END_STREAM, &[("a", "b")]));
    let (late_data, late_head) =
        ("STREAM_CLOSED: data after the end of a stream", "STREAM_CLOSED: a head after the end of a stream");
    for (name, before, after, expected) in [
        ("data after the end", ended.clone(), data(1, 0, b"x"), late_data),
        ("a head after the end", ended, head.clone(), late_head),
        ("data after a reset", reset(1, Reason::CANCEL), data(1, 0, b"x"), late_data),
        ("a head after a reset", reset(1, Reason::CANCEL), head, late_head),
        ("data between streams", request(9), data(5, 0, b"x"), "PROTOCOL_ERROR: data on an idle stream"),
        ("a head between streams", request(9), request(5), "PROTOCOL_ERROR: a stream that was passed over"),
        (
            "the end between streams",
            request(9),
            headers(7, flag::END_STREAM, &REQUEST),
            "PROTOCOL_ERROR: a stream that was passed over",
        ),
    ] {
        for is_released in [false, true] {
            let mut side = Side::serving(&[1]);
            side.gets(&before);
            if is_released {
                side.session.release(1, Reason::CANCEL);
            }
            assert_eq!(side.gets(&after), [format!("over: HTTP/2 {expected}")], "{name}, released: {is_released}");
        }
    }
}
