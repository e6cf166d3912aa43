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
    pub(super) fn connected(&self) {
        self.state.lock().connected_since.get_or_insert_with(SystemTime::now);
    }

    pub(super) fn failed(&self, error: &KubernetesError) {
        self.metrics.kubernetes_watch_failed();
        *self.state.lock() = State { connected_since: None, last_error: Some(error.to_string()) };
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }
}
