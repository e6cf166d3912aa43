//! Bad HTTP/2 from a peer that is who it says: real mutual TLS, then bytes that RFC 9113 forbids, or that are meant to
//! exhaust. The agent answers as the RFC asks, or closes; it stays up, goes on serving others, and its memory is bounded.

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::Mesh;
use weir_tests::raw_http2::frame::{
    COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
    HEADERS, PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE,
    WITH_PRIORITY,
};
use weir_tests::raw_http2::{RawHttp2, Reaction, frame, hpack};
use weir_tests::test_app::{self, ECHO};

use super::peer::{HbonePeer, REACTION};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "input: HTTP/2 that breaks the rules is answered as RFC 9113 asks", check: Check::Mesh(violations) },
    Case { name: "input: HTTP/2 that is unusual but right is served", check: Check::Mesh(unusual) },
];

/// How a rule's breach may be answered. The first code is the one that the RFC names; PROTOCOL_ERROR says less, and is
/// noted. A connection error may always end the connection without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// End the connection, with one of these codes.
    End(&'static [u32]),
    /// Reset the stream, with one of these codes.
    Reset(&'static [u32]),
}

impl May {
    fn allows(self, reaction: &Reaction) -> bool {
        match (self, reaction) {
            (Self::End(codes), Reaction::GoAway(code)) | (Self::Reset(codes), Reaction::Reset(_, code)) => {
                codes.contains(code)
            }
            (Self::End(_), Reaction::Closed) => true,
            _ => false,
        }
    }
}

const PROTOCOL: May = May::End(&[PROTOCOL_ERROR]);
const SIZE: May = May::End(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
const FLOW: May = May::End(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]);
const HPACK: May = May::End(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
const CLOSED: &[May] = &[May::End(&[STREAM_CLOSED, PROTOCOL_ERROR]), May::Reset(&[STREAM_CLOSED, PROTOCOL_ERROR])];

/// What is broken, with which bytes, and what may follow.
type Row = (&'static str, Vec<u8>, &'static [May]);

/// Rules of a connection on which no stream is open.
fn of_connections(max_frame: usize, echo: &str) -> Vec<Row> {
    let connect = hpack::connect(echo);
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    vec![
        ("a frame larger than announced", frame::header(max_frame + 1, HEADERS, END_HEADERS, 1), &[SIZE]),
        ("SETTINGS larger than announced", frame::header(max_frame + 1, SETTINGS, 0, 0), &[SIZE]),
        ("SETTINGS of 5 bytes", frame::frame(SETTINGS, 0, 0, &[0; 5]), &[SIZE]),
        ("SETTINGS on a stream", frame::frame(SETTINGS, 0, 1, &[]), &[PROTOCOL]),
        ("acknowledged SETTINGS that set", frame::frame(SETTINGS, frame::ACK, 0, &[0, 3, 0, 0, 0, 1]), &[SIZE]),
        ("ENABLE_PUSH of 2", frame::settings(&[(2, 2)]), &[PROTOCOL]),
        ("INITIAL_WINDOW_SIZE of 2^31", frame::settings(&[(4, 1 << 31)]), &[FLOW]),
        ("MAX_FRAME_SIZE of 16383", frame::settings(&[(5, 16_383)]), &[PROTOCOL]),
        ("MAX_FRAME_SIZE of 2^24", frame::settings(&[(5, 1 << 24)]), &[PROTOCOL]),
        ("PING of 7 bytes", frame::frame(PING, 0, 0, &[0; 7]), &[SIZE]),
        ("PING on a stream", frame::frame(PING, 0, 1, &[0; 8]), &[PROTOCOL]),
        ("GOAWAY on a stream", frame::frame(GOAWAY, 0, 1, &[0; 8]), &[PROTOCOL]),
        ("GOAWAY of 7 bytes", frame::frame(GOAWAY, 0, 0, &[0; 7]), &[SIZE]),
        ("WINDOW_UPDATE of 0", frame::window_update(0, 0), &[PROTOCOL]),
        ("WINDOW_UPDATE over 2^31-1", frame::window_update(0, 0x7fff_ffff), &[FLOW]),
        ("WINDOW_UPDATE of 3 bytes", frame::frame(WINDOW_UPDATE, 0, 0, &[0; 3]), &[SIZE]),
        ("WINDOW_UPDATE of a stream that never was", frame::window_update(7, 1), &[PROTOCOL]),
        ("DATA on no stream", frame::frame(DATA, 0, 0, b"x"), &[PROTOCOL]),
        ("DATA on a stream that never was", frame::frame(DATA, 0, 5, b"x"), &[PROTOCOL]),
        ("RST_STREAM of a stream that never was", frame::reset(5), &[PROTOCOL]),
        ("RST_STREAM on no stream", frame::frame(RST_STREAM, 0, 0, &[0; 4]), &[PROTOCOL]),
        ("PRIORITY on no stream", frame::frame(PRIORITY, 0, 0, &[0; 5]), &[PROTOCOL]),
        ("PRIORITY of 4 bytes", frame::frame(PRIORITY, 0, 1, &[0; 4]), &[SIZE, May::Reset(&[FRAME_SIZE_ERROR])]),
        ("HEADERS on no stream", frame::headers(0, &connect), &[PROTOCOL]),
        ("HEADERS on an even stream", frame::headers(2, &connect), &[PROTOCOL]),
        ("HEADERS padded beyond their end", frame::frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0]), &[PROTOCOL]),
        ("PUSH_PROMISE by a client", frame::frame(PUSH_PROMISE, END_HEADERS, 1, &numbers(&[2])), &[PROTOCOL]),
        ("CONTINUATION of nothing", frame::frame(CONTINUATION, END_HEADERS, 1, &connect), &[PROTOCOL]),
        (
            "CONTINUATION of another stream",
            [frame::frame(HEADERS, 0, 1, &connect), frame::frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            &[PROTOCOL],
        ),
        (
            "a PING between HEADERS and CONTINUATION",
            [frame::frame(HEADERS, 0, 1, &connect), frame::frame(PING, 0, 0, &[0; 8])].concat(),
            &[PROTOCOL],
        ),
        (
            "an unknown frame between HEADERS and CONTINUATION",
            [frame::frame(HEADERS, 0, 1, &connect), frame::frame(0xee, 0, 1, &[])].concat(),
            &[PROTOCOL],
        ),
        ("HPACK index 0", frame::headers(1, &[0x80]), &[HPACK]),
        ("HPACK index beyond the tables", frame::headers(1, &[0xff, 0xff, 0x7f]), &[HPACK]),
        ("an HPACK integer without end", frame::headers(1, &[0xff; 16]), &[HPACK]),
        ("an HPACK string that breaks off", frame::headers(1, &[0, 5, b'a']), &[HPACK]),
        ("an HPACK name that breaks off", frame::headers(1, &[0]), &[HPACK]),
        ("HPACK: Huffman coding of EOS", frame::headers(1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), &[HPACK]),
        ("HPACK: Huffman padding of zeros", frame::headers(1, &[0, 0x81, 0, 0]), &[HPACK]),
        ("an HPACK table larger than allowed", frame::headers(1, &[0x3f, 0xe1, 0xff, 0x7f]), &[HPACK]),
        ("an HPACK table resized amid fields", frame::headers(1, &[0x82, 0x20]), &[HPACK]),
    ]
}

/// Rules of a connection with stream 1 open, or closed by these bytes.
fn of_streams(echo: &str) -> Vec<Row> {
    let connect = hpack::connect(echo);
    let end = frame::frame(DATA, END_STREAM, 1, &[]);
    let trailer = hpack::block([("x", "y")]);
    vec![
        ("WINDOW_UPDATE of a stream of 0", frame::window_update(1, 0), &[PROTOCOL, May::Reset(&[PROTOCOL_ERROR])]),
        (
            "WINDOW_UPDATE of a stream over 2^31-1",
            frame::window_update(1, 0x7fff_ffff),
            &[FLOW, May::Reset(&[FLOW_CONTROL_ERROR])],
        ),
        (
            "SETTINGS that lift a stream's window over 2^31-1",
            [frame::window_update(1, 0x7fff_ffff - 65_535), frame::settings(&[(4, 0x7fff_ffff)])].concat(),
            &[FLOW, May::Reset(&[FLOW_CONTROL_ERROR])],
        ),
        ("DATA padded beyond its end", frame::frame(DATA, PADDED, 1, &[9, b'a', 0]), &[PROTOCOL]),
        ("DATA that is padded and empty", frame::frame(DATA, PADDED, 1, &[]), &[SIZE]),
        ("RST_STREAM of 3 bytes", frame::frame(RST_STREAM, 0, 1, &[0; 3]), &[SIZE]),
        ("DATA after the end", [end.clone(), frame::frame(DATA, 0, 1, b"x")].concat(), CLOSED),
        ("HEADERS after the end", [end.clone(), frame::headers(1, &connect)].concat(), CLOSED),
        ("a stream's number again", [end, frame::reset(1), frame::headers(1, &connect)].concat(), CLOSED),
        ("HEADERS amid DATA that do not end the stream", frame::headers(1, &trailer), PROTOCOL_OR_RESET),
        (
            "a lower stream after a higher one",
            [frame::headers(9, &connect), frame::headers(7, &connect)].concat(),
            &[PROTOCOL, May::End(&[STREAM_CLOSED])],
        ),
        ("PUSH_PROMISE on an open stream", frame::frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), &[PROTOCOL]),
    ]
}

