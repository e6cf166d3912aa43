//! A real Envoy in a pod, as the other side of HBONE: its process, what it counts and logs. What it is told to do is in
//! [`bootstrap`]. It runs without capabilities; the world it is in has no way out.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::http;
use crate::place::Place;
use crate::program::Program;
use crate::run::Run;
use crate::wait;

pub mod bootstrap;
pub mod identity;

/// The version that `cargo xtask setup` fetches.
pub const VERSION: &str = "1.40.0";
/// The variable that names another one.
const VARIABLE: &str = "WEIR_ENVOY";
const ADMIN: &str = "127.0.0.1:9901";
/// How long it may take from its start until it serves.
const LIVE_WITHIN: Duration = Duration::from_secs(20);

/// The program: the one that `WEIR_ENVOY` names, or the one in the user's cache.
///
/// # Errors
/// If there is none; the error says how to get it.
pub fn binary() -> Result<PathBuf> {
    let cached = || {
        let user = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let user = user.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
        Some(user.join(format!("weir/envoy-{VERSION}/envoy")))
    };
    let path = std::env::var_os(VARIABLE).map(PathBuf::from).or_else(cached).context("there is no home directory")?;
    ensure!(path.is_file(), "there is no Envoy at {}: `cargo xtask setup` fetches one", path.display());
    Ok(path)
}

/// An Envoy that serves. Dropping it kills it.
#[derive(Debug)]
pub struct Envoy {
    program: Program,
    place: Place,
}

impl Envoy {
    /// Starts Envoy in a place with a configuration and waits until it serves. One per network namespace.
    ///
    /// # Errors
    /// If it ends or does not serve in time; with its words.
    pub fn start(place: &Place, run: &Run, bootstrap: &Value) -> Result<Self> {
        let folder = folder(run, place)?;
        let file = folder.join("bootstrap.json");
        fs::write(&file, serde_json::to_string_pretty(bootstrap)?)?;
        // No capability, and no way to one: it needs none, and its binary is not built by us.
        let mut command: Vec<String> =
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"].map(str::to_owned).into();
        command.push(binary()?.display().to_string());
        command.extend(["--config-path".to_owned(), file.display().to_string()]);
        let fixed = "--concurrency 1 --use-dynamic-base-id --disable-hot-restart --drain-time-s 1 \
                     --file-flush-interval-msec 10 --log-level warning";
        command.extend(fixed.split_whitespace().map(str::to_owned));
        let mut envoy = Self { program: place.spawn(&command)?, place: place.clone() };
        envoy.is_live()?;
        Ok(envoy)
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.program.signal(Signal::SIGKILL)?;
        self.program.ended(Duration::from_secs(5)).map(drop)
    }

    fn is_live(&mut self) -> Result<()> {
        let live = wait::until("Envoy serves", LIVE_WITHIN, || {
            if !self.program.is_running() {
                return Ok(false);
            }
            let said = self.ask("GET", "/ready")?;
            ensure!(said.trim() == "LIVE", "it says {said:?}");
            Ok(true)
        });
        match live {
            Ok(true) => Ok(()),
            Ok(false) => bail!("Envoy in {} ended:\n{}", self.place.name(), self.words()),
            Err(error) => Err(error.context(format!("Envoy in {}:\n{}", self.place.name(), self.words()))),
        }
    }

    /// What it says for itself: warnings and errors, without the access log.
    #[must_use]
    pub fn words(&self) -> String {
        self.program.stderr()
    }

    /// Its access log: one JSON object per stream that has ended.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        self.program.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What a counter or gauge stands at; 0 if it does not exist (yet).
    ///
    /// # Errors
    /// If the admin endpoint does not answer.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.ask("GET", "/stats?usedonly")?;
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.map_or(Ok(0), str::parse)?)
    }

    /// Waits until a counter stands at least so high.
    ///
    /// # Errors
    /// If it does not within a few seconds.
    pub fn reaches(&self, name: &str, wanted: u64) -> Result<()> {
        wait::until(&format!("Envoy's {name} reaches {wanted}"), Duration::from_secs(5), || {
            let found = self.stat(name)?;
            ensure!(found >= wanted, "it stands at {found}");
            Ok(())
        })
    }

    /// Tells the admin endpoint to do something, such as `/healthcheck/fail`.
    ///
    /// # Errors
    /// If it refuses.
    pub fn tell(&self, path: &str) -> Result<()> {
        self.ask("POST", path).map(drop)
    }

    fn ask(&self, method: &str, path: &str) -> Result<String> {
        let address: SocketAddr = ADMIN.parse()?;
        let response = http::request(self.place.netns(), address, method, path)?;
        ensure!(response.status == 200, "{path} says {}: {}", response.status, response.body);
        Ok(response.body)
    }
}

/// The folder of a place's Envoy: configuration and certificates.
///
/// # Errors
/// If it cannot be made.
pub fn folder(run: &Run, place: &Place) -> Result<PathBuf> {
    let folder = Path::new(&run.folder()).join(format!("envoy-{}", place.name()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
