//! A real Kubernetes cluster on this machine: control plane, nodes with containerd and kubelet, kube-proxy, istiod, each
//! in namespaces and cgroups of its own. Nothing of the machine is changed, and several clusters can be up beside each
//! other. Everything goes when the cluster is dropped, and also after a panic, a Ctrl-C or a SIGKILL; see [`crate::run`].
//!
//! A cluster belongs to the thread that started it, which has to outlive it.
//!
//! Modules are listed lowest first; each uses only those above it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub mod hierarchies;
pub mod mode;
pub mod network;
pub mod parts;

pub mod inside;

pub mod api;
pub mod room;

pub mod control_plane;

pub mod node_files;

pub mod kubectl;
pub mod node;

pub mod dns;
pub mod images;
pub mod istiod;

pub mod pods;

use control_plane::ControlPlane;
use dns::ClusterDns;
use istiod::Istiod;
use kubectl::Kubectl;
use mode::{Containerd, Mode, Proxy};
use node::{Node, Plan};
use parts::Parts;

use crate::run::Run;

/// The node on which tests put clients, and the one on which they put servers.
pub const CLIENT_NODE: &str = "na";
pub const SERVER_NODE: &str = "nb";
/// Names of the nodes, in their order.
pub const NODES: [&str; 2] = [CLIENT_NODE, SERVER_NODE];
/// How long nodes may take to become ready; some seconds on a quiet machine.
const JOINING: Duration = Duration::from_secs(90);

/// What is to be started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Becomes part of the run's name.
    pub purpose: String,
    pub mode: Mode,
    pub proxy: Proxy,
    pub containerd: Containerd,
    pub istiod: bool,
    /// Whether there is a name server, which pods ask unless they say otherwise.
    pub dns: bool,
    /// OCI archives that every node gets.
    pub images: Vec<PathBuf>,
}

/// How long each part took, from the start on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub api_ready: Duration,
    pub nodes_ready: Duration,
    pub all_ready: Duration,
}

/// A cluster. Dropping it takes it down.
#[derive(Debug)]
pub struct Cluster {
    pub kubectl: Kubectl,
    pub istiod: Option<Istiod>,
    dns: Option<ClusterDns>,
    pub nodes: Vec<Node>,
    pub control_plane: ControlPlane,
    pub settings: Settings,
    pub times: Times,
    parts: Parts,
    /// Last: takes away what the others lived on.
    run: Run,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes, and istiod and the name server if there are such, are ready.
    ///
    /// # Errors
    /// If something of it does not come up; with the end of its output.
    pub fn start(settings: Settings) -> Result<Self> {
        if settings.mode == Mode::Hybrid {
            hierarchies::can_be_hybrid()?;
        }
        let start = Instant::now();
        let parts = Parts::find()?;
        let run = Run::start(&settings.purpose)?;
        let control_plane = ControlPlane::start(&run, &parts)?;
        let kubectl = Kubectl::new(&control_plane, &parts);
        let times = Times { api_ready: start.elapsed(), ..Times::default() };
        let (istiod, dns, nodes) = (None, None, Vec::new());
        let mut cluster = Self { kubectl, istiod, dns, nodes, control_plane, settings, times, parts, run };
        cluster.open_nodes()?;
        if cluster.settings.dns {
            cluster.dns = Some(ClusterDns::start(&cluster.control_plane, &cluster.kubectl, &cluster.parts)?);
        }
        if cluster.settings.istiod {
            Istiod::prepare(&cluster.kubectl, &cluster.parts)?;
            cluster.istiod = Some(Istiod::start(&cluster.control_plane, &cluster.parts)?);
        }
        let images = cluster.settings.images.clone();
        for node in &mut cluster.nodes {
            node.import(&images)?;
        }
        cluster.wait_for_nodes()?;
        cluster.times.nodes_ready = start.elapsed();
        if let Some(istiod) = &mut cluster.istiod {
            istiod.ready()?;
        }
        if let Some(dns) = &mut cluster.dns {
            dns.ready(&cluster.control_plane)?;
        }
        cluster.times.all_ready = start.elapsed();
        Ok(cluster)
    }

