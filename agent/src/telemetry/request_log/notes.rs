//! What is noted of a request for its access line, and the line: with the target `access`, and in one of the forms of
//! [`RequestLogForm`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::form::RequestLogForm;
use super::text::RequestText;
use super::values::RequestValues;
use crate::model::http::head::{HttpVersion, RequestHead, ResponseHead};
use crate::telemetry::access_log::{Millis, access_line, proven_identities, sent_and_received};
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::log::RAW_ACCESS_TARGET;
use crate::telemetry::request_outcome::RequestOutcome;

/// The fields of a request's head that the line of fields shows, in the order of [`Place`].
const REQUEST_FIELDS: [&str; 5] = [":method", ":path", ":authority", "x-request-id", "user-agent"];

/// Where a field stands in [`REQUEST_FIELDS`].
#[derive(Clone, Copy)]
enum Place {
    Method,
    Path,
    Authority,
    RequestId,
    UserAgent,
}

/// What is noted of a request for its line only. There is none where the line would not be written.
#[derive(Debug)]
pub(in crate::telemetry) struct RequestNotes {
    form: Arc<RequestLogForm>,
    pub(super) text: RequestText,
    pub(super) version: HttpVersion,
    pub(in crate::telemetry) route: Option<Arc<str>>,
    /// Envoy's response code details.
    pub(in crate::telemetry) details: Option<&'static str>,
    pub(in crate::telemetry) error: Option<String>,
    /// When the head of the upstream's response came, after the head of the request.
    pub(in crate::telemetry) first_upstream_byte: Option<Duration>,
}

/// What a request came to.
#[derive(Debug)]
pub(in crate::telemetry) struct EndedRequest<'a> {
    pub(in crate::telemetry) ends: &'a ConnectionEnds,
    pub(in crate::telemetry) outcome: RequestOutcome,
    pub(in crate::telemetry) attempts: u32,
    pub(in crate::telemetry) request_bytes: u64,
    pub(in crate::telemetry) response_bytes: u64,
    pub(in crate::telemetry) duration: Duration,
}

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
            method = notes.text(Place::Method).as_deref(),
            path = notes.text(Place::Path).as_deref(),
            authority = notes.text(Place::Authority).as_deref(),
            status = outcome.status,
            grpc_status = outcome.grpc_status,
            response_flags = display(outcome.flags),
            details = notes.details,
            route = notes.route.as_deref(),
            request_id = notes.text(Place::RequestId).as_deref(),
            user_agent = notes.text(Place::UserAgent).as_deref(),
            attempts = *attempts,
            bytes_sent = bytes_sent,
            bytes_recv = bytes_recv,
            duration = display(Millis(*duration)),
            upstream_duration = notes.first_upstream_byte.map(|after| display(Millis(after))),
            error = notes.error.as_deref(),
        );
    }};
}

impl RequestNotes {
    /// The notes of a request that begins, whose line will have this form; `None` where nobody wants to read it.
    pub(in crate::telemetry) fn of(
        head: &RequestHead,
        form: impl FnOnce() -> Arc<RequestLogForm>,
    ) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "access", Level::ERROR) {
            return None;
        }
        let (form, mut text) = (form(), RequestText::default());
        match &*form {
            RequestLogForm::Fields => text.take_request(head, REQUEST_FIELDS.into_iter()),
            RequestLogForm::Istio { wanted, .. } => text.take_request(head, wanted.request.iter().map(|name| &**name)),
        }
        Some(Box::new(Self {
            form,
            text,
            version: head.version,
            route: None,
            details: None,
            error: None,
            first_upstream_byte: None,
        }))
    }

    /// Takes from the head of the response what the line shows of it.
    pub(in crate::telemetry) fn take_response(&mut self, head: &ResponseHead) {
        if let RequestLogForm::Istio { wanted, .. } = &*self.form {
            self.text.take_response(head, wanted.response.iter().map(|name| &**name));
        }
    }

    /// Writes the line of the request, which has ended: badly where there is an error.
    pub(in crate::telemetry) fn write(&self, request: &EndedRequest<'_>) {
        match (&*self.form, &self.error) {
            (RequestLogForm::Fields, Some(_)) => request_line!(Level::ERROR, self, request),
            (RequestLogForm::Fields, None) => request_line!(Level::INFO, self, request),
            (RequestLogForm::Istio { format, .. }, _) => {
                let line = format.line(&RequestValues::new(self, request));
                tracing::event!(target: RAW_ACCESS_TARGET, parent: None, Level::INFO, "{line}");
            }
        }
    }

    fn text(&self, place: Place) -> Option<Cow<'_, str>> {
        self.text.request(place as usize)
    }
}

/// Envoy's `%PROTOCOL%`.
pub(in crate::telemetry) fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
        HttpVersion::Http2 => "HTTP/2",
    }
}
