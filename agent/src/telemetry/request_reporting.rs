//! Where requests are reported to: the metrics of the process, and the form of its access log.

use std::sync::Arc;

use super::metrics::Metrics;

/// What all requests of the process are reported to. One per process.
#[derive(Debug)]
pub struct RequestReporting {
    pub(super) metrics: Arc<Metrics>,
}

impl RequestReporting {
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics: metrics.clone() })
    }
}
