//! Peers that send too much, or too slowly: the agent's memory is bounded, others are served, nobody is waited for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::attack;
use weir_tests::mesh::Mesh;
use weir_tests::raw_http2::frame::{CONTINUATION, DATA, HEADERS, PING, PREFACE, PRIORITY};
use weir_tests::raw_http2::{Reaction, flood, frame, hpack};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;

use super::peer::{HbonePeer, REACTION};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "input: floods of HTTP/2 frames exhaust nothing", check: Check::Mesh(floods) },
    Case { name: "input: applications that do not read cost a bounded amount of memory", check: Check::Mesh(unread) },
    Case {
        name: "input: a peer whose frames without data cause much work is told to be calm, one that sends data byte by byte is served, and others meanwhile",
        check: Check::Alone(much_work),
    },
    Case {
        name: "input: a peer that does not acknowledge the agent's settings is cut off",
        check: Check::Mesh(unacknowledged),
    },
    Case { name: "input: a peer that dawdles is not waited for", check: Check::Alone(dawdling) },
];

/// How long a flood goes on at most.
const ENOUGH: Duration = Duration::from_secs(5);
/// What a bystander may wait for its echo, on a machine that does other things, too.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// What the agent may grow by under a flood.
const GROWTH_BYTES: u64 = 96 << 20;

/// Sends a flood, without reading. The agent may end the connection, or take it all; either way others are served.
fn floods(mesh: &Mesh) -> Result<()> {
    let peer = HbonePeer::new(mesh)?;
    let connect = hpack::connect(&peer.echo);
    let elsewhere = hpack::connect("nowhere.example:80");
    let many = |count: u32, one: &dyn Fn(u32) -> Vec<u8>| (0..count).flat_map(one).collect::<Vec<u8>>();
    let big = hpack::block([("a", "x".repeat(15_000).as_str())]);
    let floods: [(&str, Vec<u8>); 12] = [
        ("PING", many(200_000, &|_| frame::frame(PING, 0, 0, &[0; 8]))),
        ("SETTINGS", flood::settings_frames(200_000)),
        ("empty SETTINGS", many(300_000, &|_| frame::settings(&[]))),
        ("PRIORITY", many(200_000, &|i| frame::frame(PRIORITY, 0, 2 * i + 1, &[0, 0, 0, 0, 1]))),
        ("empty DATA", [frame::headers(1, &connect), many(300_000, &|_| frame::frame(DATA, 0, 1, &[]))].concat()),
        ("WINDOW_UPDATE", many(300_000, &|_| frame::window_update(0, 1))),
        ("unknown frames", many(20_000, &|_| frame::frame(0xee, 0, 0, &[0; 1000]))),
        (
            "CONTINUATION",
            [frame::frame(HEADERS, 0, 1, &connect), many(300_000, &|_| frame::frame(CONTINUATION, 0, 1, &[]))].concat(),
        ),
        (
            "CONTINUATION with fields",
            [frame::frame(HEADERS, 0, 1, &connect), many(2_000, &|_| frame::frame(CONTINUATION, 0, 1, &big))].concat(),
        ),
        ("requests that are refused", many(20_000, &|i| frame::headers(2 * i + 1, &elsewhere))),
        (
            "requests that are reset",
            many(50_000, &|i| [frame::headers(2 * i + 1, &connect), frame::reset(2 * i + 1)].concat()),
        ),
        (
            "DATA without regard to windows",
            [frame::headers(1, &connect), many(4_000, &|_| frame::frame(DATA, 0, 1, &[b'x'; 16_384]))].concat(),
        ),
    ];
    let mut bystander = peer.open()?;
    // The first connection's buffers are not the flood's.
    let before = peer.memory()?;
    let mut most = before;
    for (what, bytes) in floods {
        let start = Instant::now();
        let mut connection = peer.connect()?;
        connection.set_patience(Duration::from_secs(2))?;
        let (mut cut, mut slowest) = (false, Duration::ZERO);
        for (at, chunk) in bytes.chunks(256 * 1024).enumerate() {
            // One that is slowed down has lost already.
            cut = connection.send(chunk).is_err() || start.elapsed() > ENOUGH;
            if at % 4 == 0 {
                most = most.max(peer.memory()?);
                let echo = Instant::now();
                bystander.echo(1, what.as_bytes()).with_context(|| format!("another connection, amid {what}"))?;
                slowest = slowest.max(echo.elapsed());
            }
            if cut {
                break;
            }
        }
        let reaction = connection.last_word(Duration::from_millis(300));
        most = most.max(peer.memory()?);
        bystander.echo(1, what.as_bytes()).with_context(|| format!("another connection, after {what}"))?;
        note(format!(
            "{what}: {} kB in {:.1} s, {}, {reaction:?}; others waited {:.3} s at most",
            bytes.len() / 1000,
            start.elapsed().as_secs_f32(),
            if cut { "cut off" } else { "taken" },
            slowest.as_secs_f32()
        ));
        let grown = most.saturating_sub(before);
        ensure!(grown < GROWTH_BYTES, "{what}: the agent grew by {} MB", grown >> 20);
    }
    note(format!("the agent held {} MB before and at most {} MB", before >> 20, most >> 20));
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
}

