//! The cgroup hierarchies of this machine, and a directory of a run's own in each: a node that is born into them has
//! them for its roots and can mount every hierarchy without seeing, or changing, anything of the machine's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cgroup;
use crate::run::Run;

/// What has to be mounted in a node of mode `hybrid`.
pub const CONTROLLERS: [&str; 8] = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"];

/// A hierarchy of version 1, and where in it this process is.
struct Hierarchy {
    /// Mount point and this process's directory in it.
    here: PathBuf,
    controllers: String,
}

/// The directories of a room: version 2, and those of version 1.
#[derive(Debug, Clone)]
pub struct Directories {
    pub unified: PathBuf,
    pub others: Vec<PathBuf>,
}

/// Makes a directory for a room in every hierarchy. They go with the run.
///
/// # Errors
/// If the kernel refuses.
pub fn create(run: &Run, room: &str) -> Result<Directories> {
    let unified = run.cgroup()?.join(room);
    cgroup::create(&unified)?;
    let mut others = Vec::new();
    for hierarchy in version_1()? {
        let above = hierarchy.here.join(run.name());
        for (path, parent) in [(above.clone(), &hierarchy.here), (above.join(room), &above)] {
            if path.exists() {
                continue;
            }
            run.create_cgroup(&path)?;
            if hierarchy.controllers.split(',').any(|name| name == "cpuset") {
                inherit_cpus(parent, &path)?;
            }
        }
        others.push(above.join(room));
    }
    Ok(Directories { unified, others })
}

/// Whether this machine has what mode `hybrid` mounts.
///
/// # Errors
/// Names the controllers that are missing.
pub fn can_be_hybrid() -> Result<()> {
    let found = version_1()?.into_iter().map(|hierarchy| hierarchy.controllers).collect::<Vec<_>>().join(",");
    let missing: Vec<_> =
        CONTROLLERS.into_iter().filter(|name| !found.split(',').any(|other| other == *name)).collect();
    ensure!(missing.is_empty(), "this machine mounts no cgroups of version 1 for {}", missing.join(" "));
    Ok(())
}

/// A cpuset without processors and memory lets nobody in.
fn inherit_cpus(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let inherited = fs::read(parent.join(file))?;
        fs::write(child.join(file), inherited).with_context(|| format!("setting {file} of {}", child.display()))?;
    }
    Ok(fs::write(child.join("cgroup.clone_children"), "1")?)
}

fn version_1() -> Result<Vec<Hierarchy>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let Some(mounted) = mount_point(&mounts, controllers) else { continue };
        // In a container the path may begin above what is mounted.
        let here = mounted.join(path.trim_start_matches('/'));
        found.push(Hierarchy { here: if here.is_dir() { here } else { mounted }, controllers: controllers.to_owned() });
    }
    Ok(found)
}

/// Where the hierarchy of some controllers is mounted; nowhere for version 2, which has none in its line.
fn mount_point(mounts: &str, controllers: &str) -> Option<PathBuf> {
    let first = controllers.split(',').next().filter(|first| !first.is_empty())?;
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let matches = fields.get(2) == Some(&"cgroup") && fields.get(3)?.split(',').any(|option| option == first);
        matches.then(|| PathBuf::from(fields[1]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hierarchy_is_found_by_any_order_of_its_controllers() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        for (controllers, expected) in [
            ("cpuacct,cpu", Some("/sys/fs/cgroup/cpu,cpuacct")),
            ("name=systemd", Some("/sys/fs/cgroup/systemd")),
            ("memory", None),
            // Version 2 has no controllers in its line and must not be taken for one of version 1.
            ("", None),
        ] {
            assert_eq!(mount_point(mounts, controllers), expected.map(PathBuf::from), "{controllers:?}");
        }
    }
}
