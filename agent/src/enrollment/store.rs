//! The list of enrolled pods on disk, so that a restarted agent serves them without a new request for each.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::pod::PodSpec;

/// The file `enrolled-pods.json` below the state directory.
#[derive(Debug)]
pub struct PodStore {
    path: PathBuf,
}

impl PodStore {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("enrolled-pods.json") }
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
    pub fn save<'a>(&self, pods: impl Iterator<Item = &'a PodSpec>) -> io::Result<()> {
        let pods: Vec<&PodSpec> = pods.collect();
        let new = self.path.with_extension("json.new");
        let written = write(&new, &pods).and_then(|()| std::fs::rename(&new, &self.path));
        if written.is_err() {
            // What could be written of a file on a full disk only takes space.
            let _ = std::fs::remove_file(&new);
        }
        written
    }
}

fn write(path: &Path, pods: &[&PodSpec]) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    serde_json::to_writer_pretty(&mut file, pods)?;
    file.flush()?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrollment::pod::Origin;

    fn pod(uid: &str) -> PodSpec {
        PodSpec {
            uid: uid.to_owned(),
            name: "a".to_owned(),
            namespace: "default".to_owned(),
            workload_name: Some("a".to_owned()),
            service_account: "default".to_owned(),
            netns: "/run/netns/a".into(),
            cgroup: None,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
            labels: std::collections::BTreeMap::new(),
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
        store.save(pods.iter()).expect("saved");
        assert_eq!(store.load(), pods);
        std::fs::write(dir.path().join("enrolled-pods.json"), "[{").expect("written");
        assert_eq!(store.load(), []);
    }
}
