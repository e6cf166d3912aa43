//! What a peer must not do, and the error code that it gets for it.

use super::*;

/// Name, bytes, error code, and what the log says.
type Row = (&'static str, Vec<u8>, &'static str, &'static str);

fn frames_that_are_wrong() -> Vec<Row> {
    let unfinished = frame_of(kind::HEADERS, 0, 3, &block(&REQUEST)[..3]);
    let goes_on = |payload: &[u8]| frame_of(kind::CONTINUATION, 0, 3, payload);
    let endless = [&unfinished[..], &goes_on(&[0; 40_000]), &goes_on(&[0; 40_000])].concat();
    let hollow = [&unfinished[..], &goes_on(&[])].concat();
    let interrupted = [&unfinished[..], &frame_of(kind::PING, 0, 0, &[0; 8])].concat();
    let with_data = [&unfinished[..], &data(1, 0, b"hi")].concat();
    let ended = [data(1, flag::END_STREAM, b"hi"), data(1, 0, b"more")].concat();
    vec![
        ("data on an idle stream", data(3, 0, b"hi"), "PROTOCOL_ERROR", "data on an idle stream"),
        ("data after the end", ended, "STREAM_CLOSED", "data after the end of a stream"),
        ("data inside a header block", with_data, "PROTOCOL_ERROR", "data inside a header block"),
        ("a block that is interrupted", interrupted, "PROTOCOL_ERROR", "a header block is interrupted"),
        ("a block without end", endless, "ENHANCE_YOUR_CALM", "a header block without end"),
        ("a block of nothing", hollow, "ENHANCE_YOUR_CALM", "a header block without end"),
        ("a block that did not begin", goes_on(b"x"), "PROTOCOL_ERROR", "a header block goes on that did not begin"),
        ("headers without a stream", request(0), "PROTOCOL_ERROR", "a head without a stream"),
        ("headers on an even stream", request(2), "PROTOCOL_ERROR", "a stream with an even number"),
        (
            "padding longer than its frame",
            frame_of(kind::HEADERS, flag::END_HEADERS | flag::PADDED, 3, &[9, 0]),
            "PROTOCOL_ERROR",
            "padding or priority longer than its frame",
        ),
        ("a reset of an idle stream", reset(3, Reason::CANCEL), "PROTOCOL_ERROR", "a reset of no stream"),
        ("a short reset", frame_of(kind::RST_STREAM, 0, 1, &[0]), "FRAME_SIZE_ERROR", "a frame of a wrong length"),
        ("settings of a stream", frame_of(kind::SETTINGS, 0, 1, &[]), "PROTOCOL_ERROR", "settings of a stream"),
        ("cut settings", frame_of(kind::SETTINGS, 0, 0, &[0; 5]), "FRAME_SIZE_ERROR", "a frame of a wrong length"),
        (
            "an ACK with content",
            frame_of(kind::SETTINGS, 1, 0, &[0; 6]),
            "FRAME_SIZE_ERROR",
            "a frame of a wrong length",
        ),
        ("push neither on nor off", settings(&[(2, 2)]), "PROTOCOL_ERROR", "ENABLE_PUSH is neither 0 nor 1"),
        ("frames below the least", settings(&[(5, 100)]), "PROTOCOL_ERROR", "a maximal frame size that is not allowed"),
        ("too large an initial window", settings(&[(4, 1 << 31)]), "FLOW_CONTROL_ERROR", "a window is overrun"),
        ("a short ping", frame_of(kind::PING, 0, 0, &[0; 7]), "FRAME_SIZE_ERROR", "a frame of a wrong length"),
        ("a ping of a stream", frame_of(kind::PING, 0, 1, &[0; 8]), "PROTOCOL_ERROR", "a ping of a stream"),
        ("a window that grows by nothing", window_update(0, 0), "PROTOCOL_ERROR", "a window grows by nothing"),
        ("a window of an idle stream", window_update(3, 1), "PROTOCOL_ERROR", "a window of an idle stream"),
        ("too large a window", window_update(0, (1 << 31) - 1), "FLOW_CONTROL_ERROR", "a window is overrun"),
        ("a push", frame_of(kind::PUSH_PROMISE, 0, 1, &[0; 4]), "PROTOCOL_ERROR", "a frame that has no place here"),
        (
            "a priority of nothing",
            frame_of(kind::PRIORITY, 0, 0, &[0; 5]),
            "PROTOCOL_ERROR",
            "a frame that has no place here",
        ),
        (
            "a priority of itself",
            frame_of(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
            "PROTOCOL_ERROR",
            "a stream that depends on itself",
        ),
        (
            "a head that depends on itself",
            frame_of(
                kind::HEADERS,
                flag::END_HEADERS | flag::PRIORITY,
                3,
                &[&[0x80, 0, 0, 3, 0], &block(&REQUEST)[..]].concat(),
            ),
            "PROTOCOL_ERROR",
            "a stream that depends on itself",
        ),
        ("a short priority", frame_of(kind::PRIORITY, 0, 1, &[0; 4]), "FRAME_SIZE_ERROR", "a frame of a wrong length"),
    ]
}

#[test]
fn a_violation_ends_the_connection_with_its_error_code() {
    for (name, bytes, code, what) in frames_that_are_wrong() {
        let mut side = Side::serving(&[1]);
        let events = side.gets(&bytes);
        assert_eq!(events.last(), Some(&format!("over: HTTP/2 {code}: {what}")), "{name}");
        let sent = side.sent();
        let goaway = sent.last().expect("a GOAWAY");
        assert!(goaway.starts_with("GOAWAY ") && goaway.ends_with(&format!(": {code}")), "{name}: {sent:?}");
        assert_eq!(side.gets(&request(9)), [""; 0], "{name}: nothing is served after the end");
        assert_eq!(side.sent(), [""; 0], "{name}");
    }
}

#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let preface = frame::PREFACE.to_vec();
    for (name, bytes, code) in [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n          ".to_vec(), "PROTOCOL_ERROR"),
        ("a request before the settings", [preface.clone(), request(1)].concat(), "PROTOCOL_ERROR"),
        ("a frame that is too long", [preface, data(1, 0, &[0; 65_537])].concat(), "FRAME_SIZE_ERROR"),
    ] {
        let mut side = Side::new(Role::Server);
        side.sent();
        assert_eq!(side.gets(&bytes).len(), 1, "{name}");
        assert_eq!(side.sent(), [format!("GOAWAY 0: {code}")], "{name}");
    }
}

#[test]
fn what_is_no_header_block_ends_the_connection() {
    let mut side = Side::greeted(Role::Server);
    let events = side.gets(&frame_of(kind::HEADERS, flag::END_HEADERS, 1, &[0x80]));
    assert_eq!(events, ["over: header block: header block refers to field 0, which there is not"]);
    assert_eq!(side.sent(), ["GOAWAY 0: COMPRESSION_ERROR"]);
}

#[test]
fn a_peer_that_does_not_read_its_answers_is_cut_off() {
    let mut side = Side::greeted(Role::Server);
    let ping = frame_of(kind::PING, 0, 0, b"12345678");
    let answers = 256 * 1024 / ping.len();
    for _ in 0..answers {
        assert_eq!(side.gets(&ping), [""; 0]);
    }
    assert!(side.session.ended().is_none());
    side.gets(&ping);
    let why = side.session.ended().map(|error| error.to_string());
    assert_eq!(why.as_deref(), Some("HTTP/2 ENHANCE_YOUR_CALM: answers are not read"));
    assert_eq!(side.sent(), ["GOAWAY 0: ENHANCE_YOUR_CALM"]);
}
