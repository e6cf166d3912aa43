//! Where every delivery ends: resources come in, the mesh is updated, the status follows, and what is held goes to disk
//! in the background. Knows no stream and no connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::held::{Held, Incoming};
use super::last_good;
use super::status::XdsStatus;
use super::stream::{self, Outcome};
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::proto::envoy::config::core::v3::Node;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ResourceSet, ResourceType};
use crate::state::SharedMesh;
use crate::telemetry::metrics::{Metrics, StateFile};

/// Updates that are applied under one lock: connections wait for it.
const BATCH: usize = 4096;
/// Changes that come within this time are written to disk together.
const SAVE_DELAY: Duration = Duration::from_millis(100);
/// What could not be written is tried again after this time: nothing tells when there is room again.
const SAVE_RETRY: Duration = Duration::from_secs(3);
/// Writing takes at most this share of the time, however often a large mesh changes.
const SAVE_SHARE: u32 = 20;

/// The one writer of the mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    held: Arc<Mutex<Held>>,
    mesh: SharedMesh,
    status: XdsStatus,
    to_save: Arc<Notify>,
}

impl Intake {
    /// Starts with the agent's own settings and nothing else.
    #[must_use]
    pub fn new(mesh: SharedMesh, status: XdsStatus, own_settings: MeshSettings) -> Self {
        mesh.apply([MeshUpdate::Settings(own_settings.clone())]);
        let held = Arc::new(Mutex::new(Held::new(own_settings)));
        Self { held, mesh, status, to_save: Arc::default() }
    }

    /// Takes the full state of the mesh from a source in this process, and applies what differs from what is held.
    pub fn apply_local(&self, resources: &ResourceSet) {
        let mut updates = Vec::new();
        let mut rejected = Vec::new();
        let counts = {
            let mut held = self.held.lock();
            for kind in ResourceType::ALL {
                for (name, resource) in resources.of(kind) {
                    let (name, version, body) = (name.clone(), resource.version.clone(), resource.body.clone());
                    let change = held.put(kind, Incoming { name: name.clone(), version, body, flaw: None });
                    updates.extend(change.updates);
                    rejected.extend(change.rejected.map(|reason| format!("{name}: {reason}")));
                }
                let gone = held.of(kind).keys().filter(|name| !resources.of(kind).contains_key(*name));
                for name in gone.cloned().collect::<Vec<_>>() {
                    updates.extend(held.remove(kind, &name));
                }
            }
            counts(&held)
        };
        for reason in &rejected {
            tracing::warn!(%reason, "a resource was rejected");
        }
        self.apply(updates);
        self.status.updated(counts, &rejected);
        self.status.synced();
    }

    /// The requests that open a stream.
    #[must_use]
    pub(super) fn open(&self, node: Node) -> Vec<DeltaDiscoveryRequest> {
        stream::open(node, &self.held.lock())
    }

    /// Takes a response and applies it; the outcome's updates are done and gone then. Blocks for as long as decoding takes.
    #[must_use]
    pub fn handle(&self, response: DeltaDiscoveryResponse) -> Outcome {
        let (mut outcome, counts) = {
            let mut held = self.held.lock();
            let outcome = stream::handle(&mut held, response);
            let counts = counts(&held);
            (outcome, counts)
        };
        self.apply(std::mem::take(&mut outcome.updates));
        self.status.updated(counts, &outcome.rejected);
        if outcome.changed {
            self.to_save.notify_one();
        }
        outcome
    }

    fn apply(&self, updates: Vec<MeshUpdate>) {
        let mut updates = updates.into_iter().peekable();
        while updates.peek().is_some() {
            self.mesh.apply(updates.by_ref().take(BATCH));
        }
    }

    /// Loads the last good configuration, if there is a trustworthy one.
    pub(super) fn load(&self, path: &Path) {
        match last_good::load(path) {
            Ok(Some(loaded)) => {
                let count = loaded.resources.len();
                self.resume(loaded);
                tracing::info!(path = %path.display(), resources = count, "serving the last good configuration");
            }
            Ok(None) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(path = %path.display(), %error, cause, "the last good configuration is ignored");
            }
        }
    }

    fn resume(&self, loaded: last_good::Loaded) {
        let mut updates = Vec::new();
        let counts = {
            let mut held = self.held.lock();
            for (kind, incoming) in loaded.resources {
                updates.extend(held.put(kind, incoming).updates);
            }
            counts(&held)
        };
        self.apply(updates);
        self.status.loaded(counts, loaded.written);
        self.status.synced();
    }

    /// Keeps the file up to date; runs forever. What is not complete is not written: see [`last_good`].
    pub(super) async fn keep_saved(&self, path: PathBuf, metrics: &Metrics) {
        let mut delay = SAVE_DELAY;
        loop {
            self.to_save.notified().await;
            tokio::time::sleep(delay).await;
            self.status.first_sync().await;
            let started = tokio::time::Instant::now();
            let (held, path) = (self.held.clone(), path.clone());
            let saving = tokio::task::spawn_blocking(move || {
                let entries = entries(&held.lock());
                last_good::save(&path, &entries)
            });
            let saved = saving.await;
            delay = SAVE_DELAY.max(started.elapsed() * SAVE_SHARE);
            match saved {
                Ok(Err(error)) => {
                    metrics.state_write_failed(StateFile::LastGood);
                    if self.status.save_failed(&error.to_string()) {
                        tracing::warn!(%error, "the last good configuration could not be written, it is being retried");
                    }
                    delay = SAVE_RETRY;
                    self.to_save.notify_one();
                }
                _ if self.status.saved() => tracing::info!("the last good configuration is written again"),
                _ => {}
            }
        }
    }
}

fn entries(held: &Held) -> Vec<last_good::Entry> {
    let of = |kind| held.of(kind).iter().map(move |(name, resource)| (kind, name.clone(), resource.clone()));
    ResourceType::ALL.into_iter().flat_map(of).collect()
}

fn counts(held: &Held) -> [usize; 3] {
    let mut counts = [0; 3];
    for kind in ResourceType::ALL {
        counts[kind.index()] = held.of(kind).len();
    }
    counts
}