/// As many streams as the agent takes, to an application that reads nothing, each filled to its window.
fn unread(mesh: &Mesh) -> Result<()> {
    const PORT: u16 = 9000;
    // What a stream has that was granted; its connection's settings say less.
    const WINDOW: usize = 64 * 1024;
    let peer = HbonePeer::new(mesh)?;
    let _listener = attack::deaf(&mesh.far.place, PORT)?;
    let authority = SocketAddr::new(mesh.far.ipv4(), PORT).to_string();
    let mut bystander = peer.open()?;
    let before = peer.memory()?;
    let mut connection = peer.connect()?;
    let streams = connection.setting(3).context("the agent limits no streams")?;
    ensure!(connection.setting(4) == Some(16_384), "a stream begins with {:?}", connection.setting(4));
    for stream in 0..streams {
        let status = connection.request(2 * stream + 1, &authority)?;
        ensure!(status == 200, "stream {stream}: {status}");
    }
    let data = vec![b'x'; 16_384];
    let frames = (0..streams).flat_map(|stream| (0..WINDOW / data.len()).map(move |_| 2 * stream + 1));
    let (mut taken, mut most) = (0, before);
    for stream in frames {
        if connection.send(&frame::frame(DATA, 0, stream, &data)).is_err() {
            break;
        }
        taken += data.len();
        if taken.is_multiple_of(1 << 20) {
            most = most.max(peer.memory()?);
        }
    }
    bystander.echo(1, b"others are served")?;
    let reaction = connection.last_word(REACTION);
    // RFC 9113 §7: FLOW_CONTROL_ERROR, where it still arrives.
    let overrun = matches!(reaction, Reaction::GoAway(3) | Reaction::Closed);
    ensure!(overrun || taken == WINDOW * streams as usize, "{taken} bytes were taken, then {reaction:?}");
    let grown = most.saturating_sub(before);
    note(format!(
        "{streams} streams with windows of {WINDOW} bytes: {} MB taken, the agent grew by {} MB",
        taken >> 20,
        grown >> 20
    ));
    ensure!(grown < GROWTH_BYTES, "the agent grew by {} MB", grown >> 20);
    Ok(())
}

