//! Where every delivery ends: resources come in, the mesh is updated, the status follows, and what changed goes to disk
//! in the background. Knows no stream and no connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::held::{Held, Incoming};
use super::last_good::{Journal, Loaded};
use super::records::Records;
use super::status::XdsStatus;
use super::stream::{self, Effects, Outcome};
use super::version::Version;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::proto::envoy::config::core::v3::Node;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ResourceSet, ResourceType};
use crate::state::{MeshWriter, SharedMesh};
use crate::telemetry::metrics::{Metrics, StateFile};

/// Updates that are applied under one lock: connections wait for it, some microseconds for each.
const BATCH: usize = 64;
/// Changes that come within this time are written to disk together.
const SAVE_DELAY: Duration = Duration::from_millis(100);
/// Writing takes at most this share of the time, however often the mesh changes.
const SAVE_SHARE: u32 = 20;
/// Between attempts to write what could not be written.
const SAVE_RETRY: Duration = Duration::from_secs(3);
/// What is kept in memory for a disk that takes nothing; more is given up, and the file with it.
const UNSAVED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The one writer of the mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    held: Arc<Mutex<Held>>,
    mesh: SharedMesh,
    status: XdsStatus,
    unsaved: Arc<Unsaved>,
}

/// Changes on their way to the disk.
#[derive(Debug, Default)]
struct Unsaved {
    /// False where nothing is kept on disk.
    wanted: AtomicBool,
    records: Mutex<Records>,
    added: Notify,
}

impl Intake {
    /// Starts with the agent's own settings and nothing else.
    #[must_use]
    pub fn new(mesh: SharedMesh, status: XdsStatus, own_settings: MeshSettings) -> Self {
        mesh.apply([MeshUpdate::Settings(own_settings.clone())]);
        let held = Arc::new(Mutex::new(Held::new(own_settings)));
        Self { held, mesh, status, unsaved: Arc::default() }
    }

    /// Takes the full state of the mesh from a source in this process, and applies what differs from what is held.
    pub fn apply_local(&self, resources: &ResourceSet) {
        let mut batches = Batches::new(&self.mesh);
        let mut rejected = Vec::new();
        let counts = {
            let mut held = self.held.lock();
            for kind in ResourceType::MESH {
                for (name, resource) in resources.of(kind) {
                    let (version, body) = (Version::from(&*resource.version), resource.body.clone());
                    let change = held.put(kind, &Incoming { name: name.clone(), version, body, flaw: None });
                    batches.add(change.updates);
                    rejected.extend(change.rejected.map(|reason| format!("{name}: {reason}")));
                }
                let gone = held.of(kind).keys().filter(|name| !resources.of(kind).contains_key(*name));
                for name in gone.cloned().collect::<Vec<_>>() {
                    batches.add(held.remove(kind, &name).into_iter().flatten());
                }
            }
            counts(&held)
        };
        for reason in &rejected {
            tracing::warn!(%reason, "a resource was rejected");
        }
        drop(batches);
        self.status.updated(counts, &rejected);
        self.status.synced();
    }

    /// What is held of the objects that users wrote, for people.
    #[must_use]
    pub fn objects(&self) -> Vec<serde_json::Value> {
        super::shown::objects(&self.held.lock())
    }

    /// The requests that open a stream.
    #[must_use]
    pub(super) fn open(&self, node: Node, objects: bool) -> Vec<DeltaDiscoveryRequest> {
        stream::open(node, &self.held.lock(), objects)
    }

    /// Takes a response and applies it; the outcome's updates are done and gone then. Blocks for as long as decoding takes.
    #[must_use]
    pub fn handle(&self, response: DeltaDiscoveryResponse) -> Outcome {
        let records = self.unsaved.wanted.load(Ordering::Relaxed).then(Records::default);
        let mut taken = Effective { batches: Batches::new(&self.mesh), records };
        let (outcome, counts) = {
            let mut held = self.held.lock();
            let outcome = stream::handle(&mut held, response, &mut taken);
            (outcome, counts(&held))
        };
        let Effective { batches, records } = taken;
        drop(batches);
        self.status.updated(counts, &outcome.rejected);
        if let Some(records) = records.filter(|records| !records.is_empty()) {
            self.unsaved.records.lock().append(records);
            self.unsaved.added.notify_one();
        }
        outcome
    }

