//! The access line of a request: with the target `access`, and in the form that its notes were taken for.

use tracing::Level;

use super::form::RequestLogForm;
use super::notes::{EndedRequest, LogLine, Place, RequestNotes};
use super::values::{RequestValues, version};
use crate::telemetry::access_log::{Millis, access_line, proven_identities, sent_and_received};
use crate::telemetry::log::RAW_ACCESS_TARGET;

/// The line of a request at one level.
macro_rules! request_line {
    ($level:expr, $notes:expr, $line:expr, $request:expr) => {{
        let (notes, line, request) = ($notes, $line, $request);
        let EndedRequest { ends, peer, outcome, attempts, request_bytes, response_bytes, duration } = request;
        let (bytes_sent, bytes_recv) = sent_and_received(ends.reporter, *request_bytes, *response_bytes);
        access_line!(
            $level,
            ends,
            proven_identities(ends, *peer),
            "request complete",
            protocol = version(notes.version),
            method = line.field(Place::Method).as_deref(),
            path = line.field(Place::Path).as_deref(),
            authority = line.field(Place::Authority).as_deref(),
            status = outcome.status,
            grpc_status = outcome.grpc_status,
            response_flags = display(outcome.flags),
            details = notes.details,
            route = notes.route.as_deref(),
            request_id = line.field(Place::RequestId).as_deref(),
            user_agent = line.field(Place::UserAgent).as_deref(),
            attempts = *attempts,
            bytes_sent = bytes_sent,
            bytes_recv = bytes_recv,
            duration = display(Millis(*duration)),
            upstream_duration = notes.first_upstream_byte.map(|after| display(Millis(after))),
            error = notes.error.as_deref(),
        );
    }};
}

/// Writes one line of a request that has ended, badly where there is an error.
pub(in crate::telemetry) fn write(notes: &RequestNotes, line: &LogLine, request: &EndedRequest<'_>) {
    match (&*line.form, &notes.error) {
        (RequestLogForm::Fields, Some(_)) => request_line!(Level::ERROR, notes, line, request),
        (RequestLogForm::Fields, None) => request_line!(Level::INFO, notes, line, request),
        (RequestLogForm::Istio { format, .. }, _) => {
            let text = format.line(&RequestValues::new(notes, line, request));
            tracing::event!(target: RAW_ACCESS_TARGET, parent: None, Level::INFO, "{text}");
        }
    }
}
