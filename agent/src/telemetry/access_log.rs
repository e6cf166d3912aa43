//! The access log of connections: one line for each, with the target `access` and ztunnel's field names. A connection that carries
//! requests has none: each request has one (see `request_log`).
//!
//! `bytes_sent` is what the workload of this side sent, `bytes_recv` what it received: unlike the metrics, the log does
//! not flip them on the source's side.

use std::fmt::{self, Debug, Display, Formatter};

use tracing::Level;

use super::connection::RefusedConnection;
use super::line_ends::{
    DESTINATION_IDENTITY, before_identity, behind_identity, proven_identities, sent_and_received, whole_milliseconds,
};
use super::log::{FieldWriter, LogFormat, WHOLE_ACCESS_TARGET};
use super::metrics::OpenConnection;

/// What the line of a connection says first.
const MESSAGE: &str = "connection complete";

/// Writes the line of a connection that has ended, badly where there is an error. One that carried requests has a line only where
/// it failed: each of its requests has its own.
pub(super) fn write(connection: &OpenConnection, error: Option<&str>) {
    let line = Line { connection, error };
    match error {
        // The level of an event is fixed where it is written.
        Some(_) => tracing::event!(target: WHOLE_ACCESS_TARGET, parent: None, Level::ERROR, line = ?line),
        None if connection.carries_requests() => {}
        None => tracing::event!(target: WHOLE_ACCESS_TARGET, parent: None, Level::INFO, line = ?line),
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

/// Message and fields of a line, which the log has write themselves: it would take each of twenty fields by itself.
struct Line<'a> {
    connection: &'a OpenConnection,
    error: Option<&'a str>,
}

impl Debug for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { connection, error } = self;
        let format = if f.alternate() { LogFormat::Json } else { LogFormat::Text };
        let mut to = FieldWriter::new(f, format);
        let ends = connection.ends();
        before_identity(&mut to, MESSAGE, ends)?;
        if let [_, Some(identity)] = proven_identities(ends, connection.peer_identity.get()) {
            to.shown(DESTINATION_IDENTITY, identity)?;
        }
        behind_identity(&mut to, ends)?;
        let (to_destination, to_source) = connection.bytes.totals();
        let (bytes_sent, bytes_recv) = sent_and_received(ends.reporter, to_destination, to_source);
        to.number("bytes_sent", bytes_sent)?;
        to.number("bytes_recv", bytes_recv)?;
        to.milliseconds("duration", whole_milliseconds(connection.duration()))?;
        match error {
            Some(error) => to.text("error", error),
            None => Ok(()),
        }
    }
}
