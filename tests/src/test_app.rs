//! `weir-test-app` as tests call it: which port serves what, and what a client saw.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::agent::binary;
use crate::place::Place;
use crate::program::Program;

/// Returns every byte.
pub const ECHO: u16 = 7001;
/// Speaks first, then returns every byte.
pub const BANNER: u16 = 7002;
/// Tells the addresses it sees.
pub const PEER: u16 = 7003;
/// Compares what comes with the known pattern.
pub const SINK: u16 = 7004;
/// Sends the known pattern.
pub const SOURCE: u16 = 7005;
/// Reads a byte and resets.
pub const RESET: u16 = 7006;
/// Returns every byte and tells how each connection ended.
pub const WATCH: u16 = 7007;
/// Ports of all services that [`serve`] starts.
pub const PORTS: [u16; 7] = [ECHO, BANNER, PEER, SINK, SOURCE, RESET, WATCH];

/// What a client saw of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// `ok`, or the error's name.
    pub connect: String,
    #[serde(default)]
    pub local: String,
    #[serde(default)]
    pub peer: String,
    #[serde(default)]
    pub received: String,
    /// `eof`, `open` (after bytes were received), or the error's name.
    #[serde(default)]
    pub end: String,
    pub ms: u64,
}

impl Seen {
    /// True if the connection never carried anything back.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.received.is_empty() && self.end != "open"
    }

    /// True if it was refused by an answer: an error or an end that the other side caused, not the probe's own patience.
    #[must_use]
    pub fn refused_by_answer(&self) -> bool {
        self.refused() && self.connect != "timeout"
    }
}

/// What became of many connections.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Many {
    pub ok: u64,
    pub failed: u64,
    pub errors: std::collections::BTreeMap<String, u64>,
    pub seconds: f64,
}

/// What became of a long stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Bulk {
    pub bytes: u64,
    /// Every byte was the expected one.
    pub exact: bool,
    pub seconds: f64,
}

/// Starts all services in a place and waits until they listen.
///
/// # Errors
/// If they do not.
pub fn serve(place: &Place) -> Result<Program> {
    let names = ["echo", "banner", "peer", "sink", "source", "reset", "watch"];
    let services = names.iter().zip(PORTS).map(|(name, port)| format!("{name}:{port}"));
    let mut command = vec![binary("weir-test-app")?.display().to_string(), "serve".to_owned()];
    command.extend(services);
    let mut program = place.spawn(&command)?;
    for port in PORTS {
        program.listens_on(port)?;
    }
    Ok(program)
}

/// Runs a client and reads its line.
///
/// # Errors
/// If it fails; a connection that fails is not an error of a probe.
pub fn client<T: for<'de> Deserialize<'de>>(place: &Place, within: Duration, arguments: &[&str]) -> Result<T> {
    client_called(&binary("weir-test-app")?, place, within, arguments)
}

/// As [`client`], by another name of the program: a link to it.
///
/// # Errors
/// As of [`client`].
pub fn client_called<T: for<'de> Deserialize<'de>>(
    program: &Path,
    place: &Place,
    within: Duration,
    arguments: &[&str],
) -> Result<T> {
    let mut command = vec![program.display().to_string()];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let output = place.output_within(within, &command)?;
    ensure!(output.success, "{arguments:?} in {}: {}", place.name(), output.summary());
    serde_json::from_str(&output.stdout).with_context(|| format!("{arguments:?} printed {:?}", output.stdout))
}

/// A connection to an echo that is kept, and tells how it ended.
#[derive(Debug)]
pub struct Held(Program);

/// How a kept connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HeldEnd {
    /// `bytes`, or the name of the error.
    pub end: String,
    /// Milliseconds from its beginning.
    pub ms: u64,
}

impl Held {
    /// Begins to connect.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn open(place: &Place, address: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(address, ECHO).to_string();
        Ok(Self(place.spawn(&[binary("weir-test-app")?.display().to_string(), "hold".into(), address])?))
    }

    /// Checks that the echo has answered, and that the connection has not ended since.
    ///
    /// # Errors
    /// If one of it does not hold; with what the program says.
    pub fn is_open(&self) -> Result<()> {
        ensure!(self.0.stdout().trim() == r#"{"open":true}"#, "{}", self.0.tail());
        Ok(())
    }

    /// How it ended.
    ///
    /// # Errors
    /// If it has not yet; with what the program says.
    pub fn end(&self) -> Result<HeldEnd> {
        let said = self.0.stdout();
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("it says {last:?}"))
    }
}

/// Connects, sends a text, and tells what came back.
///
/// # Errors
/// If the probe itself cannot run.
pub fn probe(place: &Place, address: IpAddr, port: u16, send: &str) -> Result<Seen> {
    let address = SocketAddr::new(address, port).to_string();
    client(place, Duration::from_secs(30), &["probe", &address, "--send", send])
}

/// As [`probe`], by a client that says nothing for a while before it sends.
///
/// # Errors
/// If the probe cannot be run.
pub fn probe_late(place: &Place, address: IpAddr, port: u16, silent: Duration, send: &str) -> Result<Seen> {
    let address = SocketAddr::new(address, port).to_string();
    let silent = silent.as_millis().to_string();
    client(place, Duration::from_secs(30), &["probe", &address, "--silent-ms", &silent, "--send", send])
}

/// Checks that an echo on an address returns what is sent.
///
/// # Errors
/// If it does not; with what came instead.
pub fn echoes(place: &Place, address: IpAddr, port: u16) -> Result<Seen> {
    let text = format!("hello from {}", place.name());
    let seen = probe(place, address, port, &text)?;
    ensure!(seen.received == text, "{} to {address} port {port}: {seen:?}", place.name());
    Ok(seen)
}
