//! The access line of a request: with the target `access`, and in the form that its notes were taken for.

use tracing::Level;

use super::form::RequestLogForm;
use super::notes::{EndedRequest, Place, RequestNotes};
use super::values::{RequestValues, version};
use crate::telemetry::access_log::{Millis, access_line, proven_identities, sent_and_received};
use crate::telemetry::log::RAW_ACCESS_TARGET;

/// The line of a request at one level.
macro_rules! request_line {
    ($level:expr, $notes:expr, $request:expr) => {{
        let (notes, request) = ($notes, $request);
        let EndedRequest { ends, outcome, attempts, request_bytes, response_bytes, duration } = request;
        let (bytes_sent, bytes_recv) = sent_and_received(ends.reporter, *request_bytes, *response_bytes);
        access_line!(
            $level,
            ends,
            proven_identities(ends, None),
            "request complete",
            protocol = version(notes.version),
            method = notes.field(Place::Method).as_deref(),
            path = notes.field(Place::Path).as_deref(),
            authority = notes.field(Place::Authority).as_deref(),
            status = outcome.status,
            grpc_status = outcome.grpc_status,
            response_flags = display(outcome.flags),
            details = notes.details,
            route = notes.route.as_deref(),
            request_id = notes.field(Place::RequestId).as_deref(),
            user_agent = notes.field(Place::UserAgent).as_deref(),
            attempts = *attempts,
            bytes_sent = bytes_sent,
            bytes_recv = bytes_recv,
            duration = display(Millis(*duration)),
            upstream_duration = notes.first_upstream_byte.map(|after| display(Millis(after))),
            error = notes.error.as_deref(),
        );
    }};
}

/// Writes the line of a request that has ended, badly where there is an error.
pub(in crate::telemetry) fn write(notes: &RequestNotes, request: &EndedRequest<'_>) {
    match (&*notes.form, &notes.error) {
        (RequestLogForm::Fields, Some(_)) => request_line!(Level::ERROR, notes, request),
        (RequestLogForm::Fields, None) => request_line!(Level::INFO, notes, request),
        (RequestLogForm::Istio { format, .. }, _) => {
            let line = format.line(&RequestValues::new(notes, request));
            tracing::event!(target: RAW_ACCESS_TARGET, parent: None, Level::INFO, "{line}");
        }
    }
}
