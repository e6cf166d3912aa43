//! Load on an echo while a test does something to those who carry it, and what became of the load's connections.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::agent::binary;
use crate::place::Place;
use crate::program::Program;
use crate::test_app::ECHO;

/// Connections that are kept open, and new ones per second.
pub const KEPT: usize = 64;
pub const RATE: u32 = 200;
/// The longest that any load lasts.
const SECONDS: u32 = 300;

/// Load that goes on until [`Load::end`].
#[derive(Debug)]
pub struct Load(Program);

/// A moment, in milliseconds since the Unix epoch.
pub type Moment = u64;

/// What became of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadSeen {
    /// New connections that got their answer.
    pub ok: u64,
    /// New connections that did not.
    pub failed: Vec<Failure>,
    /// The longest time in which no new connection got its answer, in milliseconds.
    pub longest_gap_ms: f64,
    /// The longest time that a new connection took, in milliseconds.
    pub slowest_ms: f64,
    /// Kept connections that broke.
    pub broken: Vec<Failure>,
}

/// A connection that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub begun: Moment,
    pub ended: Moment,
    pub kind: String,
}

/// The report as the program prints it.
#[derive(Debug, Deserialize)]
struct Report {
    began_unix_ms: Moment,
    new: Tally,
    kept: Tally,
}

#[derive(Debug, Deserialize)]
struct Tally {
    ok: u64,
    failed: usize,
    longest_gap_ms: f64,
    latency_ms: Latency,
    failures: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    max: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Told {
    kind: String,
    at_ms: f64,
    after_ms: f64,
}

/// Now.
#[must_use]
pub fn moment() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(Moment::MAX)
}

impl Load {
    /// Starts it from a place on the echo of an address.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(from: &Place, to: IpAddr) -> Result<Self> {
        let command = [
            binary("weir-test-app")?.display().to_string(),
            "load".to_owned(),
            format!("--to={}", SocketAddr::new(to, ECHO)),
            format!("--keepalive={KEPT}"),
            format!("--rate={RATE}"),
            format!("--seconds={SECONDS}"),
            "--patience=30".to_owned(),
        ];
        Ok(Self(from.spawn(&command)?))
    }

    /// Lets it go on for a while: what happens next happens to a load that has been there for that long.
    pub fn goes_on(&self, lasting: Duration) {
        std::thread::sleep(lasting);
    }

    /// Ends it, and tells what became of it.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(self) -> Result<LoadSeen> {
        self.0.signal(Signal::SIGTERM)?;
        let output = self.0.finish(Duration::from_secs(60))?;
        ensure!(output.success, "the load ended badly: {}", output.summary());
        let report = serde_json::from_str::<Report>(&output.stdout);
        let Report { began_unix_ms, new, kept } = report.with_context(|| format!("it printed {:?}", output.stdout))?;
        ensure!(new.failures.len() == new.failed, "too many failures to tell: {}", new.failed);
        Ok(LoadSeen {
            ok: new.ok,
            longest_gap_ms: new.longest_gap_ms,
            slowest_ms: new.latency_ms.max.unwrap_or_default(),
            failed: new.failures.iter().map(|told| told.at(began_unix_ms)).collect(),
            broken: kept.failures.iter().map(|told| told.at(began_unix_ms)).collect(),
        })
    }
}

impl Told {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of some minutes")]
    fn at(&self, began: Moment) -> Failure {
        let begun = began + (self.at_ms - self.after_ms).max(0.0) as u64;
        Failure { begun, ended: began + self.at_ms as u64, kind: self.kind.clone() }
    }
}

impl LoadSeen {
    /// New connections that failed, those left out that were open already when something was killed: they were begun
    /// less than `open` milliseconds before it.
    #[must_use]
    pub fn failed_but_at(&self, kills: &[Moment], open: u64) -> Vec<&Failure> {
        let was_open = |begun: Moment| kills.iter().any(|kill| begun <= *kill && kill - begun < open);
        self.failed.iter().filter(|failure| !was_open(failure.begun)).collect()
    }

    /// In a line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} of {} new connections failed, longest gap {} ms, slowest {} ms; {} kept connections broke",
            self.failed.len(),
            self.ok + self.failed.len() as u64,
            self.longest_gap_ms,
            self.slowest_ms,
            self.broken.len()
        )
    }
}
