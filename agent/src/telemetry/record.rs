//! One [`ConnectionRecord`] per connection: made before anything is dialled, it counts and logs the end of the connection
//! when it is dropped, so that no exit path can forget to.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::access_log;
use super::connection::{ByteCounts, PANICKED, RefusedConnection, ResponseFlag};
use super::connection_reporting::ConnectionReporting;
use super::ends::ConnectionEnds;
use super::log;
use super::metrics::{Metrics, OpenConnection, OpenGuard};
use super::pod_telemetry::PodTelemetry;
use crate::model::identity::Identity;

/// A connection that is open, and its outcome.
#[derive(Debug)]
pub struct ConnectionRecord {
    reporting: ConnectionReporting,
    connection: Arc<OpenConnection>,
    failure: Option<(ResponseFlag, String)>,
    /// While nobody knows whether it carries requests: how it is to be settled if it does not.
    undecided: Option<Box<Mutex<Settlement>>>,
    /// Another agent completes it.
    is_handed_over: bool,
    _open: OpenGuard,
}

/// What the ends of a provisional record are in the end.
#[derive(Debug, Default)]
enum Settlement {
    #[default]
    Open,
    /// `None`: those that were known at first.
    Ends(Option<Box<ConnectionEnds>>),
}

impl ConnectionRecord {
    /// Opens the record of a connection whose ends are known, and counts it as opened.
    #[must_use]
    pub fn open(reporting: impl Into<ConnectionReporting>, ends: ConnectionEnds) -> Self {
        let record = Self::open_provisional(reporting, ends);
        record.settle(None);
        record
    }

    /// Opens the record of a connection whose ends may yet turn out to be others: where a name has to be looked up, say.
    /// The connection is counted as opened once they are settled, at the latest at its end.
    #[must_use]
    pub fn open_provisional(reporting: impl Into<ConnectionReporting>, ends: ConnectionEnds) -> Self {
        Self::open_aged(reporting.into(), ends, Duration::ZERO)
    }

    /// Opens the record of a connection that is open for so long already, and counts it as opened.
    #[must_use]
    pub fn open_late(reporting: impl Into<ConnectionReporting>, ends: ConnectionEnds, age: Duration) -> Self {
        let record = Self::open_aged(reporting.into(), ends, age);
        record.settle(None);
        record
    }

    fn open_aged(reporting: ConnectionReporting, ends: ConnectionEnds, age: Duration) -> Self {
        let (connection, open) = reporting.metrics.opened(ends, age);
        Self { reporting, connection, failure: None, undecided: None, is_handed_over: false, _open: open }
    }

    /// Opens a provisional record of a connection that may turn out to carry requests. Whatever settles it takes effect once it is
    /// known that it [carries bytes](Self::carries_bytes), at the latest at its end.
    #[must_use]
    pub fn open_undecided(reporting: impl Into<ConnectionReporting>, ends: ConnectionEnds) -> Self {
        let mut record = Self::open_provisional(reporting, ends);
        record.undecided = Some(Box::default());
        record
    }

    /// Opens the record of a connection that is known to carry requests.
    #[must_use]
    pub fn open_for_requests(metrics: &Arc<Metrics>, ends: ConnectionEnds) -> Self {
        let record = Self::open_provisional(metrics, ends);
        record.settle_for_requests(None);
        record
    }

    /// Says what the ends of a provisional record are in the end: others than at first, or the same (`None`). Only the
    /// first call has an effect.
    pub fn settle(&self, ends: Option<ConnectionEnds>) {
        if let Some(undecided) = &self.undecided {
            let mut settlement = undecided.lock();
            if matches!(*settlement, Settlement::Open) {
                *settlement = Settlement::Ends(ends.map(Box::new));
            }
            return;
        }
        let custom = |ends: &ConnectionEnds| {
            self.reporting.custom(ends, self.connection.peer_identity.get(), ResponseFlag::None)
        };
        self.reporting.metrics.settled(&self.connection, ends, custom);
    }

    /// Says that the connection carries requests, and what its ends are in the end, as [`settle`](Self::settle) does: only on a
    /// record that is still provisional. From here on the connection has no TCP metrics and no access line unless it fails; its
    /// requests have theirs, as with Istio's sidecars. It stays among the connections that are open.
    pub fn settle_for_requests(&self, ends: Option<ConnectionEnds>) {
        self.reporting.metrics.settled_for_requests(&self.connection, ends);
    }

    /// Says that a connection of which that was not known does not carry requests.
    pub fn carries_bytes(&mut self) {
        let Some(undecided) = self.undecided.take() else { return };
        if let Settlement::Ends(ends) = undecided.into_inner() {
            self.settle(ends.map(|ends| *ends));
        }
    }

    /// Says that a connection of which that was not known carries requests: others count these, and this record says nothing.
    pub fn carries_requests(mut self) {
        self.undecided = None;
        self.settle_for_requests(None);
    }

    /// Notes the identity that the HBONE peer has proven: the access line shows it.
    pub fn peer_proved(&self, identity: Identity) {
        // A connection has one HBONE peer.
        let _ = self.connection.peer_identity.set(identity);
    }

    /// Where the bytes of this connection are counted.
    #[must_use]
    pub fn bytes(&self) -> Arc<ByteCounts> {
        self.connection.bytes.clone()
    }

    /// Resolves when somebody wants a plaintext connection to end, because it could be one over HBONE.
    pub async fn end_wanted(&self) {
        match self.connection.plaintext_end() {
            Some(wanted) => wanted.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Says how long the connection lasted, where it ended before this is dropped.
    pub fn lasted(&self, duration: Duration) {
        self.connection.lasted(duration);
    }

    /// Another agent goes on with the connection, and tells of its end.
    pub fn hand_over(mut self) {
        self.is_handed_over = true;
    }

    /// Marks the connection as failed; the first mark wins.
    pub fn fail(&mut self, flag: ResponseFlag, error: &dyn Display) {
        self.failure.get_or_insert_with(|| (flag, error.to_string()));
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if self.is_handed_over {
            return self.reporting.metrics.handed_over(&self.connection);
        }
        self.carries_bytes();
        self.settle(None);
        let (flag, error) = self.failure.as_ref().map(|(flag, error)| (*flag, error.as_str())).unzip();
        let error = error.or(std::thread::panicking().then_some(PANICKED));
        let peer = self.connection.peer_identity.get();
        let custom = |ends: &ConnectionEnds, flag| self.reporting.custom(ends, peer, flag);
        self.reporting.metrics.closed(&self.connection, flag, custom);
        if self.reporting.wants_line(self.connection.ends(), peer) {
            self.reporting.log(|| access_log::write(&self.connection, error));
        }
    }
}

impl RefusedConnection {
    /// Counts and logs the connection, which is one of this pod.
    pub fn record(&self, metrics: &Metrics, pod: &PodTelemetry, error: &dyn Display) {
        metrics.refused(self.reporter, self.flag);
        log::of_pod(pod.log(), || access_log::write_refused(self, error));
    }
}

#[cfg(test)]
mod tests;
