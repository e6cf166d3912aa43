//! Whether this agent is being uninstalled or only restarted: its own DaemonSet is deleted before its pods are. The rights to
//! read it may be deleted along with it, so it is watched from the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Api;

use super::client::within_timeout;
use super::directory::Directory;
use super::status::WatchStatus;
use super::watch::{Change, Selection, list_and_watch};
use super::wire::{DaemonSet, Pod};
use crate::pauses::Pauses;
use crate::telemetry::metrics::Metrics;

/// The pause before the agent's own pod is read again after a failure: the first, and the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(10);
/// How long the last request for the DaemonSet may take: the agent's end waits for it.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(500);

/// The DaemonSet that this agent's pod belongs to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Installation {
    directory: Directory,
    namespace: String,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    name: parking_lot::Mutex<Option<String>>,
    /// It exists or existed for certain. Without that, a name that is set wrong would count as an uninstallation.
    was_there: AtomicBool,
    is_listed: AtomicBool,
    is_going: AtomicBool,
}

impl Installation {
    /// Begins to watch the DaemonSet of this name, or that of the agent's own pod unless one is given. An agent that belongs to
    /// none is never uninstalled by Kubernetes. Must be called inside the runtime.
    #[must_use]
    pub fn start(
        directory: Directory,
        own_pod: (String, String),
        daemon_set: Option<String>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (namespace, pod) = own_pod;
        let installation = Self { directory, namespace, seen: Arc::default() };
        let watched = installation.clone();
        tokio::spawn(async move {
            let name = match daemon_set {
                Some(name) => Some(name),
                None if pod.is_empty() => None,
                None => watched.find(&pod).await.inspect(|_| watched.seen.was_there.store(true, Ordering::Relaxed)),
            };
            let Some(name) = name else {
                tracing::info!(pod, "the agent's pod belongs to no DaemonSet");
                return;
            };
            *watched.seen.name.lock() = Some(name.clone());
            let apply = |change: Change<DaemonSet>| watched.seen.apply(&change);
            let status = WatchStatus::new(metrics);
            let selection = Selection::fields(format!("metadata.name={name}"));
            list_and_watch(watched.api(), selection, &status, apply).await;
        });
        installation
    }

    /// True once the DaemonSet is gone or going, or its namespace is.
    #[must_use]
    pub fn uninstalling(&self) -> bool {
        self.seen.is_going.load(Ordering::Relaxed) || self.directory.is_namespace_ending(&self.namespace)
    }

    /// [`Self::uninstalling`], and asks the API server once more: to be called after a signal to stop. Rights that were there and are
    /// gone mean it, too, since they are deleted along with the DaemonSet. Without an answer it counts as a restart: what is
    /// captured stays safe.
    pub async fn confirm_uninstalling(&self) -> bool {
        let name = self.seen.name.lock().clone();
        let Some(name) = name.filter(|_| !self.uninstalling()) else { return self.uninstalling() };
        let api = self.api();
        let reading = within_timeout(format!("reading DaemonSet {name}"), api.get_opt(&name));
        match tokio::time::timeout(CONFIRMATION_TIMEOUT, reading).await {
            Ok(Ok(Some(found))) => found.is_deleted,
            Ok(Ok(None)) => self.seen.was_there.load(Ordering::Relaxed),
            Ok(Err(error)) => matches!(error.code(), Some(401 | 403)) && self.seen.was_there.load(Ordering::Relaxed),
            Err(_) => false,
        }
    }

    fn api(&self) -> Api<DaemonSet> {
        Api::namespaced(self.directory.client().clone(), &self.namespace)
    }

    /// The DaemonSet that a pod belongs to.
    async fn find(&self, pod: &str) -> Option<String> {
        let api: Api<Pod> = Api::namespaced(self.directory.client().clone(), &self.namespace);
        let mut pauses = Pauses::new(FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE);
        loop {
            match within_timeout(format!("reading the agent's own pod {pod}"), api.get_opt(pod)).await {
                Ok(found) => return found?.facts.daemon_set,
                Err(error) => {
                    tracing::warn!(%error, "it is not known yet which DaemonSet this agent belongs to");
                    tokio::time::sleep(pauses.take()).await;
                }
            }
        }
    }
}

impl Seen {
    fn apply(&self, change: &Change<DaemonSet>) {
        match change {
            Change::Listing => self.is_listed.store(false, Ordering::Relaxed),
            Change::Put(found) => {
                self.is_listed.store(true, Ordering::Relaxed);
                self.was_there.store(true, Ordering::Relaxed);
                self.is_going.store(found.is_deleted, Ordering::Relaxed);
            }
            Change::Removed(_) => self.is_going.store(true, Ordering::Relaxed),
            Change::Listed if self.is_listed.load(Ordering::Relaxed) => {}
            Change::Listed => self.is_going.store(self.was_there.load(Ordering::Relaxed), Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon_set(is_deleted: bool) -> DaemonSet {
        let ending = if is_deleted { r#", "deletionTimestamp": "2026-01-01T00:00:00Z""# } else { "" };
        serde_json::from_str(&format!(r#"{{"metadata": {{"name": "weir"{ending}}}}}"#)).expect("it is one")
    }

    #[test]
    fn the_end_of_a_daemon_set_is_known_by_any_of_its_signs() {
        use Change::{Listed, Listing, Put, Removed};
        let there = || vec![Listing, Put(daemon_set(false)), Listed];
        for (what, more, expected) in [
            ("it is there", vec![], false),
            ("deleted", vec![Removed(daemon_set(true))], true),
            ("being deleted, its pods first", vec![Put(daemon_set(true))], true),
            ("made anew", vec![Removed(daemon_set(true)), Put(daemon_set(false))], false),
            ("missing from a later list", vec![Listing, Listed], true),
            ("listed again", vec![Listing, Put(daemon_set(false)), Listed], false),
            ("being listed", vec![Listing], false),
        ] {
            let seen = Seen::default();
            for change in there().into_iter().chain(more) {
                seen.apply(&change);
            }
            assert_eq!(seen.is_going.load(Ordering::Relaxed), expected, "{what}");
        }
        let misnamed = Seen::default();
        misnamed.apply(&Listing);
        misnamed.apply(&Listed);
        assert!(!misnamed.is_going.load(Ordering::Relaxed), "one that never was does not end");
    }
}
