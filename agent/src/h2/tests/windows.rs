//! Flow control, both ways.

use super::super::session::STALLED_AFTER;
use super::*;
use crate::h2::settings::first_stream_window;
use crate::h2::{Role, WindowBudget};

/// What may be sent on stream 1 of a session: by its own window, and by the connection's.
fn send_windows(side: &Side) -> (i64, i64) {
    let stream = side.session.stream(1).expect("it is open");
    (stream.send_window(), side.session.connection_send_window())
}

#[test]
fn what_may_be_sent_shrinks_with_data_and_grows_as_the_peer_says() {
    let mut side = Side::serving(&[1]);
    for (name, bytes, sent, expected) in [
        ("at first", vec![], 0, (65_535, 65_535)),
        ("after data", vec![], 65_535, (0, 0)),
        ("a stream's window", window_update(1, 10), 0, (10, 0)),
        ("the connection's", window_update(0, 20), 0, (10, 20)),
        ("a lower initial window", settings(&[(4, 65_000)]), 0, (10 - 535, 20)),
        ("a higher one", settings(&[(4, 66_000)]), 0, (10 + 465, 20)),
    ] {
        assert_eq!(side.gets(&bytes), [""; 0], "{name}");
        side.session.data_sent(1, sent);
        assert_eq!(send_windows(&side), expected, "{name}");
    }
}

#[test]
fn a_stream_that_waits_for_the_connection_is_woken_once_it_may_send() {
    let mut side = Side::serving(&[1]);
    side.session.wait_for_room(1);
    side.session.wait_for_room(1);
    assert_eq!(side.session.streams.waiting, [1], "it waits once");
    side.gets(&window_update(0, 1));
    assert_eq!(side.session.streams.waiting, [0_u32; 0]);
}

#[test]
fn a_stream_may_be_sent_more_once_its_data_is_consumed() {
    let mut side = Side::granting(&[1]);
    side.gets(&data(1, 0, &[0; 32_768]));
    assert_eq!(side.sent(), [""; 0], "nothing is consumed yet");
    side.session.consumed(1, 16_383);
    assert_eq!(side.sent(), [""; 0], "less than a quarter of the window");
    side.session.consumed(1, 1);
    assert_eq!(side.sent(), ["WINDOW_UPDATE 1: 16384"]);
}

#[test]
fn padding_needs_no_consumer() {
    let mut side = Side::granting(&[1]);
    // A byte of data, and 256 of padding with its length: 64 of them fill a quarter of the stream's window.
    let padded = data(1, flag::PADDED, &[&[255, b'x'][..], &[0; 255]].concat());
    for _ in 0..64 {
        side.gets(&padded);
    }
    assert_eq!(side.sent(), ["WINDOW_UPDATE 1: 16384"]);
}

#[test]
fn more_than_a_window_is_refused() {
    let mut side = Side::granting(&[1]);
    assert_eq!(side.gets(&data(1, 0, &[0; 65_536])).len(), 1);
    assert_eq!(side.gets(&data(1, 0, b"x")), ["over: HTTP/2 FLOW_CONTROL_ERROR: a window is overrun"]);
    assert_eq!(side.sent(), ["GOAWAY 1: FLOW_CONTROL_ERROR"]);
}

#[test]
fn a_tunnel_has_a_small_window_until_it_is_granted_and_a_larger_one_for_so_many_of_a_pod() {
    const BOUND: u32 = 2048;
    let budget = WindowBudget::of_kib(0);
    let mut side = Side::serving_within(budget.clone(), &[1]);
    assert_eq!(side.gets(&data(1, 0, &[0; 16_384])).len(), 1);
    assert_eq!(side.gets(&data(1, 0, b"x")), ["over: HTTP/2 FLOW_CONTROL_ERROR: a window is overrun"]);
    drop(side);
    // As many as one connection may have.
    let streams: Vec<u32> = (0..200).map(|number| 2 * number + 1).collect();
    let mut connections = Vec::new();
    let widened = (0..=BOUND / 200).map(|_| {
        let mut side = Side::serving_within(budget.clone(), &streams);
        for stream in &streams {
            side.session.respond(*stream, http::StatusCode::OK, false).expect("the peer is there");
        }
        let widened = side.sent().iter().filter(|frame| frame.ends_with(": 49152")).count();
        connections.push(side);
        widened
    });
    assert_eq!(widened.sum::<usize>(), BOUND as usize);
    connections.remove(0);
    let mut side = Side::serving_within(budget, &[1]);
    side.session.respond(1, http::StatusCode::OK, false).expect("the peer is there");
    assert_eq!(side.sent(), ["HEADERS 1: :status=200", "WINDOW_UPDATE 1: 49152"], "others have ended");
}

