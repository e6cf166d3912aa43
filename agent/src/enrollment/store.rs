//! The list of enrolled pods on disk, so that a restarted agent serves them without a new request for each.

use std::io;
use std::path::{Path, PathBuf};

use super::pod::PodSpec;
use crate::whole_file;

/// The file's name, below the state directory.
pub const FILE_NAME: &str = "enrolled-pods.json";
/// It holds no secret.
const FILE_MODE: u32 = 0o644;

/// The file `enrolled-pods.json` below the state directory.
#[derive(Debug)]
pub struct PodStore {
    path: PathBuf,
}

impl PodStore {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE_NAME) }
    }

    /// The pods on the list. A file that is missing is an empty list; one that cannot be read is reported and counts as
    /// empty, since whoever enrols pods can do so again.
    #[must_use]
    pub fn load(&self) -> Vec<PodSpec> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the list of enrolled pods cannot be read");
                return Vec::new();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::error!(path = %self.path.display(), %error, "the list of enrolled pods is damaged; enrol them again");
            Vec::new()
        })
    }

    /// Replaces the list as a whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn save(&self, pods: impl Iterator<Item = PodSpec>) -> io::Result<()> {
        let pods: Vec<PodSpec> = pods.collect();
        let new = self.path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(&pods)?;
        whole_file::replace(&self.path, &new, FILE_MODE, &[&text]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrollment::pod::Origin;

    fn pod(uid: &str) -> PodSpec {
        PodSpec {
            uid: uid.to_owned(),
            kubelet_uid: None,
            name: "a".to_owned(),
            namespace: "default".to_owned(),
            workload_name: Some("a".to_owned()),
            service_account: "default".to_owned(),
            netns: "/run/netns/a".into(),
            cgroup: None,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
            labels: std::collections::BTreeMap::new(),
            probe_ports: vec![8080],
            resolv_conf: Some("nameserver 192.0.2.1\n".to_owned()),
            netns_cookie: Some(7),
            origin: Origin::Kubernetes,
        }
    }

    #[test]
    fn the_list_survives_and_damage_counts_as_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PodStore::new(dir.path());
        assert_eq!(store.load(), []);
        let pods = [pod("1"), pod("2")];
        store.save(pods.iter().cloned()).expect("saved");
        assert_eq!(store.load(), pods);
        std::fs::write(dir.path().join("enrolled-pods.json"), "[{").expect("written");
        assert_eq!(store.load(), []);
    }
}
