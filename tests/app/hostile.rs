//! Clients and servers that mean harm with ordinary sockets. Each has a count or a pace, so that what it costs the machine
//! is bounded; those that are done wait to be killed, so that their end changes nothing.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use nix::sched::sched_yield;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use weir_tests::certificates::CertificateFiles;
use weir_tests::raw_http2::{RawHttp2, flood, frame, hpack};

use crate::{smuggle, wrong_http2};

/// The ports that are opened and closed one after the other.
const PORTS: std::ops::Range<u16> = 1024..65_000;
/// Streams of one connection that get tiny frames.
const STREAMS: u32 = 90;
/// How long a peer may take nothing before its connection counts as cut.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause before a connection that was cut is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// What it does.
#[derive(Debug, Subcommand)]
pub(crate) enum Hostile {
    /// Connect and close again and again; then say so.
    Leave {
        address: SocketAddr,
        /// How many times; without end if not given.
        #[arg(long)]
        count: Option<u32>,
        /// How many times a second, at most.
        #[arg(long)]
        per_second: Option<u32>,
        /// Reset instead of closing.
        #[arg(long)]
        reset: bool,
        /// Send this on each connection, and close them only when all are open.
        #[arg(long, default_value = "")]
        send: String,
    },
    /// Listen, and take nothing of what comes.
    Deaf { port: u16 },
    /// Serve HTTP/1, with the responses that the cases of `smuggle responses` are about.
    Http1 {
        port: u16,
        #[arg(long)]
        seed: u64,
    },
    /// Serve HTTP/2, and break its rules in the way that the path of a request names.
    Http2 { port: u16 },
    /// Bind, listen on and close all ports, one after the other.
    Ports {
        /// How many ports a second, at most.
        #[arg(long)]
        per_second: Option<u32>,
        /// Begin again when all were open.
        #[arg(long)]
        forever: bool,
    },
    /// Send SYN segments from ever other ports over a raw socket, which take no part in any connection.
    Syn {
        address: SocketAddr,
        /// The own address that they carry.
        #[arg(long)]
        source: Ipv4Addr,
        #[arg(long)]
        per_second: u32,
    },
    /// Send frames over HBONE with a valid certificate, and connect again when the connection is cut.
    Frames {
        address: SocketAddr,
        #[arg(long)]
        chain: PathBuf,
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        per_second: u32,
        /// Frames of DATA with one byte each on many streams to this authority; SETTINGS frames if not given.
        #[arg(long)]
        data_to: Option<String>,
    },
}

/// Does it.
pub(crate) fn run(what: Hostile) -> Result<()> {
    match what {
        Hostile::Leave { address, count, per_second, reset, send } => {
            leave(address, (count, per_second), reset, send.as_bytes())?;
        }
        Hostile::Deaf { port } => {
            let _listener = deaf(port)?;
            wait_to_be_killed();
        }
        Hostile::Http1 { port, seed } => return smuggle::serve(port, seed),
        Hostile::Http2 { port } => return wrong_http2::serve(port),
        Hostile::Ports { per_second, forever } => {
            let mut pace = Pace::new(per_second);
            while open_and_close(&mut pace) && forever {}
            return Ok(());
        }
        Hostile::Syn { address, source, per_second } => syn(address, source, per_second)?,
        Hostile::Frames { address, chain, key, per_second, data_to } => {
            frames(address, &CertificateFiles { chain, key }, per_second, data_to.as_deref())?;
        }
    }
    println!("done");
    wait_to_be_killed()
}

fn wait_to_be_killed() -> ! {
    loop {
        thread::park();
    }
}

/// At most so many things a second, in steps of the clock that a sleep can keep.
struct Pace {
    start: Instant,
    per_second: Option<u32>,
    done: u32,
}

impl Pace {
    fn new(per_second: Option<u32>) -> Self {
        Self { start: Instant::now(), per_second, done: 0 }
    }

    /// Waits until some more things are due.
    fn wait_for(&mut self, more: u32) {
        let Some(per_second) = self.per_second else { return };
        self.done += more;
        let due = self.start + Duration::from_secs(1) * self.done / per_second;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn leave(address: SocketAddr, (count, per_second): (Option<u32>, Option<u32>), reset: bool, send: &[u8]) -> Result<()> {
    let (mut pace, mut open) = (Pace::new(per_second), Vec::new());
    for _ in 0..count.unwrap_or(u32::MAX) {
        pace.wait_for(1);
        // It may be refused: that costs the other side, too.
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        if reset {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        if !send.is_empty() && stream.write_all(send).is_ok() {
            open.push(stream);
        }
    }
    Ok(())
}

fn deaf(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    // The kernel completes connections that nobody accepts, as many as this.
    socket.listen(1000)?;
    Ok(socket)
}

/// Whether there is another port to open; ports that are taken are left out.
fn open_and_close(pace: &mut Pace) -> bool {
    for port in PORTS {
        pace.wait_for(1);
        let _ = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let _ = sched_yield();
    }
    true
}

fn syn(address: SocketAddr, source: Ipv4Addr, per_second: u32) -> Result<()> {
    let SocketAddr::V4(target) = address else { anyhow::bail!("{address} is no IPv4 address") };
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).context("a raw socket")?;
    let to = SockAddr::from(SocketAddr::from((*target.ip(), 0)));
    let mut pace = Pace::new(Some(per_second));
    for number in 0_u32.. {
        pace.wait_for(1);
        let port = 1024 + u16::try_from(number % 60_000).expect("less than a port's range");
        let segment = syn_segment((source, port), (*target.ip(), target.port()), number);
        // A full queue of the device drops it: no reason to stop.
        let _ = socket.send_to(&segment, &to);
    }
    Ok(())
}

/// A SYN segment without options (RFC 9293 §3.1).
fn syn_segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), sequence: u32) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[..2].copy_from_slice(&from.1.to_be_bytes());
    segment[2..4].copy_from_slice(&to.1.to_be_bytes());
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    // Header of five words; SYN; a window.
    segment[12..16].copy_from_slice(&[5 << 4, 2, 0xff, 0xff]);
    let pseudo_header = [&from.0.octets()[..], &to.0.octets(), &[0, 6, 0, 20]].concat();
    let words = pseudo_header.chunks_exact(2).chain(segment.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).expect("it was folded");
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

fn frames(address: SocketAddr, own: &CertificateFiles, per_second: u32, data_to: Option<&str>) -> Result<()> {
    let here = std::fs::File::open("/proc/self/ns/net")?.into();
    let (block, each) = match data_to {
        Some(_) => (flood::tiny_data(STREAMS), STREAMS),
        None => (flood::settings_frames(100), 100),
    };
    let mut connected = false;
    loop {
        let opened = RawHttp2::connect(&here, address, own);
        let Ok(mut connection) = opened else {
            ensure!(connected, "the first connection failed: {:#}", opened.expect_err("it is no connection"));
            thread::sleep(RECONNECT_PAUSE);
            continue;
        };
        if !connected {
            println!("connected");
        }
        connected = true;
        connection.set_patience(PATIENCE)?;
        let streams = data_to.map_or(0, |_| STREAMS);
        let authority = data_to.unwrap_or_default();
        let mut alive = (0..streams)
            .all(|stream| connection.send(&frame::headers(2 * stream + 1, &hpack::connect(authority))).is_ok());
        let mut pace = Pace::new(Some(per_second));
        while alive {
            pace.wait_for(each);
            // What is not read stops the peer from answering, and so from working.
            alive = connection.send(&block).is_ok() && connection.discard_received();
        }
        thread::sleep(RECONNECT_PAUSE);
    }
}
