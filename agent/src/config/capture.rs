//! Settings of capture. Where the node's cgroups and its processes are depends on how the node is made: every default is found
//! by looking, and a value is needed only where that fails.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ipnet::IpNet;

/// Where the node's cgroups and processes are, and what is not captured.
#[derive(Debug, Clone, Args)]
pub struct CaptureConfig {
    /// The node's cgroups as this process sees them: a cgroup2 mount, or the directory above `unified`. Unless set:
    /// `/host/cgroup` where that exists (the agent is a pod), else `/sys/fs/cgroup`.
    #[arg(long, env = "WEIR_CGROUP_ROOT")]
    pub cgroup_root: Option<PathBuf>,
    /// Cgroup (v2) under which every pod of this node lives, such as /sys/fs/cgroup/kubepods.slice. Unless set: the
    /// topmost one named like that above the agent itself, or else below the root.
    #[arg(long, env = "WEIR_PODS_CGROUP")]
    pub pods_cgroup: Option<PathBuf>,
    /// Cgroup of the kubelet, whose probes reach applications as they are: a directory, by its whole path or below the
    /// root; `auto` finds the process; `off` makes probes plaintext like any other.
    #[arg(long, env = "WEIR_KUBELET_CGROUP", default_value = "auto")]
    pub kubelet_cgroup: Location,
    /// The node's processes as this process sees them, to find the kubelet among them. Unless set: `/host/proc` where
    /// that exists, else `/proc`.
    #[arg(long, env = "WEIR_HOST_PROC")]
    pub host_proc: Option<PathBuf>,
    /// Destination blocks that are never captured.
    #[arg(long, env = "WEIR_EXCLUDE_CIDRS", value_delimiter = ',')]
    pub exclude_cidrs: Vec<IpNet>,
    /// Destination ports that are never captured.
    #[arg(long, env = "WEIR_EXCLUDE_PORTS", value_delimiter = ',')]
    pub exclude_ports: Vec<u16>,
    /// Inbound ports of pods that are never captured.
    #[arg(long, env = "WEIR_EXCLUDE_INBOUND_PORTS", value_delimiter = ',')]
    pub exclude_inbound_ports: Vec<u16>,
    /// What becomes of a captured pod's connection that cannot go through the agent: its socket is bound to a device or an
    /// address of a second interface, or the pod has no address to send from.
    #[arg(long, env = "WEIR_UNCAPTURABLE_OUTBOUND", default_value = "refuse")]
    pub uncapturable_outbound: UncapturableOutbound,
}

/// What becomes of an outbound connection that cannot go through the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UncapturableOutbound {
    /// connect(2) fails with EPERM, or with ENETUNREACH where the pod has no address of that family.
    Refuse,
    /// It leaves the pod as if there were no capture: plaintext without identity, whatever policy says.
    Pass,
}

impl UncapturableOutbound {
    /// As the setting is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Pass => "pass",
        }
    }
}

/// Something of the node that is found by looking, unless a setting says where it is or that it is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Looked for; it is no error if there is none.
    Auto,
    /// Not used.
    Off,
    /// Here; it is an error if it is not.
    At(PathBuf),
}

impl FromStr for Location {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" | "" => Self::Auto,
            "off" => Self::Off,
            path => Self::At(path.into()),
        })
    }
}

impl Location {
    /// As the setting is written.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::At(path) => path.display().to_string(),
        }
    }
}