const PROTOCOL_OR_RESET: &[May] = &[PROTOCOL, May::Reset(&[PROTOCOL_ERROR])];

/// Sends each row's bytes on a connection of its own; somebody else's connection is not disturbed.
fn run<'a>(peer: &HbonePeer<'a>, rows: Vec<Row>, start: fn(&HbonePeer<'a>) -> Result<RawHttp2>) -> Result<Vec<String>> {
    let mut bystander = peer.open()?;
    let mut wrong = Vec::new();
    for (what, bytes, allowed) in rows {
        let mut connection = start(peer).with_context(|| format!("before {what}"))?;
        // Where the bytes have closed it already, the reaction shows it.
        let _ = connection.send(&bytes);
        let mut reaction = connection.reaction(REACTION);
        while matches!(reaction, Reaction::Status(_, 200)) {
            // The ping's answer may have come before the status.
            reaction = connection.reaction(REACTION);
        }
        if let (Reaction::GoAway(PROTOCOL_ERROR), Some(May::End([named, ..]))) = (&reaction, allowed.first())
            && *named != PROTOCOL_ERROR
        {
            note(format!("{what}: PROTOCOL_ERROR, where the RFC names error {named}"));
        }
        if !allowed.iter().any(|may| may.allows(&reaction)) {
            wrong.push(format!("{what}: {reaction:?}, allowed are {allowed:?}"));
        }
        bystander.echo(1, what.as_bytes()).with_context(|| format!("another connection, after {what}"))?;
    }
    Ok(wrong)
}