/// One worker, so that the flood and the bystander share it.
fn much_work() -> Result<()> {
    const STREAMS: u32 = 190;
    const SINK: u16 = 9002;
    let mesh = Mesh::start_with("t", &["--worker-threads=1"])?;
    let peer = HbonePeer::new(&mesh)?;
    // A program of its own: the bystander's must not be busy.
    let program = binary("weir-test-app")?.display().to_string();
    let mut sink = mesh.far.place.spawn(&[&*program, "serve", &format!("sink:{SINK}")])?;
    sink.listens_on(SINK)?;
    let authority = SocketAddr::new(mesh.far.ipv4(), SINK).to_string();
    let windows: Vec<(u16, u32)> = (0..10_900).map(|value| (4, 65_535 + value)).collect();
    let each_stream =
        |frames: &dyn Fn(u32) -> Vec<u8>| (0..STREAMS).flat_map(|n| frames(2 * n + 1)).collect::<Vec<u8>>();
    let tiny = flood::tiny_data(STREAMS);
    // What a session ends with is told there. The peer may miss it: it does not read while it sends.
    let agent = mesh.agent_of(&mesh.far);
    agent.log_more("weir::proxy::inbound::hbone=debug")?;
    for (what, bytes, is_ended) in [
        ("SETTINGS of 10900 initial windows", frame::settings(&windows).repeat(16), true),
        ("resets", each_stream(&frame::reset).repeat(1000), true),
        ("DATA of one byte for each stream in turn", tiny.repeat(400), false),
    ] {
        let logged = agent.log().len();
        let mut bystander = peer.open()?;
        let mut connection = peer.connect()?;
        connection.set_patience(Duration::from_secs(2))?;
        for stream in 0..STREAMS {
            connection.request(2 * stream + 1, &authority)?;
        }
        let (start, mut cut, mut slowest) = (Instant::now(), false, Duration::ZERO);
        while !cut && start.elapsed() < ENOUGH {
            cut = connection.send(&bytes).is_err();
            let echo = Instant::now();
            bystander.echo(1, what.as_bytes()).with_context(|| format!("another connection, amid {what}"))?;
            slowest = slowest.max(echo.elapsed());
        }
        let reaction = connection.last_word(if is_ended { REACTION } else { Duration::from_millis(300) });
        note(format!(
            "{what}: {reaction:?} after {:.1} s; others waited {} ms at most",
            start.elapsed().as_secs_f32(),
            slowest.as_millis()
        ));
        if is_ended {
            // RFC 9113 §7: ENHANCE_YOUR_CALM, where it still arrives.
            ensure!(matches!(reaction, Reaction::GoAway(11) | Reaction::Closed), "{what}: {reaction:?}");
            let said = ["HBONE connection ended", "ENHANCE_YOUR_CALM: too many frames that carry no data"];
            agent.logs_line(logged, &said).with_context(|| what.to_owned())?;
        } else {
            ensure!(reaction == Reaction::Silent, "{what}: {reaction:?}");
        }
        ensure!(slowest < LONGEST_WAIT, "{what}: others waited {} ms", slowest.as_millis());
    }
    Ok(())
}

/// RFC 9113 §6.5.3: SETTINGS_TIMEOUT, once the peer sends anything after its time is up.
fn unacknowledged(mesh: &Mesh) -> Result<()> {
    let peer = HbonePeer::new(mesh)?;
    let mut connection = peer.handshake()?;
    connection.send(PREFACE)?;
    connection.send(&frame::settings(&[]))?;
    wait::until_every(Duration::from_secs(1), "it is cut off", Duration::from_secs(15), || {
        let reaction = connection.reaction(REACTION);
        ensure!(reaction == Reaction::GoAway(4), "the agent's reaction is {reaction:?}");
        Ok(())
    })?;
    peer.open()?.echo(1, b"others are served")
}

/// Handshakes that never go on: closed when their time is up.
fn dawdling() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--handshake-timeout-seconds=1"])?;
    let peer = HbonePeer::new(&mesh)?;
    let within = Duration::from_secs(6);
    let nothing = peer.handshake()?.last_word(within);
    ensure!(nothing == Reaction::Closed, "a peer that never begins HTTP/2: {nothing:?}");
    let mut half = peer.handshake()?;
    half.send(&PREFACE[..10])?;
    let half = half.last_word(within);
    ensure!(matches!(half, Reaction::Closed | Reaction::GoAway(_)), "half a preface: {half:?}");
    let mut slow = peer.handshake()?;
    let mut closed = false;
    for byte in PREFACE {
        let _ = slow.send(&[*byte]);
        closed = slow.last_word(Duration::from_millis(200)) != Reaction::Silent;
        if closed {
            break;
        }
    }
    ensure!(closed, "a preface of one byte in 0.2 s was waited for");
    let mut headers = peer.connect()?;
    headers.send(&frame::frame(HEADERS, 0, 1, &[]))?;
    peer.open()?.echo(1, b"others are served")?;
    // RFC 9113 §6.10: PROTOCOL_ERROR for any frame but the rest of the field block.
    let reaction = headers.reaction(REACTION);
    ensure!(reaction == Reaction::GoAway(1), "a PING amid HEADERS that never end: {reaction:?}");
    Ok(())
}
