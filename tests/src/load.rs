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
use crate::wait;

/// Connections that are kept open, and new ones per second.
pub const KEPT: usize = 64;
pub const RATE: u32 = 200;
/// The longest that any load lasts.
const SECONDS: u32 = 300;
/// How long it may take until a load's connections carry something.
const FLOWS_WITHIN: Duration = Duration::from_secs(20);

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

/// When somebody was killed: a moment before the signal, and one by which the process was gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    pub before: Moment,
    pub after: Moment,
}

/// A connection that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub begun: Moment,
    pub ended: Moment,
    pub kind: String,
}

/// What the program prints every second.
#[derive(Debug, Deserialize)]
struct Second {
    new_ok: u64,
    kept_ok: u64,
}

/// The report as the program prints it, last.
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
    failures: Vec<ReportedFailure>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    max: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct ReportedFailure {
    kind: String,
    at_ms: f64,
    after_ms: f64,
}

/// Now.
#[must_use]
pub fn moment() -> Moment {
    moment_of(SystemTime::now())
}

/// A time as a moment.
#[must_use]
pub fn moment_of(time: SystemTime) -> Moment {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(Moment::MAX)
}

impl Load {
    /// Starts it from a place on the echo of an address, and waits until new and kept connections carry something.
    ///
    /// # Errors
    /// If it cannot be started, or nothing is carried in time.
    pub fn start(from: &Place, to: IpAddr) -> Result<Self> {
        let command = [
            binary("weir-test-app")?.display().to_string(),
            "load".to_owned(),
            format!("--to={}", SocketAddr::new(to, ECHO)),
            format!("--keepalive={KEPT}"),
            format!("--rate={RATE}"),
            format!("--seconds={SECONDS}"),
            "--patience=30".to_owned(),
            "--every-second".to_owned(),
        ];
        let mut load = Self(from.spawn(&command)?);
        wait::until("the load flows", FLOWS_WITHIN, || {
            ensure!(load.0.is_running(), "it ended: {}", load.0.tail());
            let seconds = load.0.stdout();
            let last: Second = serde_json::from_str(seconds.lines().last().context("no second is over")?)?;
            ensure!(last.new_ok > 0 && last.kept_ok > 0, "in its last second: {last:?}");
            Ok(())
        })?;
        Ok(load)
    }

    /// Lets it go on for a while: what happens next happens to a load that has been there for that long.
    ///
    /// # Errors
    /// If it ends meanwhile.
    pub fn goes_on(&mut self, lasting: Duration) -> Result<()> {
        wait::throughout("the load goes on", lasting, || {
            ensure!(self.0.is_running(), "it ended: {}", self.0.tail());
            Ok(())
        })
    }

    /// Ends it, and tells what became of it.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(self) -> Result<LoadSeen> {
        self.0.signal(Signal::SIGTERM)?;
        let output = self.0.finish(Duration::from_secs(60))?;
        ensure!(output.success, "the load ended badly: {}", output.summary());
        let report = serde_json::from_str::<Report>(output.stdout.lines().last().unwrap_or_default());
        let Report { began_unix_ms, new, kept } = report.with_context(|| format!("it printed {:?}", output.stdout))?;
        ensure!(new.failures.len() == new.failed, "too many failures to tell: {}", new.failed);
        Ok(LoadSeen {
            ok: new.ok,
            longest_gap_ms: new.longest_gap_ms,
            slowest_ms: new.latency_ms.max.unwrap_or_default(),
            failed: new.failures.iter().map(|failure| failure.at(began_unix_ms)).collect(),
            broken: kept.failures.iter().map(|failure| failure.at(began_unix_ms)).collect(),
        })
    }
}

impl ReportedFailure {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of some minutes")]
    fn at(&self, began: Moment) -> Failure {
        let begun = began + (self.at_ms - self.after_ms).max(0.0) as u64;
        Failure { begun, ended: began + self.at_ms as u64, kind: self.kind.clone() }
    }
}

impl LoadSeen {
    /// New connections that failed, those left out that were under way at a kill: what was being carried then is lost.
    #[must_use]
    pub fn failed_but_at(&self, kills: &[Kill]) -> Vec<&Failure> {
        let was_under_way =
            |failure: &Failure| kills.iter().any(|kill| failure.begun <= kill.after && failure.ended >= kill.before);
        self.failed.iter().filter(|failure| !was_under_way(failure)).collect()
    }

    /// New connections were made, and none of them failed.
    ///
    /// # Errors
    /// With those that failed.
    pub fn no_new_failed(&self) -> Result<()> {
        ensure!(self.ok > 0, "the load made no connection");
        ensure!(self.failed.is_empty(), "new connections failed: {:?}", self.failed);
        Ok(())
    }

    /// New connections were made, none of them failed, and none that was kept broke.
    ///
    /// # Errors
    /// With those that failed or broke.
    pub fn nothing_failed(&self) -> Result<()> {
        self.no_new_failed()?;
        ensure!(self.broken.is_empty(), "kept connections broke: {:?}", self.broken);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ok: u64, failed: &[(Moment, Moment)]) -> LoadSeen {
        let failure = |&(begun, ended)| Failure { begun, ended, kind: "reset".to_owned() };
        let failed = failed.iter().map(failure).collect();
        LoadSeen { ok, failed, longest_gap_ms: 0.0, slowest_ms: 0.0, broken: Vec::new() }
    }

    #[test]
    fn only_what_was_under_way_at_a_kill_is_left_out() {
        let kills = [Kill { before: 1000, after: 1010 }];
        for ((begun, ended), left_out) in
            [((990, 1001), true), ((1005, 1020), true), ((500, 1000), true), ((990, 999), false), ((1011, 1020), false)]
        {
            let seen = seen(1, &[(begun, ended)]);
            assert_eq!(seen.failed_but_at(&kills).is_empty(), left_out, "{begun} to {ended}");
        }
    }

    #[test]
    fn a_load_without_connections_proves_nothing() {
        assert!(seen(1, &[]).nothing_failed().is_ok());
        assert!(seen(0, &[]).nothing_failed().is_err());
        assert!(seen(1, &[(1, 2)]).no_new_failed().is_err());
    }
}
