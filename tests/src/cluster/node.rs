//! A node: a room with containerd, a real kubelet and kube-proxy, connected to the control plane's bridge.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::control_plane::ControlPlane;
use super::mode::{Containerd, Mode, Proxy};
use super::network::{BRIDGE, CONTROL_PLANE, node, pods_of};
use super::node_files;
use super::parts::{Parts, beside};
use super::room::Room;
use crate::place::Place;
use crate::program::Program;
use crate::run::Run;
use crate::wait;

/// How long containerd may take until it can be talked to.
const CONTAINERD: Duration = Duration::from_secs(30);
/// How long one image may take to be unpacked.
const IMPORT: Duration = Duration::from_secs(120);
/// Plugins of containerd's package that the pods' network is made with.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// The image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "weir.test/pause:1";

/// What a node is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub name: &'a str,
    /// Place among the nodes, from 1: its addresses follow from it.
    pub index: usize,
    /// How many nodes there are.
    pub count: usize,
    pub mode: Mode,
    pub proxy: Proxy,
    pub containerd: Containerd,
    /// Whether its pods ask the cluster's name server.
    pub dns: bool,
}

/// A node, running.
#[derive(Debug)]
pub struct Node {
    /// First: programs end before their room.
    containerd: Option<Program>,
    kubelet: Option<Program>,
    kube_proxy: Option<Program>,
    room: Room,
    folder: PathBuf,
    address: String,
    mode: Mode,
    which: Containerd,
    parts: Parts,
    kubeconfig: PathBuf,
}

impl Node {
    /// Opens the node's room, connects it and starts containerd, without waiting for that.
    ///
    /// # Errors
    /// If the kernel refuses, or a file cannot be written.
    pub fn open(run: &Run, parts: &Parts, control_plane: &ControlPlane, plan: Plan<'_>) -> Result<Self> {
        let folder = run.bulk()?.join(plan.name);
        fs::create_dir_all(&folder)?;
        let (mode, shown) = (plan.mode.to_string(), folder.display().to_string());
        let role = ["node", plan.name, &mode, &shown];
        let room = Room::open(run, parts, plan.name, &["--uts", "--ipc", "--cgroup"], &role)?;
        connect(&room, control_plane.room(), plan)?;
        let mut made = Self {
            containerd: None,
            kubelet: None,
            kube_proxy: None,
            room,
            folder,
            address: node(plan.index),
            mode: plan.mode,
            which: plan.containerd,
            parts: parts.clone(),
            kubeconfig: control_plane.kubeconfig(),
        };
        made.write_files(plan)?;
        made.start_containerd()?;
        Ok(made)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.room.name()
    }

