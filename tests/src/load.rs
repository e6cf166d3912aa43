//! Load on an echo while a test does something to those who carry it, and what became of the load's connections.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::agent::binary;
use crate::place::Place;
use crate::program::Program;
use crate::test_app::ECHO;

/// Connections that are kept open unless said otherwise, and new ones per second.
pub const KEPT: usize = 64;
pub const RATE: u32 = 200;

/// Load that goes on until [`Load::end`].
#[derive(Debug)]
pub struct Load {
    program: Program,
    until: PathBuf,
}

/// A moment, in milliseconds since the Unix epoch.
pub type Moment = u64;

/// What became of a load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LoadSeen {
    /// New connections that got their answer.
    pub ok: u64,
    /// When new connections were begun that failed, and how they did.
    pub failed: Vec<(Moment, String)>,
    /// The longest time in which no new connection got its answer.
    pub longest_gap_ms: u64,
    /// The longest time that a new connection took.
    pub slowest_ms: u64,
    /// When kept connections broke, and how.
    pub broken: Vec<(Moment, String)>,
    pub seconds: f64,
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
    pub fn start(from: &Place, to: IpAddr, name: &str) -> Result<Self> {
        let until = std::env::temp_dir().join(format!("weir-load-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&until);
        let command = [
            binary("weir-test-app")?.display().to_string(),
            "load".to_owned(),
            SocketAddr::new(to, ECHO).to_string(),
            format!("--kept={KEPT}"),
            format!("--rate={RATE}"),
            format!("--until={}", until.display()),
        ];
        Ok(Self { program: from.spawn(&command)?, until })
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
        std::fs::write(&self.until, "")?;
        let output = self.program.finish(Duration::from_secs(60));
        let _ = std::fs::remove_file(&self.until);
        let output = output?;
        ensure!(output.success, "the load ended badly: {}", output.summary());
        serde_json::from_str(&output.stdout).with_context(|| format!("the load printed {:?}", output.stdout))
    }
}

impl LoadSeen {
    /// New connections that failed, those left out that were open already when something was killed: they were begun
    /// less than `open` milliseconds before it.
    #[must_use]
    pub fn failed_but_at(&self, kills: &[Moment], open: u64) -> Vec<(Moment, String)> {
        let was_open = |begun: Moment| kills.iter().any(|kill| begun <= *kill && kill - begun < open);
        self.failed.iter().filter(|(begun, _)| !was_open(*begun)).cloned().collect()
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
