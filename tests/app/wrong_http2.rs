//! A server of HTTP/2 that does what no server may do: the path of a request names what. The wrong bytes of one request are all
//! sent at once, as an answer that its client has to make something of; the connection goes on unless they say otherwise.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use weir_tests::raw_http2::flood::settings_frames;
use weir_tests::raw_http2::frame::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, PREFACE, PRIORITY,
    PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use weir_tests::raw_http2::hpack;

/// A response's head without anything but 200.
const OK: &[u8] = &[0x88];
/// Frames of a flood: more than a peer needs, and than an agent takes within a second.
const FLOOD: u32 = 200_000;

/// How many requests have been answered wrongly that are answered right the second time.
static ONCE: AtomicU32 = AtomicU32::new(0);

/// What a server does with a request.
enum Deed {
    Send(Vec<u8>),
    /// Sends this and ends the connection.
    Last(Vec<u8>),
}

/// Serves until it is killed.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).context("listening")?;
    for stream in listener.incoming() {
        let stream = stream?;
        // The client may leave at any time.
        thread::spawn(move || drop(connection(stream)));
    }
    Ok(())
}

fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    // No table: what the client writes then is read without state.
    stream.write_all(&frame::settings(&[(1, 0)]))?;
    let mut received = Vec::new();
    loop {
        while let Some(frame) = frame::take(&mut received) {
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => stream.write_all(&frame::frame(SETTINGS, ACK, 0, &[]))?,
                PING if frame.flags & ACK == 0 => stream.write_all(&frame::frame(PING, ACK, 0, &frame.payload))?,
                HEADERS => match deed(&hpack::path(&frame.payload).unwrap_or_default(), frame.stream) {
                    Deed::Send(bytes) => stream.write_all(&bytes)?,
                    Deed::Last(bytes) => return stream.write_all(&bytes),
                },
                _ => {}
            }
        }
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => received.extend(&buffer[..count]),
        }
    }
}

/// What is done about a request for this path on this stream.
fn deed(path: &str, id: u32) -> Deed {
    let head = |block: &[u8]| frame::frame(HEADERS, END_HEADERS, id, block);
    let whole = [head(OK), frame::frame(DATA, END_STREAM, id, b"whole")].concat();
    let is_first_time = || ONCE.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let name = path.trim_start_matches('/');
    match name {
        "close" => Deed::Last(Vec::new()),
        "close-midway" => Deed::Last([head(OK), frame::frame(DATA, 0, id, b"part")].concat()),
        "goaway-unseen" if is_first_time() => Deed::Last(goaway(0, NO_ERROR)),
        "refused" if is_first_time() => Deed::Send(frame::frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes())),
        "goaway-unseen" | "refused" => Deed::Send(whole),
        _ => {
            let wrong = [of_frames, of_heads, of_blocks, of_floods].iter().find_map(|of| of(name, id));
            Deed::Send(wrong.unwrap_or(whole))
        }
    }
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame::frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Frames that are wrong, or that come at a wrong time or on a wrong stream.
fn of_frames(name: &str, id: u32) -> Option<Vec<u8>> {
    let ok = frame::frame(HEADERS, END_HEADERS, id, OK);
    let part = [&ok[..], &frame::frame(DATA, 0, id, b"part")].concat();
    let last = frame::frame(DATA, END_STREAM, id, b"whole");
    let whole = [&ok[..], &last].concat();
    Some(match name {
        "no-frames" => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "settings-size" => frame::frame(SETTINGS, 0, 0, &[0; 5]),
        "settings-ack-with-content" => frame::frame(SETTINGS, ACK, 0, &[0; 6]),
        "settings-on-a-stream" => frame::frame(SETTINGS, 0, id, &[]),
        "settings-window" => frame::settings(&[(4, 1 << 31)]),
        "settings-frame-size" => frame::settings(&[(5, 100)]),
        "ping-size" => frame::frame(PING, 0, 0, &[0; 7]),
        "ping-on-a-stream" => frame::frame(PING, 0, id, &[0; 8]),
        "window-size" => frame::frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        "window-of-nothing" => frame::window_update(0, 0),
        "window-overflow" => frame::window_update(0, u32::MAX >> 1).repeat(2),
        "stream-window-of-nothing" => frame::window_update(id, 0),
        "stream-window-overflow" => frame::window_update(id, u32::MAX >> 1).repeat(2),
        "window-of-an-idle-stream" => frame::window_update(id + 100, 1),
        "reset-size" => frame::frame(RST_STREAM, 0, id, &[0; 3]),
        "reset-of-no-stream" => frame::reset(0),
        "reset-of-an-idle-stream" => frame::reset(id + 100),
        "reset-at-once" => frame::reset(id),
        "reset-midway" => [part, frame::reset(id)].concat(),
        "reset-without-an-error-midway" => [part, frame::frame(RST_STREAM, 0, id, &NO_ERROR.to_be_bytes())].concat(),
        "goaway-size" => frame::frame(GOAWAY, 0, 0, &[0; 7]),
        "goaway-on-a-stream" => frame::frame(GOAWAY, 0, id, &[0; 8]),
        "goaway-with-an-error" => [part, goaway(id, PROTOCOL_ERROR)].concat(),
        "goaway-midway" => [ok, goaway(id, NO_ERROR), last].concat(),
        "push" => frame::frame(
            PUSH_PROMISE,
            END_HEADERS,
            id,
            &[&2_u32.to_be_bytes()[..], &hpack::block([(":method", "GET")])].concat(),
        ),
        "too-long-a-frame" => [ok, frame::frame(DATA, 0, id, &vec![0; (64 << 10) + 1])].concat(),
        "data-before-the-head" => last,
        "data-on-no-stream" => frame::frame(DATA, 0, 0, b"x"),
        "data-on-an-idle-stream" => frame::frame(DATA, 0, id + 100, b"x"),
        "data-after-the-end" => [&whole[..], &last].concat(),
        "head-after-the-end" => [&whole[..], &ok].concat(),
        "padding-beyond-the-frame" => [ok, frame::frame(DATA, PADDED, id, &[9, 1, 2])].concat(),
        "padded-head-beyond-the-frame" => frame::frame(HEADERS, END_HEADERS | PADDED, id, &[9, 0x88]),
        "head-on-no-stream" => frame::frame(HEADERS, END_HEADERS, 0, OK),
        "head-on-an-idle-stream" => frame::frame(HEADERS, END_HEADERS, id + 100, OK),
        "head-on-an-even-stream" => frame::frame(HEADERS, END_HEADERS, 2, OK),
        "head-interrupted" => [frame::frame(HEADERS, 0, id, OK), frame::frame(PING, 0, 0, &[0; 8])].concat(),
        "continuation-of-nothing" => frame::frame(CONTINUATION, END_HEADERS, id, OK),
        "continuation-of-another" => {
            [frame::frame(HEADERS, 0, id, OK), frame::frame(CONTINUATION, END_HEADERS, id + 2, &[])].concat()
        }
        "priority-size" => frame::frame(PRIORITY, 0, id, &[0; 4]),
        "unknown-frames" => [frame::frame(0x42, 0xff, id, b"x"), frame::frame(0xee, 0, 0, &[0; 100]), whole].concat(),
        "window-overrun" => {
            let data = frame::frame(DATA, 0, id, &vec![0; 16 << 10]);
            [&ok[..], &data.repeat(256), &frame::frame(DATA, END_STREAM, id, &[])].concat()
        }
        _ => return None,
    })
}

