//! Settings of capture that depend on how the node is made: where its cgroups and its processes are seen. Every default
//! is found by looking; a value is needed only where that fails.

use std::path::PathBuf;

use clap::Args;

use super::Location;

/// Where the node's cgroups and processes are.
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
}