fn violations(mesh: &Mesh) -> Result<()> {
    let peer = HbonePeer::new(mesh)?;
    let max_frame = peer.connect()?.setting(5).unwrap_or(16_384) as usize;
    let mut wrong = run(&peer, of_connections(max_frame, &peer.echo), HbonePeer::connect)?;
    wrong.extend(run(&peer, of_streams(&peer.echo), HbonePeer::open)?);
    ensure!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
}

/// Frames that a server must take or ignore: the echo on stream 1 works before and after.
fn unusual(mesh: &Mesh) -> Result<()> {
    let peer = HbonePeer::new(mesh)?;
    let padded = |text: &[u8]| [&[3][..], text, &[0; 3]].concat();
    let rows: [(&str, Vec<u8>, &[u8]); 14] = [
        ("an unknown frame", frame::frame(0xee, 0xff, 0, &[1; 100]), b""),
        ("an unknown frame on an open stream", frame::frame(0x0a, 0xff, 1, b"x"), b""),
        ("an unknown frame on a stream that never was", frame::frame(0xbb, 0, 77, b"x"), b""),
        ("unknown settings", frame::settings(&[(0x99, 7), (0xffff, u32::MAX)]), b""),
        ("settings that come twice", frame::settings(&[(4, 100), (4, 65_535)]), b""),
        ("a window that changes", [frame::settings(&[(4, 65_536)]), frame::settings(&[(4, 65_535)])].concat(), b""),
        ("PRIORITY", frame::frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]), b""),
        ("PRIORITY of a stream that never was", frame::frame(PRIORITY, 0, 99, &[0, 0, 0, 0, 1]), b""),
        ("unknown flags", frame::frame(PING, 0xfe, 0, &[0; 8]), b""),
        ("a reserved bit", frame::frame(DATA, 0, 0x8000_0001, b"abc"), b"abc"),
        ("padding", frame::frame(DATA, PADDED, 1, &padded(b"abc")), b"abc"),
        ("nothing but padding", frame::frame(DATA, PADDED, 1, &padded(b"")), b""),
        ("empty DATA", frame::frame(DATA, 0, 1, b""), b""),
        ("GOAWAY by the client", frame::frame(GOAWAY, 0, 0, &[0; 8]), b""),
    ];
    for (what, bytes, back) in rows {
        let mut connection = peer.open()?;
        connection.send(&bytes)?;
        connection.comes_back(1, back).with_context(|| what)?;
        connection.echo(1, b"and on").with_context(|| format!("after {what}"))?;
    }
    let mut connection = peer.connect()?;
    let block = hpack::connect(&peer.echo);
    let (head, tail) = block.split_at(5);
    let padded_head = [&[2, 0, 0, 0, 0, 7][..], head, &[0; 2]].concat();
    connection.send(&frame::frame(HEADERS, PADDED | WITH_PRIORITY, 3, &padded_head))?;
    for part in tail.chunks(tail.len().div_ceil(3)) {
        connection.send(&frame::frame(CONTINUATION, 0, 3, part))?;
    }
    connection.send(&frame::frame(CONTINUATION, END_HEADERS, 3, &[]))?;
    let reaction = connection.last_word(REACTION);
    ensure!(reaction == Reaction::Status(3, 200), "HEADERS in pieces: {reaction:?}");
    connection.echo(3, b"in pieces")
}