/// Heads and trailers that are no message (RFC 9113 §8).
fn of_heads(name: &str, id: u32) -> Option<Vec<u8>> {
    let head = |block: &[u8]| frame::frame(HEADERS, END_HEADERS, id, block);
    let of = |fields: &[(&str, &str)]| head(&hpack::block(fields.iter().copied()));
    let status = (":status", "200");
    let data = |flags, text: &[u8]| frame::frame(DATA, flags, id, text);
    let part = [head(OK), data(0, b"part")].concat();
    Some(match name {
        "no-status" => of(&[("x-a", "b")]),
        "empty-head" => head(&[]),
        "two-statuses" => of(&[status, status]),
        "status-behind-a-field" => of(&[("x-a", "b"), status]),
        "status-of-words" => of(&[(":status", "OK")]),
        "status-of-two-digits" => of(&[(":status", "20")]),
        "status-of-four-digits" => of(&[(":status", "2000")]),
        "status-with-a-sign" => of(&[(":status", "+20")]),
        "status-of-a-request" => of(&[(":method", "GET"), (":path", "/")]),
        "unknown-pseudo-header" => of(&[status, (":x", "y")]),
        "name-in-upper-case" => of(&[status, ("X-A", "b")]),
        "name-with-a-blank" => of(&[status, ("x a", "b")]),
        "name-with-a-colon" => of(&[status, ("x:a", "b")]),
        "no-name" => of(&[status, ("", "b")]),
        "name-with-a-line-end" => of(&[status, ("x-a: b\r\nx-c", "d")]),
        "value-with-a-line-end" => of(&[status, ("x-a", "b\r\nx-c: d")]),
        "value-with-a-line-feed" => of(&[status, ("x-a", "b\nx-c: d")]),
        "value-with-a-zero" => of(&[status, ("x-a", "b\0")]),
        "connection" => of(&[status, ("connection", "close")]),
        "transfer-encoding" => of(&[status, ("transfer-encoding", "chunked")]),
        "upgrade" => of(&[status, ("upgrade", "h2c")]),
        "switching" => of(&[(":status", "101")]),
        "interim-that-ends" => frame::frame(HEADERS, END_HEADERS | END_STREAM, id, &hpack::block([(":status", "103")])),
        "length-of-words" => of(&[status, ("content-length", "four")]),
        "two-lengths" => {
            [of(&[status, ("content-length", "4"), ("content-length", "5")]), data(END_STREAM, b"part")].concat()
        }
        "less-than-its-length" => [of(&[status, ("content-length", "100")]), data(END_STREAM, b"part")].concat(),
        "more-than-its-length" => [of(&[status, ("content-length", "2")]), data(END_STREAM, b"part")].concat(),
        "nothing-of-its-length" => {
            frame::frame(HEADERS, END_HEADERS | END_STREAM, id, &hpack::block([status, ("content-length", "9")]))
        }
        "trailers-with-a-status" => {
            [part, frame::frame(HEADERS, END_HEADERS | END_STREAM, id, &hpack::block([status]))].concat()
        }
        "trailers-that-do-not-end" => [part, of(&[("x-sum", "1")]), data(END_STREAM, b"more")].concat(),
        _ => return None,
    })
}