    /// Loads the last good configuration, if there is a trustworthy one. What changes from then on is to be kept in the
    /// same file: see [`Self::keep_saved`].
    pub(super) fn load(&self, path: PathBuf) -> Journal {
        let shown = path.display().to_string();
        let (journal, loaded) = Journal::load(path);
        self.unsaved.wanted.store(true, Ordering::Relaxed);
        match loaded {
            Ok(Some(loaded)) => {
                let count = loaded.resources.len();
                self.resume(loaded);
                tracing::info!(path = shown, resources = count, "serving the last good configuration");
            }
            Ok(None) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(path = shown, %error, cause, "the last good configuration is ignored");
            }
        }
        journal
    }

    fn resume(&self, loaded: Loaded) {
        let mut batches = Batches::new(&self.mesh);
        let counts = {
            let mut held = self.held.lock();
            for (kind, incoming) in loaded.resources {
                batches.add(held.put(kind, &incoming).updates);
            }
            counts(&held)
        };
        drop(batches);
        self.status.loaded(counts, loaded.written);
        self.status.synced();
    }

    /// Keeps the file up to date as long as it is this process's to write; runs forever. What is not complete is not written: see [`super::last_good`].
    pub(super) async fn keep_saved(&self, mut journal: Journal, metrics: &Metrics, mut is_ours: watch::Receiver<bool>) {
        let mut delay = SAVE_DELAY;
        loop {
            self.unsaved.added.notified().await;
            tokio::time::sleep(delay).await;
            self.status.first_sync().await;
            if !*is_ours.borrow_and_update() {
                if is_ours.wait_for(|ours| *ours).await.is_err() {
                    return std::future::pending().await;
                }
                journal = journal.reopened();
            }
            let started = tokio::time::Instant::now();
            let records = std::mem::take(&mut *self.unsaved.records.lock());
            if records.is_empty() {
                continue;
            }
            let saving = tokio::task::spawn_blocking(move || {
                let saved = journal.append(&records);
                (journal, records, saved)
            });
            let Ok((returned, records, saved)) = saving.await else {
                tracing::error!("the last good configuration is no longer written");
                return std::future::pending().await;
            };
            journal = returned;
            delay = SAVE_DELAY.max(started.elapsed() * SAVE_SHARE);
            match saved {
                Err(error) => {
                    metrics.state_write_failed(StateFile::LastGood);
                    if self.status.save_failed(&error.to_string()) {
                        tracing::warn!(%error, "the last good configuration could not be written, it is being retried");
                    }
                    self.save_later(records, &mut journal);
                    delay = SAVE_RETRY;
                }
                Ok(()) if self.status.saved() => tracing::info!("the last good configuration is written again"),
                Ok(()) => {}
            }
        }
    }

    fn save_later(&self, mut records: Records, journal: &mut Journal) {
        let mut since = self.unsaved.records.lock();
        records.append(std::mem::take(&mut *since));
        if records.as_bytes().len() > UNSAVED_BYTES_MAX {
            tracing::error!("the last good configuration is given up: too much could not be written");
            self.unsaved.wanted.store(false, Ordering::Relaxed);
            journal.discard();
            return;
        }
        *since = records;
        self.unsaved.added.notify_one();
    }
}

/// Updates on their way to the mesh, a bounded number under one lock.
struct Batches<'a> {
    writer: MeshWriter<'a>,
    updates: Vec<MeshUpdate>,
}

impl<'a> Batches<'a> {
    fn new(mesh: &'a SharedMesh) -> Self {
        Self { writer: mesh.writer(), updates: Vec::new() }
    }

    /// Updates that must be applied as one.
    fn add(&mut self, updates: impl IntoIterator<Item = MeshUpdate>) {
        self.updates.extend(updates);
        if self.updates.len() >= BATCH {
            self.writer.apply(self.updates.drain(..));
        }
    }
}

impl Drop for Batches<'_> {
    fn drop(&mut self) {
        self.writer.apply(self.updates.drain(..));
    }
}

/// What a response does.
struct Effective<'a> {
    batches: Batches<'a>,
    records: Option<Records>,
}

impl Effects for Effective<'_> {
    fn mesh(&mut self, updates: Vec<MeshUpdate>) {
        self.batches.add(updates);
    }

    fn records(&mut self) -> Option<&mut Records> {
        self.records.as_mut()
    }
}

fn counts(held: &Held) -> [usize; ResourceType::COUNT] {
    ResourceType::in_table(|kind| held.of(kind).len())
}