/// The peer fills stream 1's window, whose reader then consumes all of it. Returns what the peer may send next.
fn filled_and_consumed(side: &mut Side, window: usize) -> Vec<String> {
    for _ in 0..window / 65_536 {
        side.gets(&data(1, 0, &[0; 65_536]));
    }
    side.session.consumed(1, window);
    side.sent().into_iter().filter(|frame| !frame.starts_with("WINDOW_UPDATE 0")).collect()
}

#[test]
fn a_window_grows_while_its_reader_keeps_up_as_far_as_the_budget_goes() {
    const KIB: usize = 1024;
    for (limit, windows) in [
        (1 << 20, [(64, "262144"), (256, "1048576"), (1024, "4194304"), (4096, "4194304")]),
        (4800, [(64, "262144"), (256, "1048576"), (1024, "1048576"), (1024, "1048576")]),
        (0, [(64, "65536"), (64, "65536"), (64, "65536"), (64, "65536")]),
    ] {
        let mut side = Side::granting_within(WindowBudget::of_kib(limit), &[1]);
        for (window, granted) in windows {
            let expected = [format!("WINDOW_UPDATE 1: {granted}")];
            assert_eq!(filled_and_consumed(&mut side, window * KIB), expected, "{limit}: {window} KiB");
        }
    }
}

#[test]
fn a_window_of_a_message_grows_less() {
    const KIB: usize = 1024;
    let mut side = Side::granting_within(WindowBudget::of_kib(1 << 20), &[1]);
    side.session.limit_window(1, super::super::LARGEST_MESSAGE_WINDOW_BYTES);
    for (window, granted) in [(64, "262144"), (256, "524288"), (512, "524288"), (512, "524288")] {
        let expected = [format!("WINDOW_UPDATE 1: {granted}")];
        assert_eq!(filled_and_consumed(&mut side, window * KIB), expected, "{window} KiB");
    }
    assert_eq!(Usage::REQUESTS.largest_stream_window, super::super::LARGEST_MESSAGE_WINDOW_BYTES);
}

#[test]
fn a_window_that_is_too_large_shrinks_as_what_came_is_consumed() {
    const KIB: usize = 1024;
    let budget = WindowBudget::of_kib(1 << 20);
    let mut side = Side::granting_within(budget.clone(), &[1]);
    for window in [64, 256] {
        filled_and_consumed(&mut side, window * KIB);
    }
    assert_eq!(budget.taken(), 1024 - 64);
    side.session.limit_window(1, 512 * 1024);
    assert_eq!(budget.taken(), 512 - 64);
    // Half of the MiB that the peer may send is not given back, and the rest once it is a quarter of what the window is then.
    assert_eq!(filled_and_consumed(&mut side, 512 * KIB), [""; 0]);
    assert_eq!(filled_and_consumed(&mut side, 512 * KIB), ["WINDOW_UPDATE 1: 524288"]);
    assert_eq!(filled_and_consumed(&mut side, 512 * KIB), ["WINDOW_UPDATE 1: 524288"]);
    side.session.release(1, Reason::CANCEL);
    assert_eq!(budget.taken(), 0);
}

