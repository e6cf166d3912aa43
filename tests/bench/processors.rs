//! The bench's share of the processors. What else runs on a machine, such as the service that watches over it, would otherwise
//! decide about latencies: it may run with a high priority, for milliseconds at a stretch, and longer the more descriptors and
//! processes there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The most that a group of the kernel's cgroup version 1 can have; 1024 is usual.
const HIGHEST_SHARES: &str = "262144";
const GROUP_PREFIX: &str = "weir-bench-";
const PROCESSES: &str = "cgroup.procs";

/// A CPU group of the highest weight. This process and all that it starts are in it, until it is dropped. Within the group
/// priorities are what they would be without it.
#[derive(Debug)]
pub(crate) struct CpuGroup {
    folder: PathBuf,
    before: PathBuf,
}

impl CpuGroup {
    /// Joins a new one. None where the machine has no hierarchy of cgroup version 1 for processors: a process is in one group of
    /// version 2 only, and there each node of the bench has one of its own.
    pub(crate) fn join() -> Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
        let own = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
        let Some((root, path)) = cpu_hierarchy(&mounts).zip(path_in_cpu_hierarchy(&own)) else { return Ok(None) };
        let before = root.join(path.trim_start_matches('/'));
        remove_empty(root)?;
        let group = Self { folder: root.join(format!("{GROUP_PREFIX}{}", std::process::id())), before };
        fs::create_dir(&group.folder).with_context(|| format!("creating {}", group.folder.display()))?;
        write(&group.folder.join("cpu.shares"), HIGHEST_SHARES)?;
        write(&group.folder.join(PROCESSES), "0")?;
        Ok(Some(group))
    }

    /// What a report says of it.
    pub(crate) fn told(group: Option<&Self>) -> &'static str {
        match group {
            Some(_) => {
                "all of the bench is in one CPU group of the highest weight: what else runs here gets what is left"
            }
            None => "no hierarchy of cgroup version 1 for processors: what else runs here has the same priority",
        }
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        let left = write(&self.before.join(PROCESSES), "0");
        if let Err(error) = left.and_then(|()| fs::remove_dir(&self.folder).context("removing the bench's CPU group")) {
            eprintln!("{error:#}");
        }
    }
}

/// Removes what killed runs have left. A group that has processes stays.
fn remove_empty(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).with_context(|| root.display().to_string())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(GROUP_PREFIX) {
            match fs::remove_dir(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {
                    return Err(error).with_context(|| entry.path().display().to_string());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {text} to {}", file.display()))
}

/// Where the hierarchy for processors is mounted (proc_pid_mounts(5)).
fn cpu_hierarchy(mounts: &str) -> Option<&Path> {
    mounts.lines().find_map(|line| {
        let [_, folder, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        (kind == "cgroup" && options.split(',').any(|option| option == "cpu")).then(|| Path::new(folder))
    })
}

/// The group that this process is in (cgroups(7), "/proc/pid/cgroup").
fn path_in_cpu_hierarchy(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|controller| controller == "cpu").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_for_processors_is_found_by_its_controller() {
        let mounts = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        assert_eq!(cpu_hierarchy(mounts), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(cpu_hierarchy("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"), None);
        assert_eq!(path_in_cpu_hierarchy("3:cpuset:/a\n1:cpu,cpuacct:/b:c\n0::/d\n"), Some("/b:c"));
        assert_eq!(path_in_cpu_hierarchy("0::/d\n"), None);
    }
}
