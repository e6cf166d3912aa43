//! How the watches are: since when they are connected, and what failed last.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::client::KubernetesError;
use crate::telemetry::metrics::Metrics;

/// How all watches together are now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchReport {
    /// Since when every watch is connected; `None` while one is not.
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

    /// The watch is connected. That the API server ends it in good order and it begins anew is no interruption.
    pub(super) fn connected(&self, what: &str) {
        let mut state = self.state.lock();
        if state.connected_since.is_none() {
            tracing::info!(what, "Kubernetes is followed");
            state.connected_since = Some(SystemTime::now());
        }
    }

    /// The watch failed. True if it was connected before, or never tried.
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
