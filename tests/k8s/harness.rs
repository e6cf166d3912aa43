//! What cases of this table run on: real clusters, shared between cases where that is cheap.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use weir_tests::cluster::mode::{Containerd, Mode, Proxy};
use weir_tests::cluster::{Cluster, Settings, hierarchies, images};
use weir_tests::table::{self, Fixture, Skip};

use crate::http::{HttpCase, HttpPods};
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
    /// The same with the pods of the cases about HTTP, which these share.
    Http(&'static HttpCase),
    /// Two nodes, istiod and Weir's DaemonSet, to do with as it likes; its own.
    OwnMesh(fn(&mut Cluster) -> Result<()>),
    /// Two nodes made otherwise: their containerd offers NRI, their kube-proxy writes rules of iptables. With istiod, and
    /// with Weir as former checks of this kind have left it; shared, no namespaces to be left in the mesh.
    Otherwise(fn(&mut Cluster) -> Result<()>),
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
    Ok(Settings { purpose, mode, proxy, containerd, istiod: true, dns: false, images: images::all()? })
}

/// Which of the shared clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Make {
    /// As usual, without Weir.
    Bare,
    /// The same with Weir in it.
    Meshed,
    Otherwise,
}

impl Make {
    fn settings(self, mode: Mode) -> Result<Settings> {
        let usual = usual(mode)?;
        Ok(match self {
            Self::Bare | Self::Meshed => usual,
            Self::Otherwise => Settings { containerd: Containerd::Recent, proxy: Proxy::Iptables, ..usual },
        })
    }
}

/// Clusters that cases share, one at a time: two would be in each other's way.
#[derive(Debug)]
pub(crate) struct Shared {
    mode: Mode,
    keep: bool,
    /// In the shared cluster.
    http: Option<HttpPods>,
    /// The case that failed left what is shared as it found it.
    is_left_as_found: bool,
    cluster: Option<(Make, Cluster)>,
}

impl Shared {
    /// Nothing yet. With `keep`, the cluster of a failed case is left up until somebody presses Enter.
    pub(crate) fn new(mode: Mode, keep: bool) -> Self {
        Self { mode, keep, http: None, is_left_as_found: false, cluster: None }
    }

    /// The shared cluster that is made so. Weir is brought into one that is there; one that it is in, or that is made
    /// another way, is taken down first.
    fn shared(&mut self, wanted: Make) -> Result<&mut Cluster> {
        let begun = if wanted == Make::Meshed { Make::Bare } else { wanted };
        if self.cluster.as_ref().is_some_and(|(made, _)| ![begun, wanted].contains(made)) {
            self.abandon();
        }
        if self.cluster.is_none() {
            let cluster = Cluster::start(wanted.settings(self.mode)?).context("bringing up a shared cluster")?;
            self.cluster = Some((begun, cluster));
        }
        let (made, cluster) = self.cluster.as_mut().expect("was just made");
        if *made != wanted {
            let installed = mesh::install(cluster).context("bringing Weir into the shared cluster");
            installed.map_err(|error| with_logs(error, cluster, self.keep))?;
            *made = wanted;
        }
        Ok(cluster)
    }

    fn on_shared(&mut self, wanted: Make, check: fn(&mut Cluster) -> Result<()>) -> Result<()> {
        let keep = self.keep;
        self.http = None;
        let cluster = self.shared(wanted)?;
        check(cluster).map_err(|error| with_logs(error, cluster, keep))
    }

    fn on_http_pods(&mut self, case: &HttpCase) -> Result<()> {
        let (keep, pods) = (self.keep, self.http.take());
        let cluster = self.shared(Make::Meshed)?;
        let pods = pods.map_or_else(|| HttpPods::start(&cluster.kubectl), Ok);
        let mut pods = pods.map_err(|error| with_logs(error, cluster, keep))?;
        let checked = pods.check(case).map_err(|error| with_logs(error, cluster, keep));
        // A case removes what it applied, however it went.
        (self.http, self.is_left_as_found) = (Some(pods), true);
        checked
    }
}

impl Fixture for Shared {
    type Check = Check;

    fn check(&mut self, check: Check) -> Result<()> {
        self.is_left_as_found = false;
        match check {
            Check::Cluster(check) => self.on_shared(Make::Bare, check),
            Check::Mesh(check) => self.on_shared(Make::Meshed, check),
            Check::Http(case) => self.on_http_pods(case),
            Check::Otherwise(check) => self.on_shared(Make::Otherwise, check),
            Check::OwnMesh(check) => {
                self.abandon();
                let mut cluster = Cluster::start(usual(self.mode)?).context("bringing up a cluster")?;
                let checked = mesh::install(&cluster).and_then(|()| check(&mut cluster));
                checked.map_err(|error| with_logs(error, &cluster, self.keep))
            }
            Check::Alone(check) => {
                self.abandon();
                check(self.mode)
            }
        }
    }

    fn abandon(&mut self) {
        if std::mem::take(&mut self.is_left_as_found) {
            return;
        }
        self.http = None;
        self.cluster = None;
    }
}

/// A failure with what helps to understand it: where the logs are, and how Weir's pods are.
fn with_logs(error: anyhow::Error, cluster: &Cluster, keep: bool) -> anyhow::Error {
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
