//! What can be told of the watches: since when they stand, and what went wrong last.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::KubernetesError;
use crate::telemetry::metrics::Metrics;

/// How Kubernetes is followed, now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchReport {
    /// Since when every watch stands; `None` while one does not.
    pub connected_since: Option<SystemTime>,
    /// The first list is complete: what is not known does not exist.
    pub is_complete: bool,
    /// Pods of this node.
    pub pods: usize,
    pub in_mesh: usize,
    pub last_error: Option<String>,
}

/// The state of one watch.
#[derive(Debug, Clone)]
pub(super) struct WatchStatus {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct State {
    pub(super) connected_since: Option<SystemTime>,
    pub(super) last_error: Option<String>,
}

impl WatchStatus {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Arc::default(), metrics }
    }

    /// The watch stands. An orderly end and a new beginning are no interruption.
    pub(super) fn connected(&self, what: &str) {
        let mut state = self.state.lock();
        if state.connected_since.is_none() {
            tracing::info!(what, "Kubernetes is followed");
            state.connected_since = Some(SystemTime::now());
        }
    }

    /// True if that is news: the watch stood before, or was never tried.
    pub(super) fn failed(&self, error: &KubernetesError) -> bool {
        self.metrics.kubernetes_watch_failed();
        let failed = State { connected_since: None, last_error: Some(error.to_string()) };
        let former = std::mem::replace(&mut *self.state.lock(), failed);
        former.connected_since.is_some() || former.last_error.is_none()
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }
}
