//! The forms a cluster comes in: how its nodes mount cgroups, what runs their containers, and what makes Services work.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

/// How the nodes see cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Version 2 alone at /sys/fs/cgroup, as distributions have it today. Pods are at `kubepods/pod<uid>/<container>`.
    /// This machine's controllers may belong to version 1, so no resource limit is enforced.
    V2,
    /// Version 1 with version 2 at /sys/fs/cgroup/unified. Pods are at `kubepods[/<class>]/pod<uid>/<container>`, and
    /// limits are enforced. Only on machines that still mount version 1.
    Hybrid,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V2, Self::Hybrid];

    /// Where a node mounts cgroup2.
    #[must_use]
    pub fn cgroup2(self) -> &'static str {
        match self {
            Self::V2 => "/sys/fs/cgroup",
            Self::Hybrid => "/sys/fs/cgroup/unified",
        }
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "v2" => Ok(Self::V2),
            "hybrid" => Ok(Self::Hybrid),
            _ => bail!("a cgroup mode is v2 or hybrid"),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        })
    }
}

/// Which containerd runs a node's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containerd {
    /// 1.6 of Debian 12, which has no NRI.
    Debian,
    /// 2.4, which offers NRI unless told otherwise.
    Recent,
}

impl FromStr for Containerd {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "debian" => Ok(Self::Debian),
            "recent" => Ok(Self::Recent),
            _ => bail!("containerd is debian or recent"),
        }
    }
}

impl fmt::Display for Containerd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::Recent => "recent",
        })
    }
}

/// What kube-proxy programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    Nftables,
    Iptables,
}

impl FromStr for Proxy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "nftables" => Ok(Self::Nftables),
            "iptables" => Ok(Self::Iptables),
            _ => bail!("kube-proxy's mode is nftables or iptables"),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        })
    }
}
