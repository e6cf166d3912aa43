//! The forms a cluster comes in: how its nodes mount cgroups, what runs their containers, and what makes Services work.

use std::fmt;

use clap::ValueEnum;

/// How the nodes see cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Version 2 alone at /sys/fs/cgroup, as distributions have it today. Pods are at `kubepods/pod<uid>/<container>`.
    /// This machine's controllers may belong to version 1, so no resource limit is enforced.
    V2,
    /// Version 1 with version 2 at /sys/fs/cgroup/unified. Pods are at `kubepods[/<class>]/pod<uid>/<container>`, and
    /// limits are enforced. Only on machines that still mount version 1.
    Hybrid,
}

impl Mode {
    /// Where a node mounts cgroup2.
    #[must_use]
    pub fn cgroup2(self) -> &'static str {
        match self {
            Self::V2 => "/sys/fs/cgroup",
            Self::Hybrid => "/sys/fs/cgroup/unified",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_as_argument(self, f)
    }
}

/// Which containerd runs a node's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Containerd {
    /// 1.6 of Debian 12, which has no NRI.
    Debian,
    /// 2.4, which offers NRI unless told otherwise.
    Recent,
}

/// What kube-proxy programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Proxy {
    Nftables,
    Iptables,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_as_argument(self, f)
    }
}

fn write_as_argument(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
}
