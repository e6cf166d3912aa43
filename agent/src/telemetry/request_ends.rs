//! The two ends of requests. The requests of a connection to the same endpoint share one [`RequestEnds`], and with it the counters
//! that were looked up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ends::ConnectionEnds;
use super::metrics::RequestCounters;
use super::request_reporting::RequestReporting;

/// Requests of one pod that are under way, either as their client or as their server.
#[derive(Debug, Clone, Default)]
pub struct RequestsInFlight(Arc<AtomicU64>);

impl RequestsInFlight {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a request here no longer, but there. Nothing changes where both are of one pod, as they usually are.
    pub(super) fn pass_on(&self, to: &Self) {
        if !Arc::ptr_eq(&self.0, &to.0) {
            to.begin();
            self.end();
        }
    }
}

/// Two ends between which requests are made: the client of a connection, and what serves its requests.
///
/// An owner of a connection keeps one for the connection itself, with the ends as they are known when it is accepted, and one for
/// each endpoint that requests are sent to.
#[derive(Debug)]
pub struct RequestEnds {
    pub(super) reporting: Arc<RequestReporting>,
    pub(super) in_flight: RequestsInFlight,
    pub(super) ends: Arc<ConnectionEnds>,
    pub(super) counters: RequestCounters,
}

impl RequestEnds {
    /// Ends of requests of the pod whose requests `in_flight` counts.
    #[must_use]
    pub fn new(reporting: &Arc<RequestReporting>, in_flight: &RequestsInFlight, ends: ConnectionEnds) -> Arc<Self> {
        let counters = RequestCounters::new(&reporting.metrics, &ends);
        Arc::new(Self { reporting: reporting.clone(), in_flight: in_flight.clone(), ends: Arc::new(ends), counters })
    }

    #[must_use]
    pub fn ends(&self) -> &ConnectionEnds {
        &self.ends
    }
}
