//! The agent of a node: how it is configured, started, replaced and stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use super::binary::binary;
use crate::http;
use crate::place::Place;
use crate::program::{Output, Program};
use crate::wait;
use crate::world::Node;

/// How long an agent may take from its start until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
const READINESS: &str = "127.0.0.1:15021";
/// Where an agent gets its mesh from, and what else is not the default.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Flags that say where the mesh comes from: see [`crate::control_plane::ControlPlane::flags_for`].
    pub delivery: Vec<String>,
    /// Further flags, as `--name=value`.
    pub flags: Vec<String>,
}

/// The agent of a node. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    /// The node's place: where its command line is used.
    pub(super) place: Place,
    /// Its own place: where it runs, and where its endpoints are asked.
    pub(super) own_place: Place,
    options: AgentOptions,
    pub(super) folders: Folders,
    pods_cgroup: PathBuf,
    /// As `--kubelet-cgroup` takes it; off unless set, for another test's kubelet is not this node's.
    kubelet_cgroup: String,
    /// Command that runs it, if any.
    under: Vec<String>,
    binary: Option<PathBuf>,
    pub(super) program: Option<Program>,
}

/// What an agent can be told wrongly.
#[derive(Debug, Clone)]
pub enum Misconfigured {
    PodsCgroup(PathBuf),
    /// Where none answers, without a configuration of former days.
    ControlPlane(String),
}

/// The folders an agent is given.
#[derive(Debug, Clone)]
pub struct Folders {
    pub bpf: PathBuf,
    pub run: PathBuf,
    pub state: PathBuf,
}

impl Agent {
    /// Starts the agent of a node and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or does not become ready; with the end of its log.
    pub fn start(node: &Node, options: AgentOptions) -> Result<Self> {
        let mut agent = Self::prepare(node, options)?;
        agent.launch()?;
        agent.becomes_ready()?;
        Ok(agent)
    }

    /// An agent that is not running yet; see [`Agent::launch`].
    ///
    /// # Errors
    /// If its folders cannot be made.
    pub fn prepare(node: &Node, options: AgentOptions) -> Result<Self> {
        let folders =
            Folders { bpf: node.run().bpf().join(node.name()), run: node.folder("run")?, state: node.folder("state")? };
        let pods_cgroup = node.pods_cgroup().to_owned();
        Ok(Self {
            place: node.place.clone(),
            own_place: node.agent_place.clone(),
            options,
            folders,
            pods_cgroup,
            kubelet_cgroup: "off".to_owned(),
            under: Vec::new(),
            binary: None,
            program: None,
        })
    }

    /// Gives it further flags from its next start on, as `--name=value`.
    pub fn add_flags(&mut self, flags: impl IntoIterator<Item = String>) {
        self.options.flags.extend(flags);
    }

    /// Tells it where the kubelet is from its next start on, as `--kubelet-cgroup` takes it.
    pub fn set_kubelet_cgroup(&mut self, cgroup: &str) {
        cgroup.clone_into(&mut self.kubelet_cgroup);
    }

    /// Has it run by another command from its next start on, such as `env` or `prlimit` with their arguments.
    pub fn run_under(&mut self, command: impl IntoIterator<Item = String>) {
        self.under = command.into_iter().collect();
    }

    /// The same agent, but run from another build of `weir`.
    #[must_use]
    pub fn of_build(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Whether the program is this workspace's own.
    #[must_use]
    pub fn is_own_build(&self) -> bool {
        self.binary.is_none()
    }

    /// The same agent, but running in another place: a container beside the node's own namespace.
    #[must_use]
    pub fn elsewhere(mut self, own_place: &Place) -> Self {
        self.own_place = own_place.clone();
        self
    }

    /// The same agent, but with other pods, another control plane, or nothing kept from a former life.
    #[must_use]
    pub fn misconfigured(mut self, how: Misconfigured) -> Self {
        match how {
            Misconfigured::PodsCgroup(path) => self.pods_cgroup = path,
            Misconfigured::ControlPlane(url) => {
                self.options.delivery.retain(|flag| !flag.starts_with("--xds-address="));
                self.options.delivery.push(format!("--xds-address={url}"));
                self.folders.state.push("none");
            }
        }
        self
    }

    /// Starts the process without waiting for readiness.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.under.clone();
        command.extend([self.binary()?.display().to_string(), "agent".into()]);
        command.push(format!("--node={}", self.place.name()));
        command.push(format!("--pods-cgroup={}", self.pods_cgroup.display()));
        command.push(format!("--kubelet-cgroup={}", self.kubelet_cgroup));
        command.extend(self.folder_flags());
        command.extend(self.options.delivery.iter().cloned());
        command.extend(self.options.flags.iter().cloned());
        self.program = Some(self.own_place.spawn(&command)?);
        Ok(())
    }

