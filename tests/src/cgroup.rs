//! Version 2 cgroups: where they are mounted, how a test gets its own tree, how that tree is emptied and removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::wait;

/// The mount point of cgroup2: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on machines that still mount version 1.
///
/// # Errors
/// If no cgroup2 file system is mounted at all.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    for place in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if mounts.lines().any(|line| {
            let mut fields = line.split(' ');
            fields.nth(1) == Some(place) && fields.next() == Some("cgroup2")
        }) {
            return Ok(place.into());
        }
    }
    bail!("no cgroup2 file system at /sys/fs/cgroup or /sys/fs/cgroup/unified")
}

/// Makes a cgroup and its parents.
///
/// # Errors
/// If the kernel refuses.
pub fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating cgroup {}", path.display()))
}

/// The processes of a cgroup, those of its children left out; empty if it is gone.
#[must_use]
pub fn processes(path: &Path) -> Vec<i32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Kills every process in a cgroup and below it, then removes the tree. Fine if it does not exist.
///
/// # Errors
/// If a process will not die or a directory will not go.
pub fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    fs::write(path.join("cgroup.kill"), "1").with_context(|| format!("killing what runs in {}", path.display()))?;
    wait::until("cgroup is empty", Duration::from_secs(10), || {
        let events = fs::read_to_string(path.join("cgroup.events"))?;
        ensure!(events.contains("populated 0"), "{} still has processes", path.display());
        Ok(())
    })?;
    remove_directories(path)
}

/// Removes a cgroup tree of either version whose processes have been killed. Fine if it does not exist.
///
/// # Errors
/// If a directory will not go.
pub fn remove_emptied(path: &Path) -> Result<()> {
    if path.exists() { remove_directories(path) } else { Ok(()) }
}

fn remove_directories(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_directories(&entry.path())?;
        }
    }
    // The last process may be reaped a moment after the cgroup says it is empty.
    wait::until("cgroup can be removed", Duration::from_secs(5), || {
        fs::remove_dir(path).with_context(|| format!("removing cgroup {}", path.display()))
    })
}
