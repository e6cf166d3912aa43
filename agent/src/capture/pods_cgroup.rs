//! Where the node's pods are among the cgroups, when nobody says: above the agent's own pod, or where a kubelet puts them.
//! Looks at names of directories only.

use std::fs;
use std::path::{Path, PathBuf};

use super::CaptureError;
use super::cgroup::{Cgroup, search};

/// A part of the names of cgroups that hold pods and nothing else: `kubepods`, `kubepods.slice`, `kubelet-kubepods.slice`.
const MARK: &str = "kubepods";

/// The cgroup above all pods of this node: the one that is named, or else the one that is found.
///
/// # Errors
/// When there is none, or it is not of version 2.
pub(super) fn open(named: Option<&Path>) -> Result<Cgroup, CaptureError> {
    if let Some(path) = named {
        return Cgroup::open(path);
    }
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(CaptureError::because(|| "cannot read /proc/self/mountinfo".to_owned()))?;
    let mounts = mounts(&table);
    let found = mounts
        .iter()
        .find_map(|mount| above_pod(&search(mount)?, mount))
        .or_else(|| mounts.iter().find_map(|mount| below(mount)));
    let path = found.ok_or_else(|| {
        CaptureError::Unsupported(format!(
            "no cgroup of version 2 with {MARK} in its name below {mounts:?}: say where the pods are with --pods-cgroup"
        ))
    })?;
    Cgroup::open(&path)
}

/// All mounts of cgroup version 2, in the order of the table.
fn mounts(table: &str) -> Vec<PathBuf> {
    let of_version_2 = table.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        (file_system.split(' ').next() == Some("cgroup2")).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    });
    of_version_2.collect()
}

/// The outermost cgroup of pods around this one, if this one is in a pod and the mount shows what is around it.
fn above_pod(own: &Path, mount: &Path) -> Option<PathBuf> {
    own.ancestors().take_while(|path| *path != mount).filter(|path| holds_pods(path)).last().map(Path::to_owned)
}

/// The cgroup of pods right below a mount, for an agent that is in none of them.
fn below(mount: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(mount)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| holds_pods(path))
        .collect();
    found.sort();
    found.into_iter().find(|path| path.is_dir())
}

fn holds_pods(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pods_are_in_the_outermost_cgroup_of_that_name() {
        for (own, expected) in [
            ("/host/cgroup/kubepods/pod1/abc", Some("/host/cgroup/kubepods")),
            ("/host/cgroup/kubepods/burstable/pod1/abc", Some("/host/cgroup/kubepods")),
            (
                "/host/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-abc.scope",
                Some("/host/cgroup/kubepods.slice"),
            ),
            (
                "/host/cgroup/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-abc.scope",
                Some("/host/cgroup/kubelet.slice/kubelet-kubepods.slice"),
            ),
            ("/host/cgroup/system.slice/weir.service", None),
            ("/host/cgroup", None),
        ] {
            assert_eq!(
                above_pod(Path::new(own), Path::new("/host/cgroup")).as_deref(),
                expected.map(Path::new),
                "{own}"
            );
        }
    }

    #[test]
    fn every_mount_of_version_2_counts_and_no_other() {
        let table = "30 24 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 ro\n\
                     31 24 0:27 / /host/cgroup rw - tmpfs tmpfs rw\n\
                     32 31 0:26 / /host/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounts(table), [Path::new("/sys/fs/cgroup"), Path::new("/host/cgroup/unified")]);
    }

    #[test]
    fn pods_are_found_from_outside_by_name() {
        let mount = tempfile::tempdir().unwrap();
        assert_eq!(below(mount.path()), None);
        for name in ["system.slice", "kubepods.slice"] {
            fs::create_dir(mount.path().join(name)).unwrap();
        }
        assert_eq!(below(mount.path()), Some(mount.path().join("kubepods.slice")));
    }
}