    /// Waits until readiness says 200.
    ///
    /// # Errors
    /// If it does not; with the end of the log.
    pub fn becomes_ready(&mut self) -> Result<()> {
        let ready = wait::until("the agent is ready", READY_WITHIN, || {
            if !self.program.as_mut().is_some_and(Program::is_running) {
                return Ok(false);
            }
            let response = http::get(self.own_place.netns(), READINESS.parse()?, "/healthz/ready")?;
            ensure!(response.status == 200, "readiness says {} {}", response.status, response.body.trim());
            Ok(true)
        });
        let ready = ready.and_then(|running| if running { Ok(()) } else { bail!("it has ended") });
        ready.with_context(|| format!("agent of {}; its log ends with:\n{}", self.place.name(), self.tail()))
    }

    /// Waits until readiness says that it waits for something.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn is_not_ready_for(&self, task: &str, within: Duration) -> Result<()> {
        wait::until(&format!("readiness waits for {task}"), within, || {
            let response = http::get(self.own_place.netns(), READINESS.parse()?, "/healthz/ready")?;
            ensure!(response.status != 200 && response.body.contains(task), "{} {}", response.status, response.body);
            Ok(())
        })
    }

    /// Kills it, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// If it is not running, or does not become ready again.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.launch()?;
        self.becomes_ready()
    }

    /// Another agent for the same node and the same folders, not running yet: this one's successor.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self {
            place: self.place.clone(),
            own_place: self.own_place.clone(),
            options: self.options.clone(),
            folders: self.folders.clone(),
            pods_cgroup: self.pods_cgroup.clone(),
            kubelet_cgroup: self.kubelet_cgroup.clone(),
            under: self.under.clone(),
            binary: self.binary.clone(),
            program: None,
        }
    }

    /// Has a successor take this one's place, and waits until it serves and is ready. Returns this one, which drains then, and when the
    /// successor began to serve.
    ///
    /// # Errors
    /// If it does not serve in time; with the end of both logs.
    pub fn replace(&mut self) -> Result<(Self, SystemTime)> {
        let mut successor = self.successor();
        successor.launch()?;
        let serves = wait::until("the successor serves", Duration::from_secs(20), || {
            ensure!(self.log().contains("a successor serves the node"), "not yet");
            Ok(SystemTime::now())
        });
        let serves = serves.with_context(|| format!("{}\n{}", self.tail(), successor.tail()))?;
        let old = std::mem::replace(self, successor);
        self.becomes_ready()?;
        Ok((old, serves))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn finish(&mut self, within: Duration) -> Result<Output> {
        self.program.take().context("the agent is not running")?.finish(within)
    }

    /// Asks it to end, as a rollout does, and waits for the end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self, within: Duration) -> Result<Output> {
        self.program.take().context("the agent is not running")?.stop(within)
    }

    pub(super) fn binary(&self) -> Result<PathBuf> {
        self.binary.clone().map_or_else(|| binary("weir"), Ok)
    }

    /// Path of its enrolment socket.
    #[must_use]
    pub fn socket(&self) -> String {
        self.folders.run.join("agent.sock").display().to_string()
    }

    #[must_use]
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The folders as flags, as `weir agent` and `weir uninstall` take them.
    #[must_use]
    pub fn folder_flags(&self) -> Vec<String> {
        let Folders { bpf, run, state } = &self.folders;
        vec![
            format!("--bpf-dir={}", bpf.display()),
            format!("--run-dir={}", run.display()),
            format!("--state-dir={}", state.display()),
        ]
    }

    /// Where it runs.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Removes what `weir uninstall` removes, with the agent's own folders.
    ///
    /// # Errors
    /// If it fails.
    pub fn uninstall(&self) -> Result<Output> {
        let mut arguments = vec!["uninstall".to_owned()];
        arguments.extend(self.folder_flags());
        let output = self.weir(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        ensure!(output.success, "weir uninstall: {}", output.summary());
        Ok(output)
    }

    /// True if a folder of the agent holds anything.
    #[must_use]
    pub fn has_pins(&self) -> bool {
        fs::read_dir(&self.folders.bpf).is_ok_and(|mut entries| entries.next().is_some())
    }
}
