//! What cases of this table run on: real clusters, shared between cases where that is cheap.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use weir_tests::cluster::mode::{Containerd, Mode, Proxy};
use weir_tests::cluster::{Cluster, Settings, hierarchies, images};
use weir_tests::table::{self, Skip, Stage};

use crate::mesh;

/// A behaviour and how it is checked.
pub(crate) type Case = table::Case<Check>;

/// What a check needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// Two nodes and istiod, without Weir on the nodes; shared, to be left as found.
    Cluster(fn(&mut Cluster) -> Result<()>),
    /// The same with Weir's DaemonSet, ready; shared, to be left as found.
    Mesh(fn(&mut Cluster) -> Result<()>),
    /// Two nodes, istiod and Weir's DaemonSet, to do with as it likes; its own.
    OwnMesh(fn(&mut Cluster) -> Result<()>),
    /// Two nodes whose containerd offers NRI, and istiod, to do with as it likes; its own.
    WithNri(fn(&mut Cluster) -> Result<()>),
    /// Whatever it makes itself.
    Alone(fn(Mode) -> Result<()>),
}

/// What is started unless a case says otherwise.
///
/// # Errors
/// If there are no images.
pub(crate) fn usual(mode: Mode) -> Result<Settings> {
    let purpose = format!("k8s-{mode}-");
    let (proxy, containerd) = (Proxy::Nftables, Containerd::Debian);
    Ok(Settings { purpose, mode, proxy, containerd, istiod: true, images: images::all()? })
}

/// Clusters that cases share.
#[derive(Debug)]
pub(crate) struct Shared {
    mode: Mode,
    keep: bool,
    cluster: Option<Cluster>,
    /// Whether Weir is in the shared cluster.
    meshed: bool,
}

impl Shared {
    /// Nothing yet. With `keep`, the cluster of a failed case is left up until somebody presses Enter.
    pub(crate) fn new(mode: Mode, keep: bool) -> Self {
        Self { mode, keep, cluster: None, meshed: false }
    }

    fn shared(&mut self, meshed: bool) -> Result<&mut Cluster> {
        if self.meshed && !meshed {
            // A case for a cluster without Weir after one with it: only with unusual filters or orders.
            self.abandon();
        }
        if self.cluster.is_none() {
            self.cluster = Some(Cluster::start(usual(self.mode)?).context("bringing up the shared cluster")?);
        }
        let cluster = self.cluster.as_mut().expect("was just made");
        if meshed && !self.meshed {
            let installed = mesh::install(cluster).context("bringing Weir into the shared cluster");
            installed.map_err(|error| told(error, cluster, self.keep))?;
            self.meshed = true;
        }
        Ok(cluster)
    }
}

impl Stage for Shared {
    type Check = Check;

    fn check(&mut self, check: Check) -> Result<()> {
        let keep = self.keep;
        match check {
            Check::Cluster(check) => {
                let cluster = self.shared(false)?;
                check(cluster).map_err(|error| told(error, cluster, keep))
            }
            Check::Mesh(check) => {
                let cluster = self.shared(true)?;
                check(cluster).map_err(|error| told(error, cluster, keep))
            }
            Check::OwnMesh(check) => {
                let mut cluster = Cluster::start(usual(self.mode)?).context("bringing up a cluster")?;
                mesh::install(&cluster).and_then(|()| check(&mut cluster)).map_err(|error| told(error, &cluster, keep))
            }
            Check::WithNri(check) => {
                let settings = Settings { containerd: Containerd::Recent, ..usual(self.mode)? };
                let mut cluster = Cluster::start(settings).context("bringing up a cluster with NRI")?;
                check(&mut cluster).map_err(|error| told(error, &cluster, keep))
            }
            Check::Alone(check) => check(self.mode),
        }
    }

    fn abandon(&mut self) {
        self.cluster = None;
        self.meshed = false;
    }
}

/// A failure with what helps to understand it: where the logs are, and how Weir's pods are.
fn told(error: anyhow::Error, cluster: &Cluster, keep: bool) -> anyhow::Error {
    if error.is::<Skip>() {
        return error;
    }
    let kept = cluster.keep_logs().map_or_else(|error| format!("{error:#}"), |path| path.display().to_string());
    if keep && let Ok((k, ne)) = cluster.write_scripts() {
        println!("{error:#}\nThe cluster is up until Enter: {} {}", k.display(), ne.display());
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    anyhow!("{error:#}\nlogs are in {kept}")
}

/// What every case needs and this machine lacks, if anything.
pub(crate) fn missing_features(mode: Mode) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("namespaces and kernel programs need root".into());
    }
    if let Err(error) = weir_tests::cgroup::root() {
        return Some(format!("{error:#}"));
    }
    if !Path::new("/proc/self/ns/cgroup").exists() {
        return Some("this kernel has no cgroup namespaces".into());
    }
    match mode {
        Mode::V2 => None,
        Mode::Hybrid => hierarchies::can_be_hybrid().err().map(|error| format!("{error:#}")),
    }
}
