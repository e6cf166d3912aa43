//! Receives resources, from a stream, a source in this process or the disk: decodes them, updates the mesh and the status, and
//! passes changes on to be saved.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::last_good::{self, Journal, Loaded, Records, UnsavedChanges};
use super::object_dump;
use super::received::{ReceivedResource, Version};
use super::status::XdsStatus;
use super::stream::{self, Processed, Response};
use super::subscription_state::SubscriptionState;
use crate::causes::with_causes;
use crate::compile::MissingReferences;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::proto::envoy::config::core::v3::Node;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ObjectUpdate, ResourceSet, ResourceType, WantedObjects};
use crate::state::{MeshWriter, SharedMesh};
use crate::telemetry::metrics::Metrics;

/// Updates that are applied to the mesh under one lock: connections wait for it, some microseconds for each update.
const UPDATES_PER_LOCK: usize = 64;

/// The one writer of the mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConfigReceiver {
    state: Arc<Mutex<SubscriptionState>>,
    mesh: SharedMesh,
    status: XdsStatus,
    unsaved: Arc<UnsavedChanges>,
}

impl ConfigReceiver {
    /// Starts with the agent's own settings and nothing else.
    #[must_use]
    pub fn new(mesh: SharedMesh, status: XdsStatus, own_settings: MeshSettings) -> Self {
        mesh.apply([MeshUpdate::Settings(own_settings.clone())]);
        let state = Arc::new(Mutex::new(SubscriptionState::new(own_settings)));
        Self { state, mesh, status, unsaved: Arc::default() }
    }

    /// Applies the whole state of the mesh, from a source in this process: what differs from what is known.
    pub fn apply_snapshot(&self, resources: &ResourceSet) {
        let mut batches = Batches::new(&self.mesh);
        let mut rejected = Vec::new();
        let counts = {
            let mut state = self.state.lock();
            for kind in ResourceType::of_files() {
                for (name, resource) in resources.of(kind) {
                    let (version, body) = (Version::from(&*resource.version), resource.body.clone());
                    let change =
                        state.update(kind, &ReceivedResource { name: name.clone(), version, body, flaw: None });
                    batches.add(change.updates);
                    rejected.extend(change.rejected.map(|reason| format!("{name}: {reason}")));
                }
                let removed = state.of(kind).keys().filter(|name| !resources.of(kind).contains_key(*name));
                for name in removed.cloned().collect::<Vec<_>>() {
                    batches.add(state.remove(kind, &name).into_iter().flatten());
                }
            }
            self.publish_http(&mut state);
            counts(&state)
        };
        for reason in &rejected {
            tracing::warn!(%reason, "a resource was rejected");
        }
        drop(batches);
        self.status.record_update(counts, &rejected);
        self.status.set_synced();
    }

    /// Puts changed objects about requests in force, all at once.
    fn publish_http(&self, state: &mut SubscriptionState) {
        let Some(config) = state.take_http() else { return };
        let decides_outbound = config.decides_outbound();
        let is_change = self.mesh.read().sidecars_decide_outbound() != decides_outbound;
        // What is refused early must be so for every pod: nothing is as long as Sidecars may say otherwise.
        if is_change && decides_outbound {
            self.mesh.apply([MeshUpdate::SidecarsDecideOutbound(true)]);
        }
        self.mesh.routes().replace(config);
        if is_change && !decides_outbound {
            self.mesh.apply([MeshUpdate::SidecarsDecideOutbound(false)]);
        }
    }

    /// Users' objects as they were received, for people. In the directory lie the certificates and keys that destinations may be shown.
    #[must_use]
    pub fn objects(&self, destination_tls_dir: &Path) -> Vec<serde_json::Value> {
        let services = self.mesh.read().services().map(|service| service.key.hostname.clone()).collect();
        let (mut objects, own_tls) = {
            let state = self.state.lock();
            (object_dump::objects(&state, &services), object_dump::own_tls(&state))
        };
        object_dump::add_unusable_files(&mut objects, &own_tls, destination_tls_dir);
        objects
    }

    /// How many fields of the objects of each kind have no effect.
    #[must_use]
    pub fn fields_without_effect(&self) -> Vec<(&'static str, u64)> {
        self.state.lock().fields_without_effect()
    }

    /// What a RateLimit (`namespace/name`) names that the mesh has none of. `None` where there is no such object, and while the control
    /// plane is not there to say what the mesh has.
    #[must_use]
    pub fn missing_references(&self, name: &str) -> Option<MissingReferences> {
        if !self.status.knows_all_now(ResourceType::Address) {
            return None;
        }
        let state = self.state.lock();
        let mesh = self.mesh.read();
        state.missing_references(name, |host, namespace| mesh.service_by_hostname(host, namespace).is_some())
    }

