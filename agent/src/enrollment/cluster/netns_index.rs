//! Which of the named network namespaces of this node is a pod's: the one in which the pod's processes live, as the kubelet's
//! cgroup for the pod says. Its addresses only confirm that: a pod may give itself any, those of other pods included. Needed
//! only for pods that were there before the agent; for any other, the container runtime's call names the namespace.
//!
//! A process' namespace is known by its `/proc/PID/net`, which shows the same files to everybody in that namespace and to
//! nobody else. `/proc/PID/ns/net` would say it too, but may be read only by who may trace the process (ptrace(2)).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::capture::pod_uid;
use crate::enrollment::netns::Netns;
use crate::kubernetes::DescribedPod;

/// Why no namespace was found for a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    #[error("{path} cannot be read: {reason}")]
    Directory { path: PathBuf, reason: String },
    #[error("no process of the pod (uid {uid} in its cgroup) lives in a network namespace of {path}")]
    Nowhere { path: PathBuf, uid: String },
    #[error("the pod's processes live in {path}, which does not have its addresses {addresses:?}")]
    OtherAddresses { path: PathBuf, addresses: Vec<IpAddr> },
    #[error("the pod's processes live in {first} and in {second}, and both have its addresses")]
    Ambiguous { first: PathBuf, second: PathBuf },
}

/// The named namespaces, and the pods whose processes live in them.
#[derive(Debug)]
pub(super) struct NetnsIndex {
    directory: PathBuf,
    proc: PathBuf,
    known: HashMap<PathBuf, Known>,
    /// By the uid that the kubelet knows a pod by: the namespaces of the pod's processes.
    inhabited: HashMap<String, HashSet<ProcNet>>,
}

/// The inode of a file of `/proc/PID/net`, which tells a namespace from all others that exist.
type ProcNet = u64;

#[derive(Debug)]
struct Known {
    /// Device and inode: another namespace may come to have the same name.
    id: (u64, u64),
    /// `None` for what is no namespace that can be a pod's.
    proc_net: Option<ProcNet>,
}

impl NetnsIndex {
    /// `directory` is where namespaces have names, `proc` where the node's processes are.
    pub(super) fn new(directory: &Path, proc: &Path) -> Self {
        let (known, inhabited) = Default::default();
        Self { directory: directory.to_owned(), proc: proc.to_owned(), known, inhabited }
    }

    /// Looks which namespaces there are now and who lives in them. Enters those that are new.
    ///
    /// # Errors
    /// When one of the directories cannot be read; where there is none for names, there are no namespaces.
    pub(super) fn refresh(&mut self) -> Result<(), NotFound> {
        self.refresh_names()?;
        self.refresh_processes()
    }

    /// The namespace in which a pod's processes live, as of the last refresh.
    ///
    /// # Errors
    /// When there is none, when it does not have the pod's addresses, or when more than one has.
    pub(super) fn find(&self, pod: &DescribedPod) -> Result<PathBuf, NotFound> {
        self.choose(&pod.kubelet_uid, &pod.addresses, has_addresses)
    }

    fn choose(
        &self,
        uid: &str,
        addresses: &[IpAddr],
        has_addresses: impl Fn(&Path, &[IpAddr]) -> bool,
    ) -> Result<PathBuf, NotFound> {
        let inhabited = self.inhabited.get(uid);
        let is_its =
            |known: &Known| known.proc_net.is_some_and(|inode| inhabited.is_some_and(|own| own.contains(&inode)));
        let mut own: Vec<_> = self.known.iter().filter(|(_, known)| is_its(known)).collect();
        // Two names of one namespace are not ambiguous.
        own.sort_by_key(|(path, known)| (known.id, path.as_path()));
        own.dedup_by_key(|(_, known)| known.id);
        let nowhere = || NotFound::Nowhere { path: self.directory.clone(), uid: uid.to_owned() };
        let (any, _) = *own.first().ok_or_else(nowhere)?;
        let mut confirmed = own.iter().map(|(path, _)| *path).filter(|path| has_addresses(path, addresses));
        match (confirmed.next(), confirmed.next()) {
            (Some(first), None) => Ok(first.clone()),
            (Some(first), Some(second)) => Err(NotFound::Ambiguous { first: first.clone(), second: second.clone() }),
            (None, _) => Err(NotFound::OtherAddresses { path: any.clone(), addresses: addresses.to_vec() }),
        }
    }

