//! Which of the named network namespaces of this node is a pod's: the one with its addresses inside. Needed only for pods
//! that were there before the agent; for any other, the container runtime's call names the namespace.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::enrollment::netns::Netns;

/// Why no namespace was found for a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    #[error("the directory of network namespaces {path} cannot be read: {reason}")]
    Directory { path: PathBuf, reason: String },
    #[error("no network namespace in {path} has the pod's addresses {addresses:?}")]
    Nowhere { path: PathBuf, addresses: Vec<IpAddr> },
    #[error("{first} and {second} both have the pod's addresses")]
    Ambiguous { first: PathBuf, second: PathBuf },
}

/// The namespaces of a directory by the addresses inside. Each is entered once: a pod's addresses never change.
#[derive(Debug)]
pub(super) struct NetnsIndex {
    directory: PathBuf,
    known: HashMap<PathBuf, Known>,
}

#[derive(Debug)]
struct Known {
    /// Device and inode: another namespace may come to have the same name.
    id: (u64, u64),
    addresses: Vec<IpAddr>,
}

impl NetnsIndex {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), known: HashMap::new() }
    }

    /// Looks which namespaces there are now. Enters those that are new, or had no address yet.
    ///
    /// # Errors
    /// When the directory cannot be read; one that is missing has no namespaces.
    pub(super) fn refresh(&mut self) -> Result<(), NotFound> {
        let failed =
            |error: std::io::Error| NotFound::Directory { path: self.directory.clone(), reason: error.to_string() };
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.known.clear();
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        let mut former = std::mem::take(&mut self.known);
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            // A file that was removed meanwhile is passed over.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let id = (metadata.dev(), metadata.ino());
            let known = former.remove(&path).filter(|known| known.id == id && !known.addresses.is_empty());
            let known = known.unwrap_or_else(|| Known { id, addresses: addresses_inside(&path) });
            self.known.insert(path, known);
        }
        Ok(())
    }

    /// The namespace that has all of these addresses, as of the last refresh.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub(super) fn find(&self, addresses: &[IpAddr]) -> Result<PathBuf, NotFound> {
        let has_all = |known: &Known| addresses.iter().all(|address| known.addresses.contains(address));
        let mut found = self.known.iter().filter(|(_, known)| !addresses.is_empty() && has_all(known));
        let nowhere = || NotFound::Nowhere { path: self.directory.clone(), addresses: addresses.to_vec() };
        let (first, known) = found.next().ok_or_else(nowhere)?;
        // Two names of one namespace are not ambiguous.
        match found.find(|(_, other)| other.id != known.id) {
            Some((second, _)) => Err(NotFound::Ambiguous { first: first.clone(), second: second.clone() }),
            None => Ok(first.clone()),
        }
    }
}

/// Empty where there is nothing to enter: other files, the agent's own namespace, a namespace that goes.
fn addresses_inside(path: &Path) -> Vec<IpAddr> {
    Netns::open(path).map(|netns| netns.addresses().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(namespaces: &[(&str, u64, &[&str])]) -> NetnsIndex {
        let known = namespaces.iter().map(|(path, inode, addresses)| {
            let addresses = addresses.iter().map(|address| address.parse().expect("it is one")).collect();
            (PathBuf::from(path), Known { id: (4, *inode), addresses })
        });
        NetnsIndex { directory: "/run/netns".into(), known: known.collect() }
    }

    #[test]
    fn a_pod_is_found_by_all_of_its_addresses() {
        let index = index(&[
            ("a", 1, &["10.0.0.1", "fd00::1"]),
            ("also-a", 1, &["10.0.0.1", "fd00::1"]),
            ("b", 2, &["10.0.0.2"]),
            ("c", 3, &["10.0.0.3", "192.168.0.1"]),
            ("d", 4, &["192.168.0.1", "10.0.0.4"]),
            ("empty", 5, &[]),
        ]);
        let find = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().expect("it is one")).collect();
            index.find(&addresses)
        };
        let is_a = |path: PathBuf| ["a", "also-a"].contains(&path.to_str().expect("ASCII"));
        assert!(find(&["10.0.0.1", "fd00::1"]).is_ok_and(is_a), "two names of one namespace");
        assert!(find(&["fd00::1"]).is_ok_and(is_a));
        assert_eq!(find(&["10.0.0.2"]), Ok("b".into()));
        assert_eq!(find(&["10.0.0.3"]), Ok("c".into()), "it may have more than Kubernetes knows");
        assert!(matches!(find(&["10.0.0.1", "10.0.0.2"]), Err(NotFound::Nowhere { .. })));
        assert!(matches!(find(&["10.0.0.9"]), Err(NotFound::Nowhere { .. })));
        assert!(matches!(find(&["192.168.0.1"]), Err(NotFound::Ambiguous { .. })));
        assert!(matches!(find(&[]), Err(NotFound::Nowhere { .. })), "a pod without addresses is nowhere");
    }

    #[test]
    fn what_is_no_namespace_is_passed_over_and_a_missing_directory_is_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "x").expect("written");
        let mut index = NetnsIndex::new(dir.path());
        assert_eq!(index.refresh(), Ok(()));
        assert!(index.known.values().all(|known| known.addresses.is_empty()));
        let mut index = NetnsIndex::new(&dir.path().join("missing"));
        assert_eq!(index.refresh(), Ok(()));
        let mut index = NetnsIndex::new(&dir.path().join("file"));
        assert!(matches!(index.refresh(), Err(NotFound::Directory { .. })));
    }
}
