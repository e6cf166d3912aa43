//! One [`ConnectionRecord`] per connection: made before anything is dialled, it counts and logs the end of the connection
//! when it is dropped, so that no exit path can forget to.

use std::fmt::Display;
use std::sync::Arc;

use super::access_log;
use super::connection::{ByteCounts, RefusedConnection, ResponseFlag};
use super::ends::ConnectionEnds;
use super::metrics::{Metrics, OpenConnection, OpenGuard};
use crate::model::identity::Identity;

/// A connection that is open, and its outcome.
#[derive(Debug)]
pub struct ConnectionRecord {
    metrics: Arc<Metrics>,
    connection: Arc<OpenConnection>,
    failure: Option<(ResponseFlag, String)>,
    _open: OpenGuard,
}

impl ConnectionRecord {
    /// Opens the record of a connection whose ends are known, and counts it as opened.
    #[must_use]
    pub fn open(metrics: &Arc<Metrics>, ends: ConnectionEnds) -> Self {
        let record = Self::open_provisional(metrics, ends);
        metrics.settled(&record.connection, None);
        record
    }

    /// Opens the record of a connection whose ends may yet turn out to be others: where a name has to be looked up, say.
    /// The connection is counted as opened once they are settled, at the latest at its end.
    #[must_use]
    pub fn open_provisional(metrics: &Arc<Metrics>, ends: ConnectionEnds) -> Self {
        let (connection, open) = metrics.opened(ends);
        Self { metrics: metrics.clone(), connection, failure: None, _open: open }
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
        self.metrics.settled(&self.connection, ends);
    }

    /// Says that the connection carries requests, and what its ends are in the end, as [`settle`](Self::settle) does: only on a
    /// record that is still provisional. From here on the connection has no TCP metrics and no access line unless it fails; its
    /// requests have theirs, as with Istio's sidecars. It stays among the connections that are open.
    pub fn settle_for_requests(&self, ends: Option<ConnectionEnds>) {
        self.metrics.settled_for_requests(&self.connection, ends);
    }

    /// Whether the ends of the connection may yet turn out to be others.
    #[must_use]
    pub fn is_provisional(&self) -> bool {
        !self.connection.is_settled()
    }

    /// Notes the identity that the HBONE peer has proven: the access line shows it in place of the expected one.
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

    /// Marks the connection as failed; the first mark wins.
    pub fn fail(&mut self, flag: ResponseFlag, error: &dyn Display) {
        self.failure.get_or_insert_with(|| (flag, error.to_string()));
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        self.metrics.closed(&self.connection, self.failure.as_ref().map(|(flag, _)| *flag));
        access_log::write(&self.connection, self.failure.as_ref().map(|(_, error)| error.as_str()));
    }
}

impl RefusedConnection {
    /// Counts and logs the connection.
    pub fn record(&self, metrics: &Metrics, error: &dyn Display) {
        metrics.refused(self.reporter, self.flag);
        access_log::write_refused(self, error);
    }
}

#[cfg(test)]
mod tests;
