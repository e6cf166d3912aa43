//! Flow control, both ways.

use super::*;

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
    let mut side = Side::serving(&[1]);
    let quarter = 1024 * 1024;
    for _ in 0..quarter / 65_536 {
        side.gets(&data(1, 0, &[0; 65_536]));
    }
    assert_eq!(side.sent(), [""; 0], "nothing is consumed yet");
    side.session.consumed(1, quarter - 1);
    assert_eq!(side.sent(), [""; 0], "less than a quarter of the window");
    side.session.consumed(1, 1);
    assert_eq!(side.sent(), ["WINDOW_UPDATE 1: 1048576"]);
}

#[test]
fn padding_needs_no_consumer() {
    let mut side = Side::serving(&[1]);
    // A byte of data, and 256 of padding with its length: 4,096 of them fill a quarter of the stream's window.
    let padded = data(1, flag::PADDED, &[&[255, b'x'][..], &[0; 255]].concat());
    for _ in 0..4096 {
        side.gets(&padded);
    }
    assert_eq!(side.sent(), ["WINDOW_UPDATE 1: 1048576"]);
}

#[test]
fn more_than_a_window_is_refused() {
    let mut side = Side::serving(&[1]);
    let whole_window = 4 * 1024 * 1024 / 65_536;
    for number in 0..whole_window {
        assert_eq!(side.gets(&data(1, 0, &[0; 65_536])).len(), 1, "{number}");
    }
    assert_eq!(side.gets(&data(1, 0, b"x")), ["over: HTTP/2 FLOW_CONTROL_ERROR: a window is overrun"]);
    assert_eq!(side.sent(), ["GOAWAY 1: FLOW_CONTROL_ERROR"]);
}

#[test]
fn the_connection_goes_on_while_one_stream_is_not_consumed_but_not_while_many_are() {
    let mut side = Side::serving(&[1, 3, 5, 7, 9, 11, 13]);
    let (window, mut updates) = (4 * 1024 * 1024 / 65_536, Vec::new());
    for stream in [1, 3, 5, 7] {
        for _ in 0..window {
            side.gets(&data(stream, 0, &[0; 65_536]));
        }
        updates.push(side.sent());
    }
    // Each half of the connection's 16 MiB is given back as it fills, until 16 MiB wait to be consumed.
    let half = vec!["WINDOW_UPDATE 0: 8388608".to_owned()];
    assert_eq!(updates, [vec![], half.clone(), vec![], half.clone()]);
    for stream in [9, 11] {
        for _ in 0..window {
            side.gets(&data(stream, 0, &[0; 65_536]));
        }
    }
    assert_eq!(side.sent(), [""; 0], "24 MiB wait");
    side.session.release(1, Reason::CANCEL);
    side.session.release(3, Reason::CANCEL);
    assert_eq!(side.sent(), ["RST_STREAM 1: CANCEL", "RST_STREAM 3: CANCEL"], "16 MiB wait");
    side.session.release(5, Reason::CANCEL);
    assert_eq!(side.sent(), ["WINDOW_UPDATE 0: 8388608", "RST_STREAM 5: CANCEL"]);
}
