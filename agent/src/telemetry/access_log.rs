//! The access log: one line per connection, with the target `access` and ztunnel's field names.
//!
//! `bytes_sent` is what the workload of this side sent, `bytes_recv` what it received: unlike the metrics, the log does
//! not flip them on the source's side.
//!
//! | field | over HBONE | in plaintext |
//! |---|---|---|
//! | `dst.addr` | the HBONE listener: the endpoint's, or its waypoint's | the endpoint |
//! | `dst.hbone_addr` | the endpoint: the authority of the CONNECT request | absent |
//! | `dst.original_addr` | what the application dialled, where that is not the endpoint | the same |

use std::fmt::{self, Display};
use std::time::Duration;

use tracing::Level;

use super::connection::RefusedConnection;
use super::ends::{ConnectionEnds, Reporter};
use super::metrics::OpenConnection;
use crate::model::identity::Identity;

/// Writes the line of a connection that has ended, badly where there is an error.
pub(super) fn write(connection: &OpenConnection, error: Option<&str>) {
    let line = Line::new(connection);
    match error {
        None => line.complete(),
        Some(error) => line.failed(error),
    }
}

/// Writes the line of a connection that was refused before its ends were known.
pub(super) fn write_refused(refused: &RefusedConnection, error: &dyn Display) {
    tracing::event!(
        target: "access",
        parent: None,
        Level::WARN,
        src.addr = %refused.source_addr,
        dst.addr = %refused.listener,
        direction = refused.reporter.direction(),
        error = %error,
        "connection failed"
    );
}

/// The fields of an access line.
struct Line<'a> {
    ends: &'a ConnectionEnds,
    source_identity: Option<&'a Identity>,
    destination_identity: Option<&'a Identity>,
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
            src.identity = $line.source_identity.map(display),
            src.cluster = ends.source.as_deref().map(|workload| &*workload.cluster_id),
            dst.addr = %ends.dialled_addr(),
            dst.hbone_addr = ends.hbone_addr().map(display),
            dst.original_addr = ends.rewritten_dst().map(display),
            dst.service = ends.service.as_deref().map(|service| &*service.key.hostname),
            dst.workload = ends.destination.as_deref().map(|workload| &*workload.name),
            dst.namespace = ends.destination.as_deref().map(|workload| &*workload.namespace),
            dst.identity = $line.destination_identity.map(display),
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
        let ends = connection.ends();
        let (to_destination, to_source) = connection.bytes.totals();
        let (bytes_sent, bytes_recv) = match ends.reporter {
            Reporter::Source => (to_destination, to_source),
            Reporter::Destination => (to_source, to_destination),
        };
        // Without mTLS no identity was proven, whatever is expected of the ends.
        let proven = |identity: Option<&'a Identity>| identity.filter(|_| ends.mutual_tls);
        Self {
            ends,
            source_identity: proven(ends.source_identity.as_ref()),
            destination_identity: proven(connection.peer_identity.get().or(ends.destination_identity.as_ref())),
            bytes_sent,
            bytes_recv,
            duration: Millis(connection.opened.elapsed()),
        }
    }

    fn complete(&self) {
        access_line!(self, Level::INFO);
    }

    fn failed(&self, error: &str) {
        access_line!(self, Level::ERROR, error = error);
    }
}

/// A duration in whole milliseconds, as ztunnel writes it.
struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}
