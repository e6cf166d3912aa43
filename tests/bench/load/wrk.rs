//! wrk: as many requests as connections allow, one outstanding on each, from one thread.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tempfile::NamedTempFile;
use weir_tests::place::Place;

/// Makes wrk say exactly what it measured.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"errors":%d,"p50_us":%.1f,"p99_us":%.1f}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#;

/// What the client saw.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Seen {
    pub(crate) requests: f64,
    microseconds: f64,
    errors: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Seen {
    /// Answered requests per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.requests / (self.microseconds / 1e6)
    }
}

/// Asks for some seconds; with `reconnect`, each request on a connection of its own.
pub(crate) fn run(
    from: &Place,
    to: SocketAddr,
    connections: u32,
    reconnect: bool,
    seconds: u32,
    within: Duration,
) -> Result<Seen> {
    let script = NamedTempFile::new()?;
    fs::write(script.path(), SCRIPT)?;
    let mut command = vec!["wrk".to_owned(), "--threads=1".into(), format!("--connections={connections}")];
    command.extend([format!("--duration={seconds}s"), format!("--script={}", script.path().display())]);
    if reconnect {
        command.push("--header=Connection: close".into());
    }
    command.push(format!("http://{to}/"));
    let stdout = from.run_within(within, &command)?;
    let line = stdout.lines().rev().find(|line| line.starts_with('{')).with_context(|| stdout.clone())?;
    let seen: Seen = serde_json::from_str(line)?;
    ensure!(seen.requests > 0.0, "no request was answered: {line}");
    ensure!(seen.errors == 0.0, "requests failed: {line}");
    Ok(seen)
}