    /// The requests that open a stream.
    #[must_use]
    pub(super) fn subscriptions(&self, node: Node, objects: WantedObjects) -> Vec<DeltaDiscoveryRequest> {
        stream::subscriptions(node, &self.state.lock(), objects)
    }

    /// Applies a response; the mesh is up to date when this returns. Blocks for as long as decoding takes.
    #[must_use]
    pub fn handle_response(&self, response: DeltaDiscoveryResponse) -> Processed {
        let (outcome, counts) = self.apply(Response::new(response));
        self.status.record_update(counts, &outcome.rejected);
        outcome
    }

    /// Applies changes of users' objects that came by another way than the stream: as the control plane's would be, so that an
    /// object that is not valid leaves its last valid version in force, and all are kept on disk.
    pub fn apply_objects(&self, update: ObjectUpdate, metrics: &Metrics) {
        let response = Response::of_objects(update, &self.state.lock());
        let (outcome, counts) = self.apply(response);
        self.status.record_objects(counts, &outcome.rejected);
        let kind = outcome.kind.map_or("unknown", ResourceType::label);
        for reason in &outcome.rejected {
            tracing::warn!(kind, %reason, "an object was rejected");
            metrics.config_rejected(kind);
        }
        if outcome.rejected.is_empty() {
            metrics.config_accepted(SystemTime::now());
        }
    }

    /// Applies resources to the mesh. Returns what that led to, and how many resources of each type there are then.
    fn apply(&self, mut response: Response) -> (Processed, [usize; ResourceType::COUNT]) {
        let mut records = self.unsaved.is_enabled().then(Records::default);
        let mut batches = Batches::new(&self.mesh);
        let counts = {
            let mut state = self.state.lock();
            while let Some(change) = response.apply_next(&mut state) {
                if let (Some(records), Some(record)) = (&mut records, &change.record) {
                    records.push(record);
                }
                batches.add(change.updates);
            }
            self.publish_http(&mut state);
            counts(&state)
        };
        drop(batches);
        if let Some(records) = records {
            self.unsaved.add(records);
        }
        (response.finish(), counts)
    }

    /// Applies a response that holds the whole of its type: what it does not name was removed.
    pub(super) fn handle_whole(&self, mut response: DeltaDiscoveryResponse) -> Processed {
        stream::remove_what_is_not_named(&mut response, &self.state.lock());
        self.handle_response(response)
    }

    /// Loads the last good configuration, if there is a trustworthy one. Changes from then on are to be appended to the
    /// same file: see [`Self::save_changes`].
    pub(super) fn load_last_good(&self, path: PathBuf) -> Journal {
        let shown = path.display().to_string();
        let (journal, loaded) = Journal::load(path);
        self.unsaved.enable();
        match loaded {
            Ok(Some(loaded)) => {
                let count = loaded.resources.len();
                self.apply_loaded(loaded);
                tracing::info!(path = shown, resources = count, "serving the last good configuration");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = shown, error = with_causes(&error), "the last good configuration is ignored");
            }
        }
        journal
    }

    fn apply_loaded(&self, loaded: Loaded) {
        let mut batches = Batches::new(&self.mesh);
        let counts = {
            let mut state = self.state.lock();
            for (kind, received) in loaded.resources {
                batches.add(state.update(kind, &received).updates);
            }
            self.publish_http(&mut state);
            counts(&state)
        };
        drop(batches);
        self.status.record_loaded(counts, loaded.written);
        self.status.set_synced();
    }

    /// Keeps the file of the last good configuration up to date as long as it is this process's to write; runs forever.
    pub(super) async fn save_changes(&self, journal: Journal, metrics: &Metrics, is_ours: watch::Receiver<bool>) {
        last_good::save_forever(&self.unsaved, journal, &self.status, metrics, is_ours).await;
    }
}

/// Applies updates to the mesh, a bounded number under one lock; the rest when dropped.
struct Batches<'a> {
    writer: MeshWriter<'a>,
    updates: Vec<MeshUpdate>,
}

impl<'a> Batches<'a> {
    fn new(mesh: &'a SharedMesh) -> Self {
        Self { writer: mesh.writer(), updates: Vec::new() }
    }

    /// Adds updates that must be applied as one.
    fn add(&mut self, updates: impl IntoIterator<Item = MeshUpdate>) {
        self.updates.extend(updates);
        if self.updates.len() >= UPDATES_PER_LOCK {
            self.writer.apply(self.updates.drain(..));
        }
    }
}

impl Drop for Batches<'_> {
    fn drop(&mut self) {
        self.writer.apply(self.updates.drain(..));
    }
}

fn counts(state: &SubscriptionState) -> [usize; ResourceType::COUNT] {
    ResourceType::in_table(|kind| state.of(kind).len())
}