    /// The cluster's run: its folders and its name.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The node of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("there is no node {name}"))
    }

    /// Runs istioctl with an administrator's rights; what it printed.
    ///
    /// # Errors
    /// With its words.
    pub fn istioctl<S: AsRef<str>>(&self, arguments: &[S]) -> Result<String> {
        let kubeconfig = format!("--kubeconfig={}", self.control_plane.kubeconfig().display());
        let mut command = vec![self.parts.program("istioctl").display().to_string(), kubeconfig];
        command.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self.control_plane.room().place().run_within(Duration::from_secs(60), &command)
    }

    /// Copies all logs, also those of pods, to where they outlive the cluster, and says where that is.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        let kept = self.run.keep_logs()?;
        for node in &self.nodes {
            for log in node.pod_logs() {
                // …/pods/NAMESPACE_NAME_UID/CONTAINER/N.log
                let mut parts = log.iter().rev().map(|part| part.to_string_lossy().into_owned());
                let (file, container, pod) = (parts.next(), parts.next(), parts.next());
                let name = [Some(node.name().to_owned()), pod, container, file].into_iter().flatten();
                fs::copy(&log, kept.join(name.collect::<Vec<_>>().join("-")))?;
            }
        }
        Ok(kept)
    }

    /// Writes two scripts for people: `k` is kubectl, `ne NODE COMMAND…` runs a command in a node.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_scripts(&self) -> Result<(PathBuf, PathBuf)> {
        let variables = self.parts.environment().into_iter();
        let variables = variables.map(|(name, value)| format!("{}='{}'", name.display(), value.display()));
        let variables = variables.collect::<Vec<_>>().join(" ");
        let words = self.kubectl.words().join(" ");
        let inmate = self.control_plane.room().inmate();
        let folder = self.run.bulk()?;
        let cache = self.control_plane.folder().join("kubectl");
        let enter = format!("exec nsenter --net --target {inmate} -- env KUBECACHEDIR={}", cache.display());
        let k = script(&folder.join("k"), &format!("{enter} {words} \"$@\"\n"))?;
        let mut text = "node=$1; shift\ncase $node in\n".to_owned();
        for node in &self.nodes {
            let enter: Vec<_> =
                node.room().cgroups().map(|path| format!("echo $$ > {}/cgroup.procs", path.display())).collect();
            text += &format!("{}) inmate={}; {} ;;\n", node.name(), node.room().inmate(), enter.join("; "));
        }
        text += "*) echo \"there is no node $node\" >&2; exit 1 ;;\nesac\n";
        let all = "--mount --net --uts --ipc --pid --cgroup";
        text += &format!("exec nsenter {all} --target $inmate -- env {variables} \"$@\"\n");
        Ok((k, script(&folder.join("ne"), &text)?))
    }

    fn open_nodes(&mut self) -> Result<()> {
        let Settings { mode, proxy, containerd, dns, .. } = self.settings;
        for (index, name) in (1..).zip(NODES) {
            let plan = Plan { name, index, count: NODES.len(), mode, proxy, containerd, dns };
            self.nodes.push(Node::open(&self.run, &self.parts, &self.control_plane, plan)?);
        }
        for node in &mut self.nodes {
            // kube-proxy waits for its node; the kubelet for containerd.
            node.start_kubelet()?;
            node.start_kube_proxy()?;
        }
        Ok(())
    }

    fn wait_for_nodes(&mut self) -> Result<()> {
        let ready = self.kubectl.until("all nodes are ready", JOINING, |kubectl| {
            let nodes = kubectl.get(&["nodes"])?;
            let ready = nodes["items"].as_array().into_iter().flatten().filter(|node| {
                let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
                conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            });
            let count = ready.count();
            ensure!(count == NODES.len(), "{count} of {} are", NODES.len());
            Ok(())
        });
        ready.map_err(|error| {
            let ended: String = self.nodes.iter_mut().map(Node::obituaries).collect();
            error.context(ended)
        })
    }
}

fn script(path: &Path, text: &str) -> Result<PathBuf> {
    fs::write(path, format!("#!/bin/sh\n{text}")).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(path.to_owned())
}
