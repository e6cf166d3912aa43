//! Peers that cause much work and send no data.

use std::time::Duration;

use super::super::pace::{MAX_WORK_PER_PERIOD, SETTINGS_ACK_TIMEOUT};
use super::*;

#[test]
fn work_without_data_is_counted_in_frames_and_in_streams_that_they_touch() {
    let streams: Vec<u32> = (0..199).map(|number| 2 * number + 1).collect();
    // One field of 133 bytes, and 10,000 references of a byte each to it.
    let mut bomb = vec![0x40, 1, b'a', 100];
    bomb.extend([b'b'; 100]);
    bomb.extend([0xbe; 10_000]);
    for (name, bytes, units) in [
        ("data", data(3, 0, b"x"), 0),
        ("PING", frame_of(kind::PING, 0, 0, b"12345678"), 1),
        ("the acknowledgement of a PING", frame_of(kind::PING, flag::ACK, 0, b"12345678"), 1),
        ("SETTINGS", settings(&[(3, 1)]), 1),
        ("SETTINGS that touch 199 streams", settings(&[(4, 1)]), 200),
        ("SETTINGS that do so again and again", settings(&[(4, 1), (4, 2), (4, 3)]), 200),
        ("RST_STREAM", reset(1, Reason::CANCEL), 1),
        ("PRIORITY", frame_of(kind::PRIORITY, 0, 1, &[0; 5]), 1),
        ("WINDOW_UPDATE", window_update(0, 1), 1),
        ("a frame of an unknown type", frame_of(77, 0, 1, b"?"), 1),
        ("empty DATA", data(3, 0, b""), 1),
        ("a request", request(399), 1),
        (
            "a request whose few bytes stand for many fields",
            frame_of(kind::HEADERS, flag::END_HEADERS, 399, &bomb),
            5_196,
        ),
    ] {
        let mut side = Side::serving(&streams);
        let before = side.session.pace.work;
        side.gets(&bytes);
        assert_eq!(side.session.pace.work - before, units, "{name}");
    }
}

#[test]
fn a_peer_that_causes_too_much_work_in_a_second_is_told_to_be_calm() {
    let ping = frame_of(kind::PING, flag::ACK, 0, b"12345678");
    for (elapsed, calm) in [(Duration::ZERO, true), (Duration::from_secs(1), false)] {
        let mut side = Side::serving(&[1]);
        side.session.pace.work = MAX_WORK_PER_PERIOD - 1;
        side.session.pace.period_began -= elapsed;
        assert_eq!(side.gets(&ping), [""; 0], "as much as is allowed");
        side.gets(&ping);
        let expected: &[&str] = if calm { &["GOAWAY 1: ENHANCE_YOUR_CALM"] } else { &[] };
        assert_eq!(side.sent(), expected, "after {elapsed:?}");
    }
}

#[test]
fn one_frame_of_settings_touches_each_stream_once() {
    let mut side = Side::serving(&[1, 3, 5]);
    let entries: Vec<(u16, u32)> = (0..10_922).map(|value| (4, value)).collect();
    side.gets(&settings(&entries));
    assert_eq!(side.session.stream(1).expect("it is open").send_window(), 10_921, "the last one stands");
}

#[test]
fn a_peer_that_does_not_acknowledge_our_settings_in_time_is_cut_off() {
    for acknowledges in [true, false] {
        let mut side = Side::greeted(Role::Server);
        if acknowledges {
            side.gets(&frame_of(kind::SETTINGS, flag::ACK, 0, &[]));
        }
        assert!(side.session.check_in_time().is_ok(), "there is time");
        side.session.pace.settings_sent =
            side.session.pace.settings_sent.and_then(|sent| sent.checked_sub(SETTINGS_ACK_TIMEOUT));
        let late = side.session.check_in_time().map_err(|error| error.to_string());
        let expected = "HTTP/2 SETTINGS_TIMEOUT: our settings are not acknowledged";
        assert_eq!(late, if acknowledges { Ok(()) } else { Err(expected.to_owned()) });
    }
}
