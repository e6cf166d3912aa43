//! Writes the status of objects, one after another, by server-side apply. Objects count all the same where an agent may not write it, or
//! nobody takes it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::json;
use tokio::sync::watch;

use super::statuses::{End, Next, Seen, Statuses, Write};
use crate::compile::MissingReferences;
use crate::kubernetes::client::{KubernetesError, within_timeout};
use crate::kubernetes::watch::Change;
use crate::pauses::Pauses;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::utc_time::rfc3339_seconds;

/// Who has written a field, for Kubernetes. All agents have one name, so that what one has said another may replace.
const FIELD_MANAGER: &str = "weir";
/// Between two writes of an agent.
const WRITE_PAUSE: Duration = Duration::from_millis(100);
/// Between a change and a look at it and at those that follow.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How long until it is looked again whether the mesh is known.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a failure that is not about a single object: the first, and the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(300);
/// Answers of the API server: it does not know the client, does not let it write, or is asked too much.
const NOT_AUTHENTICATED: u16 = 401;
const FORBIDDEN: u16 = 403;
const TOO_MANY_REQUESTS: u16 = 429;
/// There is no such object, or its definition has no status.
const NOT_FOUND: u16 = 404;
/// The object is not as it was when this was decided.
const CONFLICT: u16 = 409;

/// Finds what an object (`namespace/name`) names and the mesh has none of; `None` while nobody can say.
type FindMissing = dyn Fn(&str) -> Option<MissingReferences> + Send + Sync;

/// What of the mesh a status depends on.
#[derive(Clone)]
pub struct MeshView {
    pub find_missing: Arc<FindMissing>,
    /// Changes whenever the mesh does.
    pub changes: watch::Receiver<u64>,
}

impl fmt::Debug for MeshView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshView")
    }
}

/// The statuses of all objects of a kind.
#[derive(Debug)]
pub(in crate::kubernetes) struct ObjectStatuses {
    statuses: Mutex<Statuses>,
    changed: watch::Sender<()>,
    metrics: Arc<Metrics>,
}

impl ObjectStatuses {
    pub(in crate::kubernetes) fn new(metrics: Arc<Metrics>) -> Self {
        Self { statuses: Mutex::default(), changed: watch::Sender::new(()), metrics }
    }

    /// Takes a change of the objects, by `namespace/name`. False where nothing but status or metadata of one can be different.
    pub(in crate::kubernetes) fn take(&self, change: Change<(Arc<str>, Seen)>) -> bool {
        let is_new = self.statuses.lock().take(change);
        self.changed.send_replace(());
        is_new
    }

    /// Keeps the statuses up to date. Runs for ever.
    pub(in crate::kubernetes) async fn write_for_ever(
        &self,
        client: Client,
        resource: &ApiResource,
        mut mesh: MeshView,
    ) {
        let mut changed = self.changed.subscribe();
        let mut trouble = Trouble::default();
        let mut look_again = Some(Instant::now());
        loop {
            let has_changed = [changed.has_changed(), mesh.changes.has_changed()].into_iter().flatten().any(|is| is);
            if has_changed || look_again.is_some_and(|at| at <= Instant::now()) {
                changed.mark_unchanged();
                mesh.changes.mark_unchanged();
                let all_judged = self.statuses.lock().judge(Instant::now(), &*mesh.find_missing, chance);
                look_again = (!all_judged).then(|| Instant::now() + UNKNOWN_PAUSE);
            }
            let next = self.statuses.lock().next(Instant::now());
            let due = match next {
                Next::Write(write) => {
                    let pause = self.write(&client, resource, &write, &mut trouble).await;
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Next::At(at) => Some(at),
                Next::Nothing => None,
            };
            tokio::select! {
                () = until(due.into_iter().chain(look_again).min()) => continue,
                _ = changed.changed() => changed.mark_changed(),
                _ = mesh.changes.changed() => mesh.changes.mark_changed(),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Writes one status. Returns how long to wait before the next one.
    async fn write(&self, client: &Client, resource: &ApiResource, write: &Write, trouble: &mut Trouble) -> Duration {
        let (namespace, name) = write.name.split_once('/').unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
        // With uid and version the API server refuses what was decided about another object, or about one that has changed since.
        let patch = Patch::Apply(json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "namespace": namespace, "uid": write.uid, "resourceVersion": write.version},
            "status": {"conditions": write.conditions(&rfc3339_seconds(SystemTime::now()))},
        }));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("writing the status of {} {}", resource.kind, write.name);
        let written = within_timeout(what, api.patch_status(name, &params, &patch)).await;
        self.metrics.object_status_written(match &written {
            Ok(_) => "written",
            Err(error) if error.code() == Some(CONFLICT) => "overtaken",
            Err(_) => "failed",
        });
        let end = match &written {
            Ok(_) => End::Written,
            Err(error) => match error.code() {
                Some(CONFLICT) => End::Overtaken,
                Some(NOT_FOUND) => End::NotFound,
                Some(NOT_AUTHENTICATED | FORBIDDEN | TOO_MANY_REQUESTS | 500..) | None => {
                    trouble.tell(error, resource);
                    return trouble.pauses.take();
                }
                Some(_) => End::Refused,
            },
        };
        let is_there = self.statuses.lock().ended(write, end, Instant::now(), chance);
        match written {
            Err(error) if end == End::Refused || is_there => trouble.tell(&error, resource),
            _ => trouble.is_over(resource),
        }
        WRITE_PAUSE
    }
}

/// What hinders writing, and that it was logged.
#[derive(Debug)]
struct Trouble {
    /// The answer of the API server, if there was one.
    told: Option<Option<u16>>,
    pauses: Pauses,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { told: None, pauses: Pauses::new(FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE) }
    }
}

impl Trouble {
    /// Logs a failure, once for all of its kind that follow each other.
    fn tell(&mut self, error: &KubernetesError, resource: &ApiResource) {
        if self.told.replace(error.code()) == Some(error.code()) {
            tracing::debug!(%error, "a status could still not be written");
            return;
        }
        let ApiResource { group, plural, .. } = resource;
        let remedy = match error.code() {
            Some(FORBIDDEN) => format!(
                "the agent's service account may not patch {plural}/status of {group}: deploy/kubernetes-objects/rights.yaml has the right"
            ),
            Some(NOT_FOUND) => format!("the cluster's definition of {plural} has no status: apply deploy/crds"),
            _ => "it is tried again".to_owned(),
        };
        tracing::warn!(%error, remedy, "a status could not be written; the objects count all the same");
    }

    fn is_over(&mut self, resource: &ApiResource) {
        self.pauses.reset();
        if self.told.take().is_some() {
            tracing::info!(kind = resource.kind, "statuses are written again");
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A number between 0 and 1.
fn chance() -> f64 {
    rand::rng().random_range(0.0..=1.0)
}
