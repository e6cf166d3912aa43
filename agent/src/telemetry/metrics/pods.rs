//! Counting pods: how many are enrolled, and who asks about new ones.

use super::registry::Metrics;

impl Metrics {
    /// How many pods are enrolled and captured.
    pub fn set_pods(&self, active: usize) {
        // A node has at most some hundreds of pods.
        self.counted.active_proxies.set(i64::try_from(active).unwrap_or(i64::MAX));
    }

    /// How many pods should be enrolled and are not yet.
    pub fn set_pending_pods(&self, pending: usize) {
        self.counted.pending_proxies.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// A request to enrol or unenrol a pod was refused. The field is one of a fixed set.
    pub fn enrollment_refused(&self, field: &'static str) {
        self.counted.enrollment_refusals.get_or_create(&[("field", field)]).inc();
    }

    /// A call of the CNI plugin was answered. Both are of fixed sets.
    pub fn cni_called(&self, command: &'static str, answer: &'static str) {
        self.counted.cni_calls.get_or_create(&[("command", command), ("answer", answer)]).inc();
    }

    /// The container runtime was answered about a pod. Both are of fixed sets.
    pub fn nri_asked(&self, command: &'static str, answer: &'static str) {
        self.counted.nri_requests.get_or_create(&[("command", command), ("answer", answer)]).inc();
    }

    /// Whether the container runtime asks about new pods.
    pub fn set_nri_connected(&self, is_connected: bool) {
        self.counted.nri_connected.set(i64::from(is_connected));
    }
}
