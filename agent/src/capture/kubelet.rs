//! Finds the node's kubelet among the node's processes, and again after a restart. A process of a pod is never taken for it,
//! whatever its name, since it is in a PID namespace of its own or below the pods' cgroup. Attaches nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::error::CaptureError;
use super::hierarchy::Hierarchy;
use crate::config::Location;

/// The names of the process: of the kubelet itself, and of distributions that run it as a part of one process.
const NAMES: [&str; 4] = ["kubelet", "kubelite", "k3s-server", "k3s-agent"];
/// The kernel keeps this many bytes of a name, the last one a zero.
const NAME_BYTES: usize = 16;
/// Where the node's /proc is mounted in the agent's pod, and where it is outside of one.
const PROCS: [&str; 2] = ["/host/proc", "/proc"];

/// Whether the kubelet's probes are distinguished from other traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeletStatus {
    /// The configuration does not ask for it.
    Off,
    /// Yes: connections of the kubelet, which is in this cgroup.
    Found(PathBuf),
    /// No, for this reason.
    Missing(String),
}

/// A kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kubelet {
    pub(super) cgroup: Cgroup,
    process: Option<Process>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    /// Its directory of /proc.
    directory: PathBuf,
    name: String,
    /// Its cgroups, as /proc shows them to the agent.
    table: String,
}

impl Kubelet {
    /// Its threads' name as the kernel keeps it; zeros stand for any.
    pub(super) fn name(&self) -> [u64; 2] {
        let mut bytes = [0; NAME_BYTES];
        let name = self.process.as_ref().map(|process| process.name.as_bytes()).unwrap_or_default();
        bytes.iter_mut().take(NAME_BYTES - 1).zip(name).for_each(|(byte, &letter)| *byte = letter);
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
    }

    /// Whether it is still the one that was found, where it was found.
    pub(super) fn is_current(&self) -> bool {
        self.cgroup.is_alive()
            && self.process.as_ref().is_none_or(|then| read_process(&then.directory).as_ref() == Some(then))
    }
}

/// Finds the kubelet.
///
/// # Errors
/// Why it cannot be found.
pub(super) fn find(
    setting: &Location,
    proc: Option<&Path>,
    hierarchy: &Hierarchy,
    pods: &Cgroup,
) -> Result<Option<Kubelet>, CaptureError> {
    let kubelet = match setting {
        Location::Off => return Ok(None),
        Location::At(path) => Kubelet { cgroup: hierarchy.at(path)?, process: None },
        Location::Auto => search(proc, hierarchy, pods)?,
    };
    if pods.contains(&kubelet.cgroup) {
        let (path, pods) = (kubelet.cgroup.path.display(), pods.path.display());
        return Err(CaptureError::Unsupported(format!("{path} is a cgroup of pods (below {pods}), not the kubelet's")));
    }
    Ok(Some(kubelet))
}

/// Where the node's processes are: as set, or else where there are any.
#[must_use]
pub fn proc_directory(setting: Option<&Path>) -> PathBuf {
    let [in_pod, usual] = PROCS.map(Path::new);
    setting.unwrap_or(if in_pod.exists() { in_pod } else { usual }).to_owned()
}

fn search(proc: Option<&Path>, hierarchy: &Hierarchy, pods: &Cgroup) -> Result<Kubelet, CaptureError> {
    let proc = proc_directory(proc);
    let mut found: Vec<Kubelet> = Vec::new();
    let mut reason = format!("no process of the node ({}) is called {}", proc.display(), NAMES.join(" or "));
    for process in processes(&proc) {
        match hierarchy.of_table(&process.table) {
            // Not even if a pod has a process of this name.
            Ok(cgroup) if pods.contains(&cgroup) => {}
            Ok(cgroup) if found.iter().any(|other| other.cgroup == cgroup) => {}
            Ok(cgroup) => found.push(Kubelet { cgroup, process: Some(process) }),
            Err(error) => reason = format!("process {} is no help: {error}", process.directory.display()),
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(CaptureError::Unsupported(reason)),
        _ => {
            let cgroups: Vec<_> = found.iter().map(|kubelet| kubelet.cgroup.path.display().to_string()).collect();
            Err(CaptureError::Unsupported(format!("kubelets run in several cgroups ({})", cgroups.join(", "))))
        }
    }
}

/// The processes that are a kubelet by name, run by root, and of the node's own process namespace.
fn processes(proc: &Path) -> impl Iterator<Item = Process> {
    let entries = fs::read_dir(proc).into_iter().flatten().filter_map(Result::ok);
    let ids = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    ids.map(|entry| entry.path())
        .filter_map(|directory| read_process(&directory))
        .filter(|process| fs::read_to_string(process.directory.join("status")).is_ok_and(|status| is_of_node(&status)))
}

fn read_process(directory: &Path) -> Option<Process> {
    let name = fs::read_to_string(directory.join("comm")).ok()?.trim_end().to_owned();
    if !NAMES.contains(&name.as_str()) {
        return None;
    }
    let table = fs::read_to_string(directory.join("cgroup")).ok()?;
    Some(Process { directory: directory.to_owned(), name, table })
}

/// Whether a process is root's, and has one id only: one in a container has another one there.
fn is_of_node(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
    field("Uid:").is_some_and(|mut ids| ids.all(|id| id == "0")) && field("NSpid:").is_none_or(|ids| ids.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_processes_outside_of_containers_count() {
        for (status, expected) in [
            ("Name:\tkubelet\nUid:\t0\t0\t0\t0\nNSpid:\t812\n", true),
            ("Uid:\t0\t0\t0\t0\n", true),
            ("Uid:\t0\t0\t0\t0\nNSpid:\t812\t1\n", false),
            ("Uid:\t1000\t1000\t1000\t1000\nNSpid:\t812\n", false),
            ("NSpid:\t812\n", false),
        ] {
            assert_eq!(is_of_node(status), expected, "{status:?}");
        }
    }

    #[test]
    fn a_name_is_what_the_kernel_compares() {
        let kubelet = |name: &str| Kubelet {
            cgroup: Cgroup { path: "/c".into(), id: 1 },
            process: Some(Process { directory: "/p".into(), name: name.into(), table: String::new() }),
        };
        let words = |bytes: &[u8; 16]| {
            let (words, _) = bytes.as_chunks::<8>();
            [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
        };
        assert_eq!(kubelet("kubelet").name(), words(b"kubelet\0\0\0\0\0\0\0\0\0"));
        assert_eq!(kubelet("a-name-that-is-too-long").name(), words(b"a-name-that-is-\0"));
        assert_eq!(Kubelet { process: None, ..kubelet("") }.name(), [0, 0]);
    }
}
