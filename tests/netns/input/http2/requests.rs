//! What is no HTTP/2, and requests that are malformed: the first ends its connection, the second its stream.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::Mesh;
use weir_tests::raw_http2::frame::{ENHANCE_YOUR_CALM, PING, PREFACE, PROTOCOL_ERROR};
use weir_tests::raw_http2::{RawHttp2, Reaction, frame, hpack};
use weir_tests::test_app::ECHO;

use super::peer::{HbonePeer, REACTION};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "input: what is no HTTP/2 is closed", check: Check::Mesh(no_http2) },
    Case {
        name: "input: an HTTP/2 request that is malformed is refused, its connection lives",
        check: Check::Mesh(requests),
    },
];

fn is_refused(reaction: &Reaction) -> bool {
    matches!(reaction, Reaction::Closed | Reaction::GoAway(PROTOCOL_ERROR))
}

fn no_http2(mesh: &Mesh) -> Result<()> {
    let peer = HbonePeer::new(mesh)?;
    let garbage: Vec<u8> = (0_u32..4096).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let not_settings = [PREFACE, &frame::frame(PING, 0, 0, &[0; 8])].concat();
    let rows: [(&str, &[u8]); 5] = [
        ("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a preface with a slip", b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        ("a first frame that is not SETTINGS", &not_settings),
        ("garbage", &garbage),
        ("zeros", &[0; 4096]),
    ];
    let mut bystander = peer.open()?;
    for (what, bytes) in rows {
        let mut connection = peer.handshake()?;
        let _ = connection.send(bytes);
        let reaction = connection.last_word(REACTION);
        ensure!(is_refused(&reaction), "{what}: {reaction:?}");
        bystander.echo(1, what.as_bytes())?;
    }
    Ok(())
}

/// What is asked for, by fields, and what the agent may answer: a status, or the code of a reset.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [u16]);

/// Requests by their fields. The connection serves on, whatever is asked.
fn requests(mesh: &Mesh) -> Result<()> {
    let peer = HbonePeer::new(mesh)?;
    let long = "x".repeat(5000);
    let outsider = SocketAddr::new(mesh.outsider.ipv4(), ECHO).to_string();
    let closed = SocketAddr::new(mesh.far.ipv4(), 9).to_string();
    let rows = asked_and_allowed(peer.echo.as_str(), &outsider, &closed, &long);
    let mut wrong = Vec::new();
    let mut connection = peer.connect()?;
    let mut stream = 1;
    for (what, fields, allowed) in rows {
        // Large enough for one frame, whatever the fields are.
        connection.send(&frame::headers(stream, &hpack::block(fields)))?;
        let reaction = connection.reaction(REACTION);
        let answer = match reaction {
            Reaction::Status(answered, status) if answered == stream => Some(status),
            Reaction::Reset(reset, PROTOCOL_ERROR | ENHANCE_YOUR_CALM) if reset == stream => Some(0),
            _ => None,
        };
        if !answer.is_some_and(|answer| allowed.contains(&answer)) {
            wrong.push(format!("{what}: {reaction:?}, allowed are {allowed:?} (0: a reset)"));
        }
        stream += 2;
        if quiet(&mut connection).is_err() {
            wrong.push(format!("{what}: the connection was closed"));
            connection = peer.connect()?;
            stream = 1;
        }
    }
    ensure!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn asked_and_allowed<'a>(echo: &'a str, outsider: &'a str, closed: &'a str, long: &'a str) -> Vec<Row<'a>> {
    let (method, authority) = ((":method", "CONNECT"), (":authority", echo));
    let of = |text: &'static str| vec![method, (":authority", text)];
    vec![
        ("right", vec![method, authority], &[200]),
        ("with headers nobody knows", vec![method, authority, ("x-a", "b"), ("traceparent", "00-1-2-3")], &[200]),
        ("a forwarded header of nonsense", vec![method, authority, ("forwarded", ";;=\",for=")], &[200]),
        ("a forged forwarded header", vec![method, authority, ("forwarded", "for=\"10.9.9.9:1\"")], &[200]),
        ("baggage of nonsense", vec![method, authority, ("baggage", "=,=;;%ff,k8s.namespace.name=")], &[200]),
        ("another pod's address", vec![method, (":authority", outsider)], &[400]),
        ("a port without a listener", vec![method, (":authority", closed)], &[503]),
        ("a loopback address", of("127.0.0.1:7001"), &[400]),
        ("the IPv6 loopback", of("[::1]:7001"), &[400]),
        ("a link-local address", of("169.254.169.254:80"), &[400]),
        ("port 0", of("10.0.0.1:0"), &[400, 0]),
        ("port 65536", of("10.0.0.1:65536"), &[400, 0]),
        ("no port", of("10.0.0.1"), &[400, 0]),
        ("a service of nobody", of("nowhere.example:80"), &[400]),
        ("a path as authority", of("/etc/passwd"), &[400, 0]),
        ("userinfo", of("a:b@10.0.0.1:80"), &[400, 0]),
        ("an empty authority", of(""), &[400, 0]),
        ("no authority", vec![method], &[400, 0]),
        ("two authorities", vec![method, authority, authority], &[400, 0]),
        ("two methods", vec![method, method, authority], &[400, 0]),
        ("no method", vec![authority], &[400, 0]),
        ("GET", vec![(":method", "GET"), authority, (":scheme", "https"), (":path", "/")], &[400, 405]),
        ("a method of nonsense", vec![(":method", "C NNECT"), authority], &[400, 0]),
        ("CONNECT with a path", vec![method, authority, (":path", "/"), (":scheme", "https")], &[400, 0]),
        (
            "extended CONNECT",
            vec![method, (":protocol", "websocket"), (":scheme", "https"), (":path", "/"), authority],
            &[400, 0],
        ),
        ("an unknown pseudo-header", vec![method, authority, (":x", "y")], &[400, 0]),
        ("a pseudo-header after a header", vec![method, ("x", "y"), authority], &[400, 0]),
        ("a response's pseudo-header", vec![method, authority, (":status", "200")], &[400, 0]),
        ("a header in capitals", vec![method, authority, ("X-Up", "y")], &[400, 0]),
        ("a header without a name", vec![method, authority, ("", "y")], &[400, 0]),
        ("a line break in a header", vec![method, authority, ("x", "a\r\nb: c")], &[400, 0]),
        ("a connection header", vec![method, authority, ("connection", "close")], &[400, 0]),
        ("transfer-encoding", vec![method, authority, ("transfer-encoding", "chunked")], &[400, 0]),
        (
            "header fields of 20 kB",
            vec![method, authority, ("a", long), ("b", long), ("c", long), ("d", long)],
            &[431, 400, 0],
        ),
    ]
}

/// Reads until a ping is answered: what came before is of the past then.
fn quiet(connection: &mut RawHttp2) -> Result<()> {
    let mark = [9; 8];
    connection.send(&frame::frame(PING, 0, 0, &mark))?;
    loop {
        let frame = connection.read(REACTION)?.context("the connection was closed")?;
        if frame.kind == PING && frame.payload == mark {
            return Ok(());
        }
    }
}
