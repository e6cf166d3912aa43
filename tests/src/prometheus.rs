//! A real Prometheus that scrapes agents, and is asked what dashboards ask.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::parts;
use crate::place::Place;
use crate::program::Program;
use crate::wait;

const LISTEN: &str = "127.0.0.1:9090";
/// How long a query may take to have an answer: some scrapes.
pub const ANSWERED: Duration = Duration::from_secs(40);

/// The program, where it was fetched.
///
/// # Errors
/// If it was not.
pub fn binary() -> Result<PathBuf> {
    let folder = parts::folder().context("no folder for a cache is known: set HOME")?;
    let path = folder.join("prometheus/usr/bin/prometheus");
    ensure!(path.is_file(), "there is no Prometheus at {}: `cargo xtask test` fetches one", path.display());
    Ok(path)
}

/// Prometheus that scrapes once a second.
#[derive(Debug)]
pub struct Prometheus {
    place: Place,
    _program: Program,
}

impl Prometheus {
    /// Starts it in a place, with its files in a folder. `targets` are static configurations (`{targets: […], labels: {…}}`).
    ///
    /// # Errors
    /// If it is not there, or cannot be started.
    pub fn start(place: &Place, folder: &Path, targets: &[Value]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let configuration = folder.join("prometheus.yaml");
        let content = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "pods", "static_configs": targets}],
        });
        fs::write(&configuration, content.to_string())?;
        let program = place.spawn(&[
            binary()?.display().to_string(),
            format!("--config.file={}", configuration.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={LISTEN}"),
        ])?;
        Ok(Self { place: place.clone(), _program: program })
    }

    /// Waits until a query has an answer; its series.
    ///
    /// # Errors
    /// If it has none in time.
    pub fn answer(&self, title: &str, query: &str) -> Result<Vec<Value>> {
        wait::until(&format!("{title}: {query} has an answer"), ANSWERED, || {
            let series = self.series(query)?;
            ensure!(!series.is_empty(), "it is empty");
            Ok(series)
        })
    }

    /// The series that a query has now.
    ///
    /// # Errors
    /// If it is not understood.
    pub fn series(&self, query: &str) -> Result<Vec<Value>> {
        let answer = self.ask("query", &format!("query={query}"))?;
        answer["data"]["result"].as_array().cloned().with_context(|| format!("no result: {answer}"))
    }

    /// What a metric is, as Prometheus was told.
    ///
    /// # Errors
    /// If it knows nothing of it.
    pub fn kind(&self, name: &str) -> Result<String> {
        // Counters are known by the name without the ending that their samples have.
        let known = [name, name.trim_end_matches("_total")];
        let kinds = known.iter().filter_map(|name| {
            let answer = self.ask("metadata", &format!("metric={name}")).ok()?;
            Some(answer["data"][*name][0]["type"].as_str()?.to_owned())
        });
        kinds.into_iter().next().with_context(|| format!("nothing is known of {name}"))
    }

    fn ask(&self, what: &str, parameter: &str) -> Result<Value> {
        let url = format!("http://{LISTEN}/api/v1/{what}");
        let command =
            ["curl", "--silent", "--show-error", "--max-time", "5", "--get", "--data-urlencode", parameter, &url];
        serde_json::from_str(&self.place.run(&command)?).context("Prometheus answered no JSON")
    }
}
