//! WebSockets: a server in a place, and clients that do with it all that the protocol has. Both are Python's `websockets`
//! (`tests/peers/websocket.py`).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::certificates::CertificateFiles;
use crate::peers;
use crate::place::Place;
use crate::program::Program;
use crate::run::Run;
use crate::wait;

/// How many connections a client upgrades.
pub const UPGRADES: u32 = 5;
/// How each of them ends, as the server is to see it: two that the client closes, one that the server closes, and one that either
/// side breaks off. Sorted.
const ENDS: [&str; UPGRADES as usize] = ["1006", "1006", "4000 goodbye", "4000 goodbye", "4321 as you wish"];
/// How long the last end may take to reach the server.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// The largest message of a client, in bytes, unless it says another.
const LARGEST: u32 = 1 << 20;

/// A server that is running.
#[derive(Debug)]
pub struct WebSocketServer {
    program: Program,
    command: [String; 2],
}

/// A client: where it runs, and what it asks.
#[derive(Debug, Clone, Copy)]
pub struct WebSocketClient<'a> {
    place: &'a Place,
    to: SocketAddr,
    host: &'a str,
    largest: u32,
    denied: Option<&'a str>,
}

impl WebSocketServer {
    /// Starts one on a port of a place, over IPv4 and IPv6, and waits until it listens. With a certificate it speaks TLS, and agrees to HTTP/2
    /// where its client offers that, though it does not speak it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(place: &Place, run: &Run, port: u16, own: Option<&CertificateFiles>) -> Result<Self> {
        let command = peers::websocket(run)?;
        let files = own.map(|own| [&own.chain, &own.key].map(|file| file.display().to_string()));
        let arguments = ["serve".to_owned(), port.to_string()].into_iter().chain(files.into_iter().flatten());
        let mut program = place.spawn(&command.iter().cloned().chain(arguments).collect::<Vec<_>>())?;
        program.listens_on(port)?;
        Ok(Self { program, command })
    }

    /// Has a client do all that the protocol has, compressed and not: text and binary messages from one byte to the largest, in fragments,
    /// many on their way at once, pings of both sides, closes of both sides, and connections that either side breaks off. Each side sees
    /// what the other one did.
    ///
    /// # Errors
    /// With what was seen otherwise.
    pub fn serves(&self, client: &WebSocketClient<'_>) -> Result<()> {
        let before = self.ends().len();
        let ask = ["ask".to_owned(), client.to.ip().to_string(), client.to.port().to_string(), client.host.to_owned()];
        let more = [Some(client.largest.to_string()), client.denied.map(str::to_owned)];
        let command: Vec<String> = self.command.iter().cloned().chain(ask).chain(more.into_iter().flatten()).collect();
        let asked = client.place.run(&command);
        asked.with_context(|| format!("the server says {}", self.program.tail()))?;
        wait::until("the server has seen the end of each connection", ENDS_WITHIN, || {
            let mut ends = self.ends().split_off(before);
            ends.sort_unstable();
            ensure!(ends == ENDS, "it has seen {ends:?}");
            Ok(())
        })
    }

    /// Code and reason of each connection that has ended.
    fn ends(&self) -> Vec<String> {
        self.program.stdout().lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

impl<'a> WebSocketClient<'a> {
    /// A client in a place that goes to an address and asks for a host.
    #[must_use]
    pub fn new(place: &'a Place, to: SocketAddr, host: &'a str) -> Self {
        Self { place, to, host, largest: LARGEST, denied: None }
    }

    /// With messages of up to so many bytes.
    #[must_use]
    pub fn with_largest(mut self, bytes: u32) -> Self {
        self.largest = bytes;
        self
    }

    /// That also asks for a path, which must be answered 403 in the place of an upgrade.
    #[must_use]
    pub fn denied_at(mut self, path: &'a str) -> Self {
        self.denied = Some(path);
        self
    }
}
