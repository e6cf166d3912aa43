//! Many requests by one client, `weir-test-app http-load`, and what became of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::agent::binary;
use crate::place::Place;
use crate::program::Program;
use crate::wait;

/// How long a load may take, unless it has an end of its own.
const WITHIN: Duration = Duration::from_secs(60);

/// Requests that go on until [`HttpLoad::end`].
#[derive(Debug)]
pub struct HttpLoad(Program);

/// What became of a load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HttpSeen {
    /// Requests whose response came whole, whatever its status.
    pub answered: u64,
    pub failed: u64,
    /// The first of those that failed.
    pub failures: Vec<serde_json::Value>,
    pub statuses: BTreeMap<u16, u64>,
    pub grpc_statuses: BTreeMap<String, u64>,
    /// Answers by pod; those that the mesh made are of none.
    pub pods: BTreeMap<String, u64>,
    pub bytes: u64,
    /// Responses whose body was not the pattern that it should be.
    pub inexact: u64,
    /// How many connections the client opened.
    pub connections: u64,
    pub slowest_ms: f64,
    pub seconds: f64,
}

impl HttpLoad {
    /// Starts it from a place, and waits until each of its workers has had an answer.
    ///
    /// # Errors
    /// If it cannot be started, or a worker has no answer in time.
    pub fn start(from: &Place, arguments: &[String]) -> Result<Self> {
        let mut load = Self(from.spawn(&command(arguments)?)?);
        wait::until("the load flows", Duration::from_secs(20), || {
            ensure!(load.0.is_running(), "it ended: {}", load.0.tail());
            ensure!(load.0.stdout().lines().any(|line| line == r#"{"flows":true}"#), "a worker waits");
            Ok(())
        })?;
        Ok(load)
    }

    /// Lets it go on for a while.
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
    pub fn end(self) -> Result<HttpSeen> {
        self.0.signal(nix::sys::signal::Signal::SIGTERM)?;
        HttpSeen::read(self.0)
    }
}

impl HttpSeen {
    /// Runs a load that has an end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn of(from: &Place, arguments: &[String]) -> Result<Self> {
        Self::read(from.spawn(&command(arguments)?)?)
    }

    fn read(program: Program) -> Result<Self> {
        let output = program.finish(WITHIN)?;
        ensure!(output.success, "the load ended badly: {}", output.summary());
        let last = output.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("it printed {:?}", output.stdout))
    }

    /// Every request was answered with this status.
    ///
    /// # Errors
    /// With what became of the others.
    pub fn all_are(&self, status: u16) -> Result<()> {
        let others = self.statuses.keys().any(|seen| *seen != status);
        ensure!(self.answered > 0 && self.failed == 0 && !others && self.inexact == 0, "{self:?}");
        Ok(())
    }

    /// Of the requests that were due until the end at a rate, at least nine of ten were answered: a load that falls behind shows less than it
    /// says.
    ///
    /// # Errors
    /// With what it has seen.
    pub fn keeps_pace(&self, rate: f64) -> Result<()> {
        let due = self.seconds * rate;
        ensure!(self.answered as f64 >= due * 0.9, "{due:.0} requests were due: {self:?}");
        Ok(())
    }

    /// How many answers a pod gave.
    #[must_use]
    pub fn by(&self, pod: &str) -> u64 {
        self.pods.get(pod).copied().unwrap_or_default()
    }
}

fn command(arguments: &[String]) -> Result<Vec<String>> {
    let program = binary("weir-test-app")?.display().to_string();
    Ok([&[program, "http-load".to_owned()], arguments].concat())
}
