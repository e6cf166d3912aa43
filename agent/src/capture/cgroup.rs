//! Cgroups as capture needs them: their ids, where the agent itself is, and where `sock_ops` must be attached.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::CaptureError;

/// A cgroup of the v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    pub(super) path: PathBuf,
    /// As the kernel programs see it.
    pub(super) id: u64,
}

impl Cgroup {
    /// # Errors
    /// When there is no such cgroup, or it is not of version 2.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = || format!("cannot open cgroup {}", path.display());
        let path = path.canonicalize().map_err(CaptureError::because(failed))?;
        let kind = statfs(&path).map_err(CaptureError::because(failed))?.filesystem_type();
        if kind != CGROUP2_SUPER_MAGIC {
            return Err(CaptureError::Unsupported(format!("{} is not a cgroup of version 2", path.display())));
        }
        // The id of a cgroup is the inode of its directory.
        let id = fs::metadata(&path).map_err(CaptureError::because(failed))?.ino();
        Ok(Self { path, id })
    }

    /// The cgroup of this process, in the hierarchy of another one.
    ///
    /// # Errors
    /// When it cannot be found there, such as in a container that sees only a part of the hierarchy.
    pub(super) fn of_this_process(relative: &Self) -> Result<Self, CaptureError> {
        let mount = mount_of(&relative.path)
            .map_err(CaptureError::because(|| "cannot read /proc/self/mountinfo".to_owned()))?
            .ok_or_else(|| CaptureError::Unsupported(format!("{} is on no cgroup2 mount", relative.path.display())))?;
        let table = fs::read_to_string("/proc/self/cgroup")
            .map_err(CaptureError::because(|| "cannot read /proc/self/cgroup".to_owned()))?;
        let named = own_path(&table).map(|path| mount.join(path));
        // In a cgroup namespace the name is relative to the namespace, not to the mount: then look everywhere.
        let found = match named.filter(|path| holds_this_process(path)) {
            Some(path) => Some(path),
            None => search(&mount),
        };
        let path = found.ok_or_else(|| {
            CaptureError::Unsupported(format!("the agent's own cgroup is not below {}", mount.display()))
        })?;
        Self::open(&path)
    }

    /// Whether a cgroup is this one or above it.
    pub(super) fn is_within(&self, id: u64) -> bool {
        self.path.ancestors().any(|ancestor| fs::metadata(ancestor).is_ok_and(|directory| directory.ino() == id))
    }

    fn contains(&self, other: &Self) -> bool {
        other.path.starts_with(&self.path)
    }
}

/// Where to attach a program that must see the sockets of both: an ancestor sees its descendants' too, and a program
/// attached to both would run twice.
pub(super) fn covering<'a>(pods: &'a Cgroup, agent: &'a Cgroup) -> Vec<&'a Cgroup> {
    if agent.contains(pods) {
        vec![agent]
    } else if pods.contains(agent) {
        vec![pods]
    } else {
        vec![pods, agent]
    }
}

fn own_path(table: &str) -> Option<&str> {
    table.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn holds_this_process(cgroup: &Path) -> bool {
    let own = std::process::id();
    fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|procs| procs.lines().any(|pid| pid.parse() == Ok(own)))
}

/// The cgroup of this process, at or below one.
pub(super) fn search(cgroup: &Path) -> Option<PathBuf> {
    if holds_this_process(cgroup) {
        return Some(cgroup.to_owned());
    }
    let children = fs::read_dir(cgroup).ok()?.filter_map(Result::ok);
    children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())).find_map(|child| search(&child.path()))
}

/// The innermost cgroup2 mount that a path is on.
fn mount_of(path: &Path) -> io::Result<Option<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(innermost_mount(&table, path))
}

fn innermost_mount(table: &str, path: &Path) -> Option<PathBuf> {
    table
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            (file_system.split(' ').next() == Some("cgroup2")).then_some(())?;
            mount.split(' ').nth(4).map(PathBuf::from)
        })
        .filter(|mount| path.starts_with(mount))
        .max_by_key(|mount| mount.as_os_str().len())
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

    #[test]
    fn the_v2_line_names_the_own_cgroup() {
        assert_eq!(own_path("4:memory:/a\n0::/system.slice/weir.service\n"), Some("system.slice/weir.service"));
        assert_eq!(own_path("0::/\n"), Some(""));
        assert_eq!(own_path("4:memory:/a\n"), None);
    }

    #[test]
    fn the_innermost_cgroup2_mount_counts() {
        let table = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     41 30 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                     42 30 0:38 / /host/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = |path| innermost_mount(table, Path::new(path));
        assert_eq!(found("/sys/fs/cgroup/unified/pods"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(found("/host/cgroup"), Some(PathBuf::from("/host/cgroup")));
        assert_eq!(found("/sys/fs/cgroup/memory"), None);
    }
}
