//! The access log of connections: one line for each, with the target `access` and ztunnel's field names. A connection that carries
//! requests has none: each request has one (see `request_log`).
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

/// An access line at one level: the two ends, and then the fields that are given.
macro_rules! access_line {
    ($level:expr, $ends:expr, $identities:expr, $message:literal, $($field:ident = $value:expr),* $(,)?) => {{
        let (ends, [source_identity, destination_identity]) = ($ends, $identities);
        tracing::event!(
            target: "access",
            parent: None,
            $level,
            src.addr = %ends.source_addr,
            src.workload = ends.source.as_deref().map(|workload| &*workload.name),
            src.namespace = ends.source.as_deref().map(|workload| &*workload.namespace),
            src.identity = source_identity.map(tracing::field::display),
            src.cluster = ends.source.as_deref().map(|workload| &*workload.cluster_id),
            dst.addr = %ends.dialled_addr(),
            dst.hbone_addr = ends.hbone_addr().map(tracing::field::display),
            dst.original_addr = ends.rewritten_dst().map(tracing::field::display),
            dst.service = ends.service.as_deref().map(|service| &*service.key.hostname),
            dst.workload = ends.destination.as_deref().map(|workload| &*workload.name),
            dst.namespace = ends.destination.as_deref().map(|workload| &*workload.namespace),
            dst.identity = destination_identity.map(tracing::field::display),
            dst.cluster = ends.destination.as_deref().map(|workload| &*workload.cluster_id),
            direction = ends.reporter.direction(),
            $($field = $value,)*
            $message
        );
    }};
}

/// The fields of the line of a connection.
struct Line<'a> {
    connection: &'a OpenConnection,
    bytes_sent: u64,
    bytes_recv: u64,
    error: Option<&'a str>,
}

/// The line of a connection at one level.
macro_rules! connection_line {
    ($level:expr, $line:expr) => {{
        let Line { connection, bytes_sent, bytes_recv, error } = $line;
        access_line!(
            $level,
            connection.ends(),
            proven_identities(connection.ends(), connection.peer_identity.get()),
            "connection complete",
            bytes_sent = bytes_sent,
            bytes_recv = bytes_recv,
            duration = display(Millis(connection.opened.elapsed())),
            error = error,
        );
    }};
}

/// Writes the line of a connection that has ended, badly where there is an error. One that carried requests has a line only where
/// it failed: each of its requests has its own.
pub(super) fn write(connection: &OpenConnection, error: Option<&str>) {
    let (to_destination, to_source) = connection.bytes.totals();
    let (bytes_sent, bytes_recv) = sent_and_received(connection.ends().reporter, to_destination, to_source);
    let line = Line { connection, bytes_sent, bytes_recv, error };
    match error {
        Some(_) => connection_line!(Level::ERROR, line),
        None if connection.carries_requests() => {}
        None => connection_line!(Level::INFO, line),
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

/// The identities that the two ends of a connection have proven, the source's first: without mTLS none, whatever is expected.
/// `of_peer` is that of the HBONE peer of an outbound connection; the pod of this side shows its own to that peer.
pub(super) fn proven_identities<'a>(
    ends: &'a ConnectionEnds,
    of_peer: Option<&'a Identity>,
) -> [Option<&'a Identity>; 2] {
    let of_destination = match ends.reporter {
        Reporter::Source => of_peer,
        Reporter::Destination => ends.destination_identity.as_ref(),
    };
    [ends.source_identity.as_ref(), of_destination].map(|identity| identity.filter(|_| ends.mutual_tls))
}

/// What the workload of this side sent, and what it received.
pub(super) fn sent_and_received(reporter: Reporter, to_destination: u64, to_source: u64) -> (u64, u64) {
    match reporter {
        Reporter::Source => (to_destination, to_source),
        Reporter::Destination => (to_source, to_destination),
    }
}

/// A duration in whole milliseconds, as ztunnel writes it.
struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}