#[test]
fn what_a_window_took_of_the_budget_is_given_back_with_its_stream_or_the_connection() {
    let budget = WindowBudget::of_kib(1 << 20);
    for connection_ends in [false, true] {
        let mut side = Side::granting_within(budget.clone(), &[1]);
        filled_and_consumed(&mut side, 65_536);
        assert_eq!(budget.taken(), 3 * 64);
        if connection_ends {
            drop(side);
        } else {
            side.session.release(1, Reason::CANCEL);
        }
        assert_eq!(budget.taken(), 0, "the connection ends: {connection_ends}");
    }
}

#[test]
fn however_many_streams_are_not_consumed_the_connection_and_other_streams_go_on() {
    let paused: Vec<u32> = (0..600).map(|number| 2 * number + 1).collect();
    let mut side = Side::granting(&paused);
    for stream in &paused {
        assert_eq!(side.gets(&data(*stream, 0, &[0; 65_536])).len(), 1, "{stream}");
    }
    // 37.5 MiB wait. Each half of the connection's 16 MiB was given back as it filled.
    assert_eq!(side.sent(), ["WINDOW_UPDATE 0: 8388608"; 4]);
    side.gets(&request(1201));
    assert_eq!(side.gets(&data(1201, 0, b"hi")), ["data of 1201: \"hi\""]);
    side.session.consumed(1201, 2);
    assert!(side.session.ended().is_none());
}

#[test]
fn a_connection_whose_window_is_not_given_back_is_stalled() {
    let mut side = Side::serving(&[1]);
    side.session.data_sent(1, 65_535);
    assert!(!side.session.is_stalled(), "not at once: the peer may be about to give it back");
    side.session.stalled_since = side.session.stalled_since.and_then(|since| since.checked_sub(STALLED_AFTER));
    assert!(side.session.is_stalled());
    side.gets(&window_update(0, 1));
    assert!(!side.session.is_stalled());
}

#[test]
fn a_tunnel_that_is_opened_while_the_budget_is_ample_begins_with_a_larger_window_whatever_others_began_with() {
    const KIB: u32 = 1024;
    for (name, limit, taken, ample) in [
        ("as many as make half of what the pod may hold", 4096, 0, 2),
        ("half is free", 4096, 2047, 2),
        ("half is taken", 4096, 2048, 0),
        ("nothing may be held", 0, 0, 0),
    ] {
        let budget = WindowBudget::of_kib(limit);
        assert!(budget.take(taken * KIB));
        let mut side = Side::within(budget, Role::Client).greet();
        side.sent();
        let fields: [(&str, &[u8]); 2] = [(":method", b"CONNECT"), (":authority", b"10.0.0.1:80")];
        for (at, id) in [1, 3, 5].into_iter().enumerate() {
            assert_eq!(side.session.open(fields), Some(id), "{name}");
            let window = if at < ample { 1024 * KIB } else { 64 * KIB };
            let sent = side.sent();
            let widened = sent.iter().filter(|frame| **frame == format!("WINDOW_UPDATE {id}: {}", window - 64 * KIB));
            assert_eq!(
                (sent.len() - 1, widened.count()),
                (usize::from(at < ample), usize::from(at < ample)),
                "{name}: {id}"
            );
            let stream = side.session.stream(id).expect("it is open");
            assert_eq!(stream.receive_window, window, "{name}: {id}");
        }
        side.session.release(1, Reason::CANCEL);
        side.sent();
        assert_eq!(side.session.open(fields), Some(7), "{name}");
        assert_eq!(side.sent().len() - 1, usize::from(ample > 0), "{name}: in the place of one that has ended");
    }
}

#[test]
fn a_connection_announces_what_all_its_streams_may_begin_with() {
    for (role, usage, expected) in [
        (Role::Client, Usage::HBONE, 64),
        (Role::Server, Usage::HBONE, 16),
        (Role::Client, Usage::REQUESTS, 64),
        (Role::Server, Usage::REQUESTS, 64),
    ] {
        let window = first_stream_window(role, &usage, &WindowBudget::of_kib(1024)).bytes();
        assert_eq!(window, expected * 1024, "{role:?}");
    }
}
