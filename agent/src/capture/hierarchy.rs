//! The node's cgroups as seen from where the agent runs. In a container the node's hierarchy is a separate mount, while /proc
//! names cgroups relative to the agent's cgroup namespace: this file maps one to the other.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::cgroup::{Cgroup, is_v2};
use super::error::CaptureError;

/// Where the node's cgroups are mounted in the agent's pod, and where they are outside of one.
const ROOTS: [&str; 2] = ["/host/cgroup", "/sys/fs/cgroup"];
/// How far below the root the pods' cgroup may lie: `kubelet.slice/kubelet-kubepods.slice`.
const PODS_DEPTH: u32 = 2;

/// The v2 hierarchy of the node, and this process's place in it.
#[derive(Debug)]
pub(super) struct Hierarchy {
    root: PathBuf,
    own: Cgroup,
    /// What `/` means in /proc's names of cgroups; `None` if this process is outside of its own cgroup namespace.
    namespace: Option<PathBuf>,
}

impl Hierarchy {
    /// The hierarchy that the pods' cgroup is in if that is given, else at or below `root`, else where it usually is.
    ///
    /// # Errors
    /// When there is none, or this process is not in it.
    pub(super) fn find(root: Option<&Path>, pods: Option<&Path>) -> Result<Self, CaptureError> {
        let root = match pods {
            Some(pods) => mount_of(&Cgroup::open(pods)?.path)?,
            None => root_at(root)?,
        };
        let table = read("/proc/self/cgroup".as_ref())?;
        let named = named(&table).unwrap_or_default();
        // In a cgroup namespace the name is relative to the namespace, not to the mount: then look everywhere.
        let own = Some(root.join(named)).filter(|path| holds_this_process(path)).or_else(|| search(&root));
        let own = own.ok_or_else(|| {
            let root = root.display();
            CaptureError::Unsupported(format!(
                "the agent's own cgroup is not below {root}: is that the node's cgroup2?"
            ))
        })?;
        let namespace = above(&own, named);
        Ok(Self { root, own: Cgroup::open(&own)?, namespace })
    }

    /// The cgroup of this process.
    pub(super) fn own(&self) -> &Cgroup {
        &self.own
    }

