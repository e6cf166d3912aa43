//! A file or folder of objects as the source of the mesh: loads and translates it, and publishes a snapshot whenever a file
//! changes. For `weir control-plane`, and for an agent that reads its own files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::fingerprint::{Fingerprint, fingerprint};
use super::snapshot::Snapshot;
use super::translate::{self, VipAllocations};
use crate::objects::{self, Objects, Problem};
use crate::whole_file;

/// The file of the state directory with the virtual addresses that were allocated.
pub const VIRTUAL_ADDRESSES_NAME: &str = "virtual-addresses.json";
const VIPS_MODE: u32 = 0o644;

/// Where objects come from and how they are translated.
#[derive(Debug, Clone)]
pub struct FileSourceOptions {
    /// A file or a folder.
    pub path: PathBuf,
    pub translate: translate::Options,
    /// Where allocated virtual addresses are saved.
    pub state_dir: PathBuf,
}

/// Why there is nothing to serve at all.
#[derive(Debug, thiserror::Error)]
pub enum FileSourceError {
    #[error("cannot read the objects in {path}")]
    Path { path: PathBuf, source: io::Error },
    #[error("loading the objects panicked")]
    Loader,
}

/// Objects in files, loaded at least once.
#[derive(Debug)]
pub struct FileSource {
    loader: Loader,
    fingerprint: Fingerprint,
    snapshots: watch::Sender<Arc<Snapshot>>,
    problems: watch::Sender<Arc<Vec<Problem>>>,
}

impl FileSource {
    /// Loads the objects for the first time. Objects that are not valid are logged and left out; policies among them
    /// deny.
    ///
    /// # Errors
    /// Only if the path itself cannot be read.
    pub async fn open(options: FileSourceOptions) -> Result<Self, FileSourceError> {
        let path = options.path.clone();
        fs::metadata(&path).map_err(|source| FileSourceError::Path { path: path.clone(), source })?;
        // Before it is read: what is written meanwhile gets another fingerprint.
        let (fingerprint, _) = fingerprint(&path);
        let (snapshots, problems) = (watch::Sender::default(), watch::Sender::default());
        let mut source = Self { loader: Loader::new(options), fingerprint, snapshots, problems };
        source.load().await?;
        Ok(source)
    }

    /// The snapshot in force, and every later one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// What is wrong with the files as they are, and every later state of that.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Arc<Vec<Problem>>> {
        self.problems.subscribe()
    }

    /// Publishes a new snapshot whenever the files change.
    ///
    /// # Errors
    /// Only after a fault of the program; else it runs forever.
    pub async fn run(mut self) -> Result<std::convert::Infallible, FileSourceError> {
        loop {
            let (fingerprint, pause) = fingerprint_blocking(self.loader.options.path.clone()).await?;
            if fingerprint != self.fingerprint {
                self.fingerprint = fingerprint;
                self.load().await?;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn load(&mut self) -> Result<(), FileSourceError> {
        let previous = self.snapshots.borrow().clone();
        let mut loader = self.loader.clone();
        let loading = tokio::task::spawn_blocking(move || {
            let snapshot = loader.load(&previous);
            (loader, snapshot)
        });
        let (loader, snapshot) = loading.await.map_err(|_| FileSourceError::Loader)?;
        self.loader = loader;
        self.problems.send_if_modified(|known| {
            let is_new = **known != self.loader.problems;
            if is_new {
                *known = Arc::new(self.loader.problems.clone());
            }
            is_new
        });
        if let Some(snapshot) = snapshot {
            tracing::info!(
                path = %self.loader.options.path.display(),
                generation = snapshot.generation,
                "configuration in force"
            );
            self.snapshots.send_replace(Arc::new(snapshot));
        }
        Ok(())
    }
}

async fn fingerprint_blocking(path: PathBuf) -> Result<(Fingerprint, std::time::Duration), FileSourceError> {
    tokio::task::spawn_blocking(move || fingerprint(&path)).await.map_err(|_| FileSourceError::Loader)
}

/// Loads and translates the objects; what it keeps from one load to the next.
#[derive(Debug, Clone)]
struct Loader {
    options: FileSourceOptions,
    objects: Objects,
    vips: VipAllocations,
    /// What is wrong with the files as they are.
    problems: Vec<Problem>,
    /// Notices and problems of the last load, which are not logged again.
    logged: BTreeSet<String>,
}

impl Loader {
    fn new(options: FileSourceOptions) -> Self {
        let vips = read_vips(&options.state_dir.join(VIRTUAL_ADDRESSES_NAME));
        Self { options, objects: Objects::default(), vips, problems: Vec::new(), logged: BTreeSet::new() }
    }

    /// Blocks for as long as reading takes.
    fn load(&mut self, previous: &Snapshot) -> Option<Snapshot> {
        let loaded = objects::load(&self.options.path);
        let mut reported: BTreeSet<String> = loaded.notices.iter().map(ToString::to_string).collect();
        self.problems = self.objects.update(loaded);
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        let vips_before = self.vips.clone();
        let translated = translate::translate(&self.objects, &self.options.translate, &mut self.vips);
        if self.vips != vips_before {
            // Before the addresses are published: from then on they must stay.
            save_vips(&self.options.state_dir, &self.vips);
        }
        reported.extend(translated.notices.iter().cloned());
        for notice in reported.difference(&self.logged) {
            tracing::info!("{notice}");
        }
        reported.extend(problems.iter().cloned());
        for problem in problems.iter().filter(|problem| !self.logged.contains(*problem)) {
            tracing::error!("{problem}");
        }
        self.logged = reported;
        Snapshot::following(previous, &translated)
    }
}

fn read_vips(path: &Path) -> VipAllocations {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return VipAllocations::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "allocated virtual addresses are lost");
            return VipAllocations::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "allocated virtual addresses are lost");
        VipAllocations::default()
    })
}

fn save_vips(state_dir: &Path, vips: &VipAllocations) {
    let path = state_dir.join(VIRTUAL_ADDRESSES_NAME);
    let fresh = path.with_extension("new");
    let write = || {
        fs::create_dir_all(state_dir)?;
        whole_file::replace(&path, &fresh, VIPS_MODE, &[&serde_json::to_vec(vips)?])
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "allocated virtual addresses cannot be saved");
    }
}
