//! One [`ConnectionRecord`] per connection: it counts as opened when made, and counts and logs the end when dropped, so
//! that no exit path can forget.
//!
//! Lines have the target `access` and ztunnel's field names. `bytes_sent` is what the workload of this side sent,
//! `bytes_recv` what it received: unlike the metrics, the log does not flip them on the source's side.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

pub use super::connection::{ByteCounts, ConnectionEnds, LiveConnection, Reporter, ResponseFlag};
use super::metrics::{Metrics, OpenConnection, OpenGuard};
use crate::model::address::OriginalDst;
use crate::model::identity::Identity;

/// A connection's outcome.
#[derive(Debug)]
pub struct ConnectionRecord {
    metrics: Arc<Metrics>,
    connection: Arc<OpenConnection>,
    failure: Option<(ResponseFlag, String)>,
    _open: OpenGuard,
}

impl ConnectionRecord {
    /// Counts the connection as opened.
    #[must_use]
    pub fn open(metrics: &Arc<Metrics>, ends: ConnectionEnds) -> Self {
        let (connection, open) = metrics.opened(ends);
        Self { metrics: metrics.clone(), connection, failure: None, _open: open }
    }

    /// Where the bytes of this connection are counted.
    #[must_use]
    pub fn bytes(&self) -> Arc<ByteCounts> {
        self.connection.bytes.clone()
    }

    /// Notes the address the application asked for, where capture knows it; shown among the live connections.
    pub fn asked_for(&self, destination: OriginalDst) {
        // A connection has one original destination; the first to say it is right.
        let _ = self.connection.asked_for.set(destination);
    }

    /// Marks the connection as failed; the first mark wins.
    pub fn fail(&mut self, flag: ResponseFlag, error: &dyn Display) {
        self.failure.get_or_insert_with(|| (flag, error.to_string()));
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        self.metrics.closed(&self.connection, self.failure.as_ref().map(|(flag, _)| *flag));
        let line = Line::new(&self.connection);
        match &self.failure {
            None => line.complete(),
            Some((_, error)) => line.failed(error),
        }
    }
}

/// Counts and logs a connection that failed before its ends were known.
pub fn refused(
    metrics: &Metrics,
    reporter: Reporter,
    source_addr: SocketAddr,
    local_addr: SocketAddr,
    flag: ResponseFlag,
    error: &dyn Display,
) {
    metrics.refused(reporter, flag);
    tracing::event!(
        target: "access",
        parent: None,
        Level::WARN,
        src.addr = %source_addr,
        dst.addr = %local_addr,
        direction = reporter.direction(),
        error = %error,
        "connection failed"
    );
}

/// The fields of an access line.
struct Line<'a> {
    ends: &'a ConnectionEnds,
    bytes_sent: u64,
    bytes_recv: u64,
    duration: Millis,
}

/// An access line at one level, with or without an error.
macro_rules! access_line {
    ($line:expr, $level:expr $(, $field:ident = $value:expr)*) => {{
        let ends = $line.ends;
        tracing::event!(
            target: "access",
            parent: None,
            $level,
            src.addr = %ends.source_addr,
            src.workload = ends.source.as_deref().map(|workload| &*workload.name),
            src.namespace = ends.source.as_deref().map(|workload| &*workload.namespace),
            src.identity = $line.proven(ends.source_identity.as_ref()).map(display),
            src.cluster = ends.source.as_deref().map(|workload| &*workload.cluster_id),
            dst.addr = %ends.hbone_addr.unwrap_or(ends.destination_addr),
            dst.hbone_addr = ends.hbone_addr.map(|_| display(ends.destination_addr)),
            dst.service = ends.service.as_deref().map(|service| &*service.key.hostname),
            dst.workload = ends.destination.as_deref().map(|workload| &*workload.name),
            dst.namespace = ends.destination.as_deref().map(|workload| &*workload.namespace),
            dst.identity = $line.proven(ends.destination_identity.as_ref()).map(display),
            dst.cluster = ends.destination.as_deref().map(|workload| &*workload.cluster_id),
            direction = ends.reporter.direction(),
            bytes_sent = $line.bytes_sent,
            bytes_recv = $line.bytes_recv,
            duration = %$line.duration,
            $($field = $value,)*
            "connection complete"
        );
    }};
}

impl<'a> Line<'a> {
    fn new(connection: &'a OpenConnection) -> Self {
        let (to_destination, to_source) = connection.bytes.totals();
        let (bytes_sent, bytes_recv) = match connection.ends.reporter {
            Reporter::Source => (to_destination, to_source),
            Reporter::Destination => (to_source, to_destination),
        };
        Self { ends: &connection.ends, bytes_sent, bytes_recv, duration: Millis(connection.opened.elapsed()) }
    }

    fn complete(&self) {
        access_line!(self, Level::INFO);
    }

    fn failed(&self, error: &str) {
        access_line!(self, Level::ERROR, error = error);
    }

    /// Without mTLS no identity was proven, whatever is expected of the ends.
    fn proven<'i>(&self, identity: Option<&'i Identity>) -> Option<&'i Identity> {
        identity.filter(|_| self.ends.mutual_tls)
    }
}

struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

#[cfg(test)]
mod tests;