    fn refresh_names(&mut self) -> Result<(), NotFound> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.known.clear();
                return Ok(());
            }
            Err(error) => return Err(unreadable(&self.directory, &error)),
        };
        let mut former = std::mem::take(&mut self.known);
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            // A file that was removed meanwhile is passed over.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let id = (metadata.dev(), metadata.ino());
            let known = former.remove(&path).filter(|known| known.id == id && known.proc_net.is_some());
            let known = known.unwrap_or_else(|| Known { id, proc_net: proc_net_of(&path) });
            self.known.insert(path, known);
        }
        Ok(())
    }

    fn refresh_processes(&mut self) -> Result<(), NotFound> {
        self.inhabited.clear();
        let entries = std::fs::read_dir(&self.proc).map_err(|error| unreadable(&self.proc, &error))?;
        let ids = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
        for process in ids.map(|entry| entry.path()) {
            // A process that ends meanwhile is passed over.
            let Ok(cgroups) = std::fs::read_to_string(process.join("cgroup")) else { continue };
            let Some(uid) = pod_uid(&cgroups) else { continue };
            let Ok(metadata) = std::fs::metadata(process.join("net/dev")) else { continue };
            self.inhabited.entry(uid).or_default().insert(metadata.ino());
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> NotFound {
    NotFound::Directory { path: path.to_owned(), reason: error.to_string() }
}

/// `None` where there is nothing to enter: other files, the agent's own namespace, a namespace that goes.
fn proc_net_of(path: &Path) -> Option<ProcNet> {
    Netns::open(path).ok()?.proc_net().ok()
}

fn has_addresses(path: &Path, addresses: &[IpAddr]) -> bool {
    let Ok(netns) = Netns::open(path) else { return false };
    !addresses.is_empty() && addresses.iter().all(|&ip| netns.device_of(ip).is_ok_and(|device| device.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(namespaces: &[(&str, u64)], processes: &[(&str, u64)]) -> NetnsIndex {
        let mut index = NetnsIndex::new(Path::new("/run/netns"), Path::new("/proc"));
        index.known = namespaces
            .iter()
            .map(|(path, inode)| (PathBuf::from(path), Known { id: (4, *inode), proc_net: Some(*inode) }))
            .collect();
        for (uid, inode) in processes {
            index.inhabited.entry((*uid).to_owned()).or_default().insert(*inode);
        }
        index
    }

    #[test]
    fn a_pod_is_where_its_processes_are_and_addresses_only_confirm_it() {
        let index = index(
            &[("a", 1), ("also-a", 1), ("b", 2), ("thief-of-a", 3), ("c", 4), ("d", 5)],
            &[("uid-a", 1), ("uid-a", 77), ("uid-b", 2), ("thief", 3), ("uid-c", 4), ("uid-c", 5)],
        );
        // Namespace 77 has no name: one that the pod made within itself.
        let a = "10.0.0.1".parse().expect("an address");
        let find =
            |uid, owners: &[&str]| index.choose(uid, &[a], |path, _| owners.contains(&path.to_str().expect("ASCII")));
        assert_eq!(find("uid-a", &["a", "also-a", "thief-of-a"]), Ok("a".into()), "others may have its addresses");
        assert_eq!(find("uid-c", &["d"]), Ok("d".into()), "of two, the one that has the addresses");
        let path = PathBuf::from("b");
        assert_eq!(find("uid-b", &["a"]), Err(NotFound::OtherAddresses { path, addresses: vec![a] }));
        let (first, second) = ("c".into(), "d".into());
        assert_eq!(find("uid-c", &["c", "d"]), Err(NotFound::Ambiguous { first, second }));
        let (path, uid) = ("/run/netns".into(), "nobody".to_owned());
        assert_eq!(find("nobody", &["a", "b"]), Err(NotFound::Nowhere { path, uid }));
    }

    #[test]
    fn what_is_no_namespace_is_passed_over_and_a_missing_directory_is_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "x").expect("written");
        let mut index = NetnsIndex::new(dir.path(), Path::new("/proc"));
        assert_eq!(index.refresh(), Ok(()));
        assert!(index.known.values().all(|known| known.proc_net.is_none()));
        let mut index = NetnsIndex::new(&dir.path().join("missing"), Path::new("/proc"));
        assert_eq!(index.refresh(), Ok(()));
        let mut index = NetnsIndex::new(&dir.path().join("file"), Path::new("/proc"));
        assert!(matches!(index.refresh(), Err(NotFound::Directory { .. })));
    }
}