/// Header blocks that cannot be read (RFC 7541), or come to too much.
fn of_blocks(name: &str, id: u32) -> Option<Vec<u8>> {
    let head = |block: &[u8]| frame::frame(HEADERS, END_HEADERS, id, block);
    let (status, long) = ((":status", "200"), "x".repeat(8 << 10));
    Some(match name {
        "index-of-nothing" => head(&[0x80]),
        "index-beyond-the-table" => head(&[0xbe]),
        "huffman-of-nothing" => head(&[0x88, 0x00, 0x81, 0x00, 0x00]),
        "endless-number" => head(&[0xff; 20]),
        "table-too-large" => head(&[0x3f, 0xe2, 0xff, 0x03]),
        "head-that-breaks-off" => head(&[0x88, 0x00, 0x05, b'a']),
        "bomb" => {
            let mut block = hpack::block([status]);
            block.extend([0x40, 1, b'a', 0x7f, 0xe1, 0x1e]);
            block.extend([b'b'; 0x7f + 0x61 + 0x1e * 128]);
            block.extend(vec![0xbe; 16_000]);
            head(&block)
        }
        "large-head" => {
            let block = hpack::block(
                [status, ("x-a", &*long), ("x-b", &long), ("x-c", &long), ("x-d", &long)].into_iter().chain([
                    ("x-e", &*long),
                    ("x-f", &long),
                    ("x-g", &long),
                    ("x-h", &long),
                    ("x-i", &long),
                ]),
            );
            let mut parts = block.chunks(16 << 10);
            let mut bytes = frame::frame(HEADERS, 0, id, parts.next().unwrap_or_default());
            parts.for_each(|part| bytes.extend(frame::frame(CONTINUATION, 0, id, part)));
            bytes.extend(frame::frame(CONTINUATION, END_HEADERS, id, &[]));
            bytes
        }
        _ => return None,
    })
}

/// What costs its receiver more than its sender, without end.
fn of_floods(name: &str, id: u32) -> Option<Vec<u8>> {
    let ok = frame::frame(HEADERS, END_HEADERS, id, OK);
    // Who takes all of it gets the whole response.
    let whole = [&ok[..], &frame::frame(DATA, END_STREAM, id, b"whole")].concat();
    let many = |frame: Vec<u8>| frame.repeat(FLOOD as usize);
    Some(match name {
        "continuation-flood" => {
            [frame::frame(HEADERS, 0, id, OK), many(frame::frame(CONTINUATION, 0, id, &[]))].concat()
        }
        "endless-head" => {
            let field = hpack::block([("x-a", &*"b".repeat(16_000))]);
            [frame::frame(HEADERS, 0, id, OK), frame::frame(CONTINUATION, 0, id, &field).repeat(1000)].concat()
        }
        "interim-flood" => many(frame::frame(HEADERS, END_HEADERS, id, &hpack::block([(":status", "103")]))),
        "settings-flood" => [settings_frames(FLOOD), whole].concat(),
        "ping-flood" => [many(frame::frame(PING, 0, 0, &[0; 8])), whole].concat(),
        "window-flood" => [many(frame::window_update(id, 1)), whole].concat(),
        "priority-flood" => [many(frame::frame(PRIORITY, 0, id, &[0; 5])), whole].concat(),
        "unknown-flood" => [many(frame::frame(0x42, 0, 0, &[])), whole].concat(),
        "reset-storm" => [ok, many(frame::reset(id))].concat(),
        "empty-data-flood" => [ok, many(frame::frame(DATA, 0, id, &[]))].concat(),
        "goaway-flood" => [many(goaway(u32::MAX >> 1, NO_ERROR)), whole].concat(),
        _ => return None,
    })
}
