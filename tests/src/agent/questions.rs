//! What a running agent is asked, and what it answers: its command line, metrics, configuration and log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::node_agent::Agent;
use crate::metrics::Metrics;
use crate::program::{Output, Program};
use crate::test_app::{ECHO, PEER, RESET};
use crate::world::Pod;
use crate::{http, wait};

/// How long a line of its log may take until it is in the file.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);
const METRICS: &str = "127.0.0.1:15020";
const ADMIN: &str = "127.0.0.1:15000";

impl Agent {
    /// Runs a subcommand of `weir` that talks to this agent or works on its folders.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn weir(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = vec![self.binary()?.display().to_string()];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.place.output(&command)
    }

    /// Enrols a pod.
    ///
    /// # Errors
    /// If the agent refuses; with its words.
    pub fn enroll(&self, pod: &Pod, namespace: &str, service_account: &str) -> Result<()> {
        self.enroll_with(pod, namespace, service_account, &[])
    }

    /// As [`Agent::enroll`], with further flags.
    ///
    /// # Errors
    /// If the agent refuses; with its words.
    pub fn enroll_with(&self, pod: &Pod, namespace: &str, service_account: &str, flags: &[String]) -> Result<()> {
        let mut arguments = vec!["enroll".to_owned()];
        let [v4, v6] = pod.addresses().map(|address| address.to_string());
        for (flag, value) in [
            ("netns", pod.netns().path().display().to_string()),
            ("uid", pod.name().to_owned()),
            ("name", pod.name().to_owned()),
            ("namespace", namespace.to_owned()),
            ("service-account", service_account.to_owned()),
            ("cgroup", pod.place.cgroup().display().to_string()),
            ("address", v4),
            ("address", v6),
            ("label", format!("app={}", pod.name())),
            ("socket", self.socket()),
        ] {
            arguments.push(format!("--{flag}={value}"));
        }
        // A build that is given from outside may be older than the flag; who measures builds sends no probes.
        if self.is_own_build() {
            arguments.extend([ECHO, PEER, RESET].iter().map(|port| format!("--probe-port={port}")));
        }
        arguments.extend_from_slice(flags);
        let output = self.weir(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        ensure!(output.success, "enrolling {}: {}\n{}", pod.name(), output.summary(), self.tail());
        Ok(())
    }

    /// Whether a pod of this name, or uid, is among those it lists as enrolled.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn has_enrolled(&self, pod: &str) -> Result<bool> {
        let pods = self.weir(&["pods", "--socket", &self.socket()])?;
        ensure!(pods.success, "listing pods: {}", pods.summary());
        Ok(pods.stdout.lines().any(|line| line.split_whitespace().next() == Some(pod)))
    }

    /// Lets a pod go, by its uid.
    ///
    /// # Errors
    /// If the agent refuses; with its words.
    pub fn unenroll(&self, pod: &str) -> Result<()> {
        let output = self.weir(&["unenroll", pod, "--socket", &self.socket()])?;
        ensure!(output.success, "unenrolling {pod}: {}", output.summary());
        Ok(())
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::new(self.metrics_text()?))
    }

    /// Its metrics now, as it writes them.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn metrics_text(&self) -> Result<String> {
        self.get(METRICS, "/metrics")
    }

    /// Its configuration as `/config_dump` shows it.
    ///
    /// # Errors
    /// If it does not answer with JSON.
    pub fn config_dump(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.get(ADMIN, "/config_dump")?)?)
    }

    /// Has it log more of a module: `weir::xds=debug`.
    ///
    /// # Errors
    /// If it does not take the filter.
    pub fn log_more(&self, filter: &str) -> Result<()> {
        let address: SocketAddr = ADMIN.parse()?;
        let response = http::request(self.own_place.netns(), address, "POST", &format!("/logging?level={filter}"))?;
        ensure!(response.status == 200, "{filter}: it says {}: {}", response.status, response.body);
        Ok(())
    }

    fn get(&self, address: &str, path: &str) -> Result<String> {
        let address: SocketAddr = address.parse()?;
        let response = http::get(self.own_place.netns(), address, path)?;
        ensure!(response.status == 200, "{path} says {}: {}", response.status, response.body);
        Ok(response.body)
    }

    /// What it has logged in its present life.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.as_ref().map(|program| program.stdout() + &program.stderr()).unwrap_or_default()
    }

    /// Waits until a line that it has logged since the log had `from` bytes contains all of these words; the line.
    ///
    /// # Errors
    /// If there is none in time; with what was logged since.
    pub fn logs_line(&self, from: usize, words: &[&str]) -> Result<String> {
        wait::until(&format!("a line with {words:?} is logged"), LOGGED_WITHIN, || {
            let log = self.log();
            let new = log.get(from..).unwrap_or_default();
            let line = new.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).with_context(|| format!("the agent of {} has logged {new:?}", self.place.name()))
        })
    }

    /// The file its standard output goes to.
    #[must_use]
    pub fn log_file(&self) -> Option<PathBuf> {
        self.program.as_ref().map(|program| program.log().to_owned())
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.program.as_ref().map(Program::tail).unwrap_or_default()
    }
}