    /// Its address in the network of nodes.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where programs of the node run: in its namespaces and cgroups.
    #[must_use]
    pub fn place(&self) -> &Place {
        self.room.place()
    }

    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Its folder on disk, which is the same path inside.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The logs of its pods' containers that there are now.
    #[must_use]
    pub fn pod_logs(&self) -> Vec<PathBuf> {
        let below = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten();
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
        };
        below(self.folder.join("log/pods")).into_iter().flat_map(below).flat_map(below).collect()
    }

    /// The cgroup of version 2 that a pod's containers are below, as this machine sees it; by the path that the kubelet
    /// or the runtime gives it.
    #[must_use]
    pub fn pods_cgroup(&self) -> PathBuf {
        self.room.cgroup().join("kubepods")
    }

    /// Waits for containerd and gives it images, each an OCI archive.
    ///
    /// # Errors
    /// If containerd does not come up, or an archive is not one.
    pub fn import(&mut self, archives: &[PathBuf]) -> Result<()> {
        self.containerd_listens()?;
        let ctr = self.parts.containerd(self.which, "ctr")?.display().to_string();
        for archive in archives {
            let shown = archive.display().to_string();
            self.place()
                .run_within(IMPORT, &[&ctr, "--namespace=k8s.io", "images", "import", &shown])
                .with_context(|| format!("giving {} to {}", shown, self.name()))?;
        }
        Ok(())
    }

    fn containerd_listens(&mut self) -> Result<()> {
        let socket = self.room.path("/run/containerd/containerd.sock");
        let containerd = self.containerd.as_mut().context("containerd was stopped")?;
        wait::until("containerd listens", CONTAINERD, || {
            ensure!(containerd.is_running(), "it ended:\n{}", containerd.tail());
            ensure!(socket.exists(), "it has made no socket");
            Ok(())
        })
    }

    /// Starts the kubelet, which ends if containerd does not answer; its node becomes ready a little later.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_kubelet(&mut self) -> Result<()> {
        self.containerd_listens()?;
        self.kubelet = Some(self.spawn_kubelet()?);
        Ok(())
    }

    /// Starts another kubelet in the place of one that was ended from outside; it ends when this is dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_kubelet(&self) -> Result<Program> {
        let command = [
            self.parts.program("kubelet").display().to_string(),
            format!("--config={}", self.folder.join("kubelet.yaml").display()),
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--hostname-override={}", self.name()),
            format!("--node-ip={}", self.address),
            format!("--cert-dir={}", self.folder.join("kubelet-certificates").display()),
            "--v=2".to_owned(),
        ];
        self.place().spawn(&command)
    }

    /// Kills the kubelet; its pods go on.
    pub fn kill_kubelet(&mut self) {
        self.kubelet = None;
    }

    /// Starts kube-proxy in the mode of the plan.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_kube_proxy(&mut self) -> Result<()> {
        let configuration = format!("--config={}", self.folder.join("kube-proxy.yaml").display());
        let command = [self.parts.program("kube-proxy").display().to_string(), configuration, "--v=2".to_owned()];
        self.kube_proxy = Some(self.place().spawn(&command)?);
        Ok(())
    }

    /// The ends of its programs' outputs, for messages; empty for those that run.
    pub fn obituaries(&mut self) -> String {
        let programs = [&mut self.containerd, &mut self.kubelet, &mut self.kube_proxy];
        let ended =
            programs.into_iter().flatten().filter_map(|program| (!program.is_running()).then(|| program.tail()));
        ended.collect::<Vec<_>>().join("\n")
    }

    /// Kills containerd; its containers go on.
    pub fn kill_containerd(&mut self) {
        self.containerd = None;
    }

    /// Starts containerd, without waiting for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_containerd(&mut self) -> Result<()> {
        let containerd = self.parts.containerd(self.which, "containerd")?.display().to_string();
        let configuration = self.folder.join("containerd.toml").display().to_string();
        self.containerd = Some(self.place().spawn(&[&containerd, "--config", &configuration])?);
        Ok(())
    }

    fn write_files(&self, plan: Plan<'_>) -> Result<()> {
        let plugins = self.room.path("/opt/cni/bin");
        for plugin in PLUGINS {
            fs::copy(self.parts.debian("usr/lib/cni").join(plugin), plugins.join(plugin))
                .with_context(|| format!("copying the network plugin {plugin}"))?;
        }
        fs::write(self.room.path("/etc/cni/net.d/10-pods.conflist"), node_files::container_network(plan.index))?;
        let runtime = self.runtime()?;
        let files = [
            ("containerd.toml", self.containerd_configuration(&runtime)?),
            ("kubelet.yaml", node_files::kubelet(self.mode, plan.index, plan.dns)),
            ("kube-proxy.yaml", node_files::proxy(plan.proxy, plan.name, &self.kubeconfig)),
        ];
        for (name, text) in files {
            fs::write(self.folder.join(name), text)?;
        }
        Ok(())
    }

    fn containerd_configuration(&self, runtime: &Path) -> Result<String> {
        let shim = self.parts.containerd(self.which, "containerd-shim-runc-v2")?;
        Ok(match self.which {
            Containerd::Debian => node_files::containerd(self.mode, runtime, PAUSE_IMAGE),
            Containerd::Recent => node_files::recent_containerd(self.mode, runtime, &shim, PAUSE_IMAGE),
        })
    }

    /// The container runtime: runc, or what stands before it where the kubelet names no cgroups.
    fn runtime(&self) -> Result<PathBuf> {
        let runc = self.parts.debian("usr/sbin/runc");
        if self.mode == Mode::Hybrid {
            return Ok(runc);
        }
        let stand_in = self.folder.join("runc-pod");
        symlink(beside("weir-runc-pod")?, &stand_in)?;
        symlink(runc, self.folder.join("runc"))?;
        Ok(stand_in)
    }
}

/// Connects a node to the bridge, and everybody's pods to everybody.
fn connect(node_room: &Room, control_plane: &Room, plan: Plan<'_>) -> Result<()> {
    let (link, own, inmate) = (format!("to-{}", plan.name), node(plan.index), node_room.inmate());
    control_plane.ip(&format!(
        "link add {link} type veth peer name eth0 netns {inmate}\nlink set {link} master {BRIDGE} up\n\
         route add {} via {own}\n",
        pods_of(plan.index)
    ))?;
    let mut lines = format!(
        "link set lo up\naddr add {own}/24 dev eth0\nlink set eth0 up\nroute add default via {CONTROL_PLANE}\n"
    );
    for other in (1..=plan.count).filter(|other| *other != plan.index) {
        lines += &format!("route add {} via {}\n", pods_of(other), node(other));
    }
    node_room.ip(&lines)?;
    node_room.sysctl("net/ipv4/ip_forward", "1")
}
