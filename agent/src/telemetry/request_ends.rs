//! The two ends of requests. The requests of a connection to the same endpoint share one [`RequestEnds`], and with it the counters
//! that were looked up.

use std::sync::Arc;

use super::ends::ConnectionEnds;
use super::metrics::RequestCounters;
use super::pod_telemetry::PodTelemetry;
use super::request_log::EndsFields;
use super::request_reporting::RequestReporting;

/// Two ends between which requests are made: the client of a connection, and what serves its requests.
///
/// An owner of a connection keeps one for the connection itself, with the ends as they are known when it is accepted, and one for
/// each endpoint that requests are sent to.
#[derive(Debug)]
pub struct RequestEnds {
    pub(super) reporting: Arc<RequestReporting>,
    pub(super) pod: PodTelemetry,
    pub(super) ends: Arc<ConnectionEnds>,
    pub(super) counters: RequestCounters,
    /// What lines of these requests say of both ends.
    pub(super) known_fields: EndsFields,
}

impl RequestEnds {
    /// Ends of requests of a pod.
    #[must_use]
    pub fn new(reporting: &Arc<RequestReporting>, pod: &PodTelemetry, ends: ConnectionEnds) -> Arc<Self> {
        let counters = RequestCounters::new(&reporting.metrics, &ends);
        Arc::new(Self {
            reporting: reporting.clone(),
            pod: pod.clone(),
            ends: Arc::new(ends),
            counters,
            known_fields: EndsFields::default(),
        })
    }

    #[must_use]
    pub fn ends(&self) -> &ConnectionEnds {
        &self.ends
    }
}
