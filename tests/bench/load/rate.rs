//! A fixed rate, in an open loop: requests have times at which they are due, whether or not earlier ones were answered,
//! and latency counts from that time. A server that stalls so shows in every request that it kept waiting, not in the
//! few that happened to be on their way (coordinated omission).
//!
//! A thread for each connection: blocking reads and the kernel's timers are more exact than a runtime's.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::prctl;
use serde::{Deserialize, Serialize};
use weir_tests::place::Place;

use super::request::Connection;

/// What the client saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) requests: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Seen {
    /// Requests in units of 100,000.
    pub(crate) fn hundred_thousands(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "requests of some seconds are few")]
        let requests = self.requests as f64;
        requests / 1e5
    }
}

/// What to ask for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Rate {
    address: SocketAddr,
    #[arg(long)]
    per_second: u32,
    #[arg(long)]
    seconds: u32,
    #[arg(long)]
    connections: u32,
    /// A file with a token in each line, which requests carry in turn.
    #[arg(long)]
    tokens: Option<PathBuf>,
}

/// Runs the client in a pod.
pub(crate) fn run(from: &Place, rate: &Rate, within: Duration) -> Result<Seen> {
    let mut command = vec![
        std::env::current_exe()?.display().to_string(),
        "rate".into(),
        rate.address.to_string(),
        format!("--per-second={}", rate.per_second),
        format!("--seconds={}", rate.seconds),
        format!("--connections={}", rate.connections),
    ];
    command.extend(rate.tokens.as_ref().map(|file| format!("--tokens={}", file.display())));
    let stdout = from.run_within(within, &command)?;
    serde_json::from_str(&stdout).with_context(|| format!("the client printed {stdout:?}"))
}

impl Rate {
    /// Requests per second over some connections.
    pub(crate) fn new(address: SocketAddr, per_second: u32, connections: u32, seconds: u32) -> Self {
        Self { address, per_second, seconds, connections, tokens: None }
    }

    /// With tokens of a file.
    pub(crate) fn with_tokens(self, file: &Path) -> Self {
        Self { tokens: Some(file.to_owned()), ..self }
    }

    /// Asks, and prints what was seen as JSON.
    pub(crate) fn client(self) -> Result<()> {
        let tokens = self.tokens.as_ref().map(fs::read_to_string).transpose()?.unwrap_or_default();
        let mut tokens: Vec<&str> = tokens.lines().collect();
        let connections = (0..self.connections).map(|_| {
            let mut connection = if tokens.is_empty() {
                Connection::open(self.address)?
            } else {
                // Each begins with another one.
                tokens.rotate_left(1);
                Connection::open_with(self.address, &tokens)?
            };
            connection.ask()?;
            Ok(connection)
        });
        let connections = connections.collect::<Result<Vec<_>>>()?;
        let start = Instant::now() + Duration::from_millis(5);
        let spawn = |(first, own)| {
            let rate = self.clone();
            thread::spawn(move || rate.share(own, first, start))
        };
        let threads: Vec<_> = (0..).zip(connections).map(spawn).collect();
        let mut latencies = Vec::new();
        for thread in threads {
            latencies.extend(thread.join().expect("a share returns its errors")?);
        }
        latencies.sort_unstable();
        let seen = Seen {
            requests: latencies.len(),
            p50_us: percentile(&latencies, 50)?,
            p99_us: percentile(&latencies, 99)?,
        };
        println!("{}", serde_json::to_string(&seen)?);
        Ok(())
    }

    /// Every so-many-th request, on one connection.
    fn share(&self, mut connection: Connection, first: u32, start: Instant) -> Result<Vec<Duration>> {
        // The default of 50 µs would be in every latency.
        prctl::set_timerslack(1)?;
        let mut latencies = Vec::new();
        for number in (first..self.per_second * self.seconds).step_by(self.connections as usize) {
            let due = start + Duration::from_secs(1) * number / self.per_second;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.ask()?;
            latencies.push(due.elapsed());
        }
        Ok(latencies)
    }
}

/// A percentile of sorted latencies in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> Result<f64> {
    ensure!(!sorted.is_empty(), "no request was due");
    let index = (sorted.len() * percent / 100).min(sorted.len() - 1);
    Ok(sorted[index].as_secs_f64() * 1e6)
}
