//! How the delivery of configuration is doing, for readiness, status pages and metrics. Must not influence it.

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
    link: watch::Sender<Link>,
    objects: Arc<OnceLock<Objects>>,
}

/// Whether the source of configuration is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It has not been tried yet.
    Untried,
    Up,
    /// And why.
    Down(Arc<str>),
}

/// Tells what is held of the objects that users wrote.
struct Objects(Box<dyn Fn() -> Vec<Json> + Send + Sync>);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

/// The status at one moment.
#[derive(Debug, Clone, Default)]
pub struct XdsReport {
    /// Where the configuration comes from: an address, a file.
    pub source: String,
    pub connected: bool,
    /// When the source was last heard of with a change.
    pub last_update: Option<SystemTime>,
    /// Resources held, by type.
    pub resources: [usize; ResourceType::COUNT],
    /// Responses that had to be refused in whole or in part since the start.
    pub nacks: u64,
    /// What the last response with rejected resources said about them, as `name: reason`.
    pub last_rejected: Vec<String>,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
    /// True while all that is known comes from the last good configuration on disk.
    pub from_disk: bool,
    /// Why the last good configuration on disk is older than the one in use, if it could not be written.
    pub save_error: Option<String>,
}

impl XdsReport {
    /// Resources held of a type.
    #[must_use]
    pub fn count(&self, kind: ResourceType) -> usize {
        self.resources[kind.index()]
    }
}

impl Default for XdsStatus {
    fn default() -> Self {
        let (report, objects) = Default::default();
        Self { report, synced: watch::Sender::new(false), link: watch::Sender::new(Link::Untried), objects }
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

    /// The objects that users wrote, as far as they came: type, name, version and content of each. For people only.
    #[must_use]
    pub fn objects(&self) -> Vec<Json> {
        self.objects.get().map(|objects| objects.0()).unwrap_or_default()
    }

    /// Changes whenever the connection was made or lost.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    pub(super) fn shows(&self, objects: impl Fn() -> Vec<Json> + Send + Sync + 'static) {
        // There is one source of configuration in a process.
        let _ = self.objects.set(Objects(Box::new(objects)));
    }

    pub(super) fn source(&self, source: &str) {
        source.clone_into(&mut self.report.lock().source);
    }

    pub(super) fn synced(&self) {
        self.synced.send_replace(true);
    }

    pub(super) fn loaded(&self, resources: [usize; ResourceType::COUNT], written: Option<SystemTime>) {
        let mut report = self.report.lock();
        report.resources = resources;
        report.last_update = written;
        report.from_disk = true;
    }

    pub(super) fn connected(&self) {
        let mut report = self.report.lock();
        report.connected = true;
        report.last_error = None;
        drop(report);
        self.link.send_replace(Link::Up);
    }

    /// Returns true if this is another error than the one before.
    pub(super) fn disconnected(&self, error: &str) -> bool {
        let mut report = self.report.lock();
        report.connected = false;
        let news = report.last_error.as_deref() != Some(error);
        report.last_error = Some(error.to_owned());
        drop(report);
        self.link.send_replace(Link::Down(error.into()));
        news
    }

    pub(super) fn updated(&self, resources: [usize; ResourceType::COUNT], rejected: &[String]) {
        let mut report = self.report.lock();
        report.resources = resources;
        report.last_update = Some(SystemTime::now());
        report.from_disk = false;
        if !rejected.is_empty() {
            report.nacks += 1;
            report.last_rejected = rejected.iter().take(MAX_REJECTED_SHOWN).cloned().collect();
        }
    }

    /// Returns true if this is another error than the one before.
    pub(super) fn save_failed(&self, error: &str) -> bool {
        let former = self.report.lock().save_error.replace(error.to_owned());
        former.as_deref() != Some(error)
    }

    /// Returns true if it could not be saved before.
    pub(super) fn saved(&self) -> bool {
        self.report.lock().save_error.take().is_some()
    }

    /// Takes over what is wrong with a source in this process now; nothing, once it has been put right.
    pub fn set_problems(&self, problems: impl Iterator<Item = String>) {
        self.report.lock().last_rejected = problems.take(MAX_REJECTED_SHOWN).collect();
    }
}
