//! A cgroup of the v2 hierarchy with the id that the kernel programs use, and where `sock_ops` must be attached to run for the
//! sockets of two cgroups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::error::CaptureError;

/// A cgroup of the v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    pub(super) path: PathBuf,
    /// As `bpf_get_current_cgroup_id` returns it.
    pub(super) id: u64,
}

impl Cgroup {
    /// # Errors
    /// When there is no such cgroup, or it is not of version 2.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = || format!("cannot open cgroup {}", path.display());
        let path = path.canonicalize().map_err(CaptureError::because(failed))?;
        if !is_v2(&path) {
            return Err(CaptureError::Unsupported(format!("{} is not a cgroup of version 2", path.display())));
        }
        // The id of a cgroup is the inode of its directory.
        let id = fs::metadata(&path).map_err(CaptureError::because(failed))?.ino();
        Ok(Self { path, id })
    }

    /// Whether a cgroup is this one or above it.
    pub(super) fn is_within(&self, id: u64) -> bool {
        self.path.ancestors().any(|ancestor| fs::metadata(ancestor).is_ok_and(|directory| directory.ino() == id))
    }

    /// Whether another is this one or below it.
    pub(super) fn contains(&self, other: &Self) -> bool {
        other.path.starts_with(&self.path)
    }

    /// False once it was removed, even if its path leads to another one by now.
    pub(super) fn is_alive(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|directory| directory.ino() == self.id)
    }
}

/// Whether a directory is of the v2 hierarchy.
pub(super) fn is_v2(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// Where to attach a program that must run for the sockets of both: a program at an ancestor runs for its descendants too, and
/// one that is attached to both would run twice.
pub(super) fn covering<'a>(pods: &'a Cgroup, agent: &'a Cgroup) -> Vec<&'a Cgroup> {
    if agent.contains(pods) {
        vec![agent]
    } else if pods.contains(agent) {
        vec![pods]
    } else {
        vec![pods, agent]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(path: &str) -> Cgroup {
        Cgroup { path: PathBuf::from(path), id: 0 }
    }

    #[test]
    fn one_attachment_covers_what_lies_below_it() {
        for (pods, agent, expected) in [
            ("/c/kubepods", "/c/system/weir", vec!["/c/kubepods", "/c/system/weir"]),
            ("/c/kubepods", "/c/kubepods/pod1/weir", vec!["/c/kubepods"]),
            ("/c/kubepods", "/c", vec!["/c"]),
            ("/c/kubepods", "/c/kubepods", vec!["/c/kubepods"]),
            ("/c/kubepods", "/c/kubepods2", vec!["/c/kubepods", "/c/kubepods2"]),
        ] {
            let (pods, agent) = (cgroup(pods), cgroup(agent));
            let found: Vec<_> = covering(&pods, &agent).iter().map(|c| c.path.display().to_string()).collect();
            assert_eq!(found, expected);
        }
    }
}