    /// The cgroup of all pods: the one that is given; else the topmost of that name above the agent, which is a pod
    /// itself; else the only one of that name near the root.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub(super) fn pods(&self, given: Option<&Path>) -> Result<Cgroup, CaptureError> {
        if let Some(given) = given {
            return Cgroup::open(given);
        }
        if let Some(above) = topmost_of_pods(&self.root, &self.own.path) {
            return Cgroup::open(&above);
        }
        let mut found = Vec::new();
        search_pods(&self.root, PODS_DEPTH, &mut found);
        match found.as_slice() {
            [only] => Cgroup::open(only),
            [] => Err(CaptureError::Unsupported(format!(
                "there is no cgroup of pods (kubepods, kubepods.slice, ...-kubepods.slice) below {}: name it with \
                 --pods-cgroup",
                self.root.display()
            ))),
            several => Err(CaptureError::Unsupported(format!(
                "several cgroups could be that of the pods ({}): name it with --pods-cgroup",
                several.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// The cgroup at a path, relative ones below the root.
    ///
    /// # Errors
    /// As of [`Cgroup::open`].
    pub(super) fn at(&self, path: &Path) -> Result<Cgroup, CaptureError> {
        Cgroup::open(&self.root.join(path))
    }

    /// The cgroup that a process's table (`/proc/PID/cgroup`, as this process reads it) names.
    ///
    /// # Errors
    /// When it is not below the root, or there is none.
    pub(super) fn of_table(&self, table: &str) -> Result<Cgroup, CaptureError> {
        let named =
            named(table).ok_or_else(|| CaptureError::Unsupported("it is in no cgroup of version 2".to_owned()))?;
        let path = self.namespace.as_deref().and_then(|namespace| follow(&self.root, namespace, named));
        let path = path.ok_or_else(|| {
            CaptureError::Unsupported(format!("its cgroup (/{named}) is not below {}", self.root.display()))
        })?;
        Cgroup::open(&path)
    }
}

fn read(path: &Path) -> Result<String, CaptureError> {
    fs::read_to_string(path).map_err(CaptureError::because(|| format!("cannot read {}", path.display())))
}

/// The cgroup2 mount at a path, or in its `unified`, where version 1 is mounted beside it.
fn root_at(given: Option<&Path>) -> Result<PathBuf, CaptureError> {
    let root = given.unwrap_or_else(|| {
        let [in_pod, usual] = ROOTS.map(Path::new);
        if in_pod.exists() { in_pod } else { usual }
    });
    let found = [root.to_owned(), root.join("unified")].into_iter().find(|path| is_v2(path));
    found.ok_or_else(|| {
        let root = root.display();
        CaptureError::Unsupported(format!(
            "there is no cgroup2 at {root} or {root}/unified: name it with --cgroup-root"
        ))
    })
}

/// The innermost cgroup2 mount that a path is on.
fn mount_of(path: &Path) -> Result<PathBuf, CaptureError> {
    let table = read("/proc/self/mountinfo".as_ref())?;
    innermost_mount(&table, path)
        .ok_or_else(|| CaptureError::Unsupported(format!("{} is on no cgroup2 mount", path.display())))
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

/// The v2 name in a table of /proc, without its leading slash.
fn named(table: &str) -> Option<&str> {
    table.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// Process ids in /proc are those of the reader's PID namespace, so that this one is unique.
fn holds_this_process(cgroup: &Path) -> bool {
    let own = std::process::id();
    fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|procs| procs.lines().any(|pid| pid.parse() == Ok(own)))
}

fn children(cgroup: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn search(cgroup: &Path) -> Option<PathBuf> {
    if holds_this_process(cgroup) {
        return Some(cgroup.to_owned());
    }
    children(cgroup).find_map(|child| search(&child))
}

/// The directory that `named` leads from to `own`.
fn above(own: &Path, named: &str) -> Option<PathBuf> {
    let named = Path::new(named);
    if !own.ends_with(named) {
        return None;
    }
    own.ancestors().nth(named.components().count()).map(Path::to_owned)
}

/// Where a name of /proc leads, from the directory that its `/` means; `None` if that is above the root.
fn follow(root: &Path, namespace: &Path, named: &str) -> Option<PathBuf> {
    let mut path = namespace.to_owned();
    for component in Path::new(named).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        if !path.starts_with(root) {
            return None;
        }
    }
    Some(path)
}

fn is_of_pods(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice")
}

fn topmost_of_pods(root: &Path, own: &Path) -> Option<PathBuf> {
    own.ancestors().take_while(|path| *path != root).filter(|path| is_of_pods(path)).last().map(Path::to_owned)
}

fn search_pods(cgroup: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    for child in children(cgroup) {
        if is_of_pods(&child) {
            found.push(child);
        } else if depth > 1 {
            search_pods(&child, depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_line_names_a_cgroup() {
        assert_eq!(named("4:memory:/a\n0::/system.slice/weir.service\n"), Some("system.slice/weir.service"));
        assert_eq!(named("0::/\n"), Some(""));
        assert_eq!(named("4:memory:/a\n"), None);
    }

    #[test]
    fn names_of_proc_lead_to_directories_of_the_node() {
        let own = "/host/cgroup/kubepods/podx/agent";
        for (own_name, other, expected) in [
            ("", "../../../system.slice/kubelet.service", Some("/host/cgroup/system.slice/kubelet.service")),
            ("", "../../..", Some("/host/cgroup")),
            ("", "", Some(own)),
            ("", "../../../../elsewhere", None),
            ("kubepods/podx/agent", "system.slice/kubelet.service", Some("/host/cgroup/system.slice/kubelet.service")),
            ("kubepods/podx/agent", "", Some("/host/cgroup")),
            ("agent", "../../kubelet", Some("/host/cgroup/kubelet")),
            ("elsewhere", "kubelet", None),
        ] {
            let namespace = above(Path::new(own), own_name);
            let found = namespace.and_then(|namespace| follow(Path::new("/host/cgroup"), &namespace, other));
            assert_eq!(found, expected.map(PathBuf::from), "{other} as read by {own_name:?}");
        }
    }

    #[test]
    fn the_topmost_cgroup_of_pods_counts() {
        for (own, expected) in [
            ("/c/kubepods/besteffort/podx/agent", Some("/c/kubepods")),
            ("/c/kubepods/podx/agent/kubepods", Some("/c/kubepods")),
            ("/c/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podx.slice/a", Some("/c/kubepods.slice")),
            ("/c/kubelet.slice/kubelet-kubepods.slice/a", Some("/c/kubelet.slice/kubelet-kubepods.slice")),
            ("/c/system.slice/weir.service", None),
            ("/c", None),
        ] {
            assert_eq!(topmost_of_pods(Path::new("/c"), Path::new(own)), expected.map(PathBuf::from), "{own}");
        }
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
