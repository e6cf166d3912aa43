//! The two ends of requests. The requests of a connection to the same endpoint share one [`RequestEnds`], and with it the counters
//! that were looked up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ends::ConnectionEnds;
use super::metrics::RequestCounters;
use super::request_reporting::RequestReporting;

/// Counts the requests of one pod, either as their client or as their server.
#[derive(Debug, Clone, Default)]
pub struct PodRequests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    in_flight: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
}

impl PodRequests {
    /// Those that are under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Those that have ended since this agent serves the pod.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Those of them that were answered with a status of 500 or more, by whomever.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a request that was answered with this status.
    pub(super) fn end(&self, status: u16) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        if status >= 500 {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request here no longer, but there. Nothing changes where both are of one pod, as they usually are.
    pub(super) fn pass_on(&self, to: &Self) {
        if !Arc::ptr_eq(&self.0, &to.0) {
            to.begin();
            self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
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
    pub(super) of_pod: PodRequests,
    pub(super) ends: Arc<ConnectionEnds>,
    pub(super) counters: RequestCounters,
}

impl RequestEnds {
    /// Ends of requests of the pod whose requests `of_pod` counts.
    #[must_use]
    pub fn new(reporting: &Arc<RequestReporting>, of_pod: &PodRequests, ends: ConnectionEnds) -> Arc<Self> {
        let counters = RequestCounters::new(&reporting.metrics, &ends);
        Arc::new(Self { reporting: reporting.clone(), of_pod: of_pod.clone(), ends: Arc::new(ends), counters })
    }

    #[must_use]
    pub fn ends(&self) -> &ConnectionEnds {
        &self.ends
    }
}
