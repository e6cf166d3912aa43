//! The state of the discovery stream and of what it delivered, for readiness, status pages and metrics.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::sync::watch;

use crate::resources::ResourceType;

/// Rejected resources kept by name in the report; the count is of all.
const MAX_REJECTED_SHOWN: usize = 50;

/// A handle to the status of the one source of configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct XdsStatus {
    report: Arc<Mutex<XdsReport>>,
    synced: watch::Sender<bool>,
    connection: watch::Sender<ConnectionState>,
    objects: Arc<OnceLock<ObjectsSource>>,
    object_faults: Arc<Mutex<Vec<FaultsSource>>>,
}

/// Whether there is a connection to the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// No connection has been tried yet.
    Untried,
    Up,
    /// And why.
    Down(Arc<str>),
}

/// Lists users' objects as they were received.
struct ObjectsSource(Box<dyn Fn() -> Vec<Json> + Send + Sync>);

impl fmt::Debug for ObjectsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectsSource")
    }
}

/// Tells why objects that do not come from the control plane are not followed.
struct FaultsSource(Box<dyn Fn() -> Vec<String> + Send + Sync>);

impl fmt::Debug for FaultsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultsSource")
    }
}

/// The status at one moment.
#[derive(Debug, Clone, Default)]
pub struct XdsReport {
    /// Where the configuration comes from: an address, a file.
    pub source: String,
    pub connected: bool,
    /// When the last update was received.
    pub last_update: Option<SystemTime>,
    /// Resources known, by type.
    pub resources: [usize; ResourceType::COUNT],
    /// Responses that had to be refused in whole or in part since the start.
    pub nacks: u64,
    /// What the last response with rejected resources said about them, as `name: reason`.
    pub last_rejected: Vec<String>,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
    /// True while all that is known comes from the last good configuration on disk.
    pub from_disk: bool,
    /// The types that this agent serves without, as the control plane has not answered them.
    pub unanswered: Vec<&'static str>,
    /// Why the last good configuration on disk is older than the one in use, if it could not be written.
    pub save_error: Option<String>,
}

impl XdsReport {
    /// Resources known of a type.
    #[must_use]
    pub fn count(&self, kind: ResourceType) -> usize {
        self.resources[kind.index()]
    }
}

impl Default for XdsStatus {
    fn default() -> Self {
        let (report, objects, object_faults) = Default::default();
        Self {
            report,
            synced: watch::Sender::new(false),
            connection: watch::Sender::new(ConnectionState::Untried),
            objects,
            object_faults,
        }
    }
}

impl XdsStatus {
    #[must_use]
    pub fn report(&self) -> XdsReport {
        self.report.lock().clone()
    }

    /// Resolves once there is a mesh to serve: every type was delivered, or the last good configuration was loaded.
    pub async fn first_sync(&self) {
        // The sender lives as long as this handle, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Whether all resources of a type are known as the control plane has them now: it is connected and has told them.
    #[must_use]
    pub(super) fn knows_all_now(&self, kind: ResourceType) -> bool {
        let report = self.report.lock();
        report.connected && !report.from_disk && !report.unanswered.contains(&kind.label()) && self.is_synced()
    }

    /// Users' objects as they were received: type, name, version and content of each. For people only.
    #[must_use]
    pub fn objects(&self) -> Vec<Json> {
        self.objects.get().map(|objects| objects.0()).unwrap_or_default()
    }

    /// Changes whenever the connection was made or lost.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.connection.subscribe()
    }

    pub fn set_objects_source(&self, objects: impl Fn() -> Vec<Json> + Send + Sync + 'static) {
        // There is one source in a process.
        let _ = self.objects.set(ObjectsSource(Box::new(objects)));
    }

    /// Why objects that come from another source than the control plane are not followed now.
    #[must_use]
    pub fn object_faults(&self) -> Vec<String> {
        self.object_faults.lock().iter().flat_map(|faults| faults.0()).collect()
    }

    pub fn add_object_faults(&self, faults: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        self.object_faults.lock().push(FaultsSource(Box::new(faults)));
    }

    pub(super) fn set_source(&self, source: &str) {
        source.clone_into(&mut self.report.lock().source);
    }

    pub(super) fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// The agent serves although these types were not answered.
    pub(super) fn set_synced_without(&self, unanswered: Vec<&'static str>) {
        self.report.lock().unanswered = unanswered;
        self.set_synced();
    }

    /// The control plane has answered a type.
    pub(super) fn record_answer(&self, kind: ResourceType) {
        self.report.lock().unanswered.retain(|unanswered| *unanswered != kind.label());
    }

    pub(super) fn record_loaded(&self, resources: [usize; ResourceType::COUNT], written: Option<SystemTime>) {
        let mut report = self.report.lock();
        report.resources = resources;
        report.last_update = written;
        report.from_disk = true;
    }

    pub(super) fn set_connected(&self) {
        let mut report = self.report.lock();
        report.connected = true;
        report.last_error = None;
        drop(report);
        self.connection.send_replace(ConnectionState::Up);
    }

    /// Returns true if this is another error than the one before.
    pub(super) fn set_disconnected(&self, error: &str) -> bool {
        let mut report = self.report.lock();
        report.connected = false;
        let is_new = report.last_error.as_deref() != Some(error);
        report.last_error = Some(error.to_owned());
        drop(report);
        self.connection.send_replace(ConnectionState::Down(error.into()));
        is_new
    }

    pub(super) fn record_update(&self, resources: [usize; ResourceType::COUNT], rejected: &[String]) {
        let mut report = self.report.lock();
        report.last_update = Some(SystemTime::now());
        report.from_disk = false;
        drop(report);
        self.record_objects(resources, rejected);
    }

    /// Objects came from another source than the control plane: that says nothing of how old the mesh is.
    pub(super) fn record_objects(&self, resources: [usize; ResourceType::COUNT], rejected: &[String]) {
        let mut report = self.report.lock();
        report.resources = resources;
        if !rejected.is_empty() {
            report.nacks += 1;
            report.last_rejected = rejected.iter().take(MAX_REJECTED_SHOWN).cloned().collect();
        }
    }

    /// Returns true if this is another error than the one before.
    pub(super) fn record_save_failure(&self, error: &str) -> bool {
        let former = self.report.lock().save_error.replace(error.to_owned());
        former.as_deref() != Some(error)
    }

    /// Returns true if it could not be saved before.
    pub(super) fn record_saved(&self) -> bool {
        self.report.lock().save_error.take().is_some()
    }

    /// Replaces the reported problems by those of a source in this process; none, once they are fixed.
    pub fn set_problems(&self, problems: impl Iterator<Item = String>) {
        self.report.lock().last_rejected = problems.take(MAX_REJECTED_SHOWN).collect();
    }
}
