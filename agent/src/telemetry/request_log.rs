//! The access log of requests: one line for each, with the target `access` and the fields that the line of a connection has, and
//! those of the request.

use std::borrow::Cow;
use std::time::Duration;

use tracing::Level;

use super::access_log::{Millis, access_line, proven_identities, sent_and_received};
use super::ends::ConnectionEnds;
use super::request_outcome::RequestOutcome;
use super::request_text::RequestText;
use crate::model::http::head::{HttpVersion, RequestHead, ResponseHead};

/// The fields of a request that its line shows, in the order of [`Place`].
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
pub(super) struct RequestNotes {
    text: RequestText,
    version: HttpVersion,
    pub(super) route: Option<std::sync::Arc<str>>,
    pub(super) details: Option<&'static str>,
    pub(super) error: Option<String>,
    pub(super) first_upstream_byte: Option<Duration>,
}

/// What a request came to.
#[derive(Debug)]
pub(super) struct EndedRequest<'a> {
    pub(super) ends: &'a ConnectionEnds,
    pub(super) outcome: RequestOutcome,
    pub(super) attempts: u32,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) duration: Duration,
}

impl RequestNotes {
    /// The notes of a request that begins; `None` where nobody wants to read its line.
    pub(super) fn of(head: &RequestHead) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "access", Level::ERROR) {
            return None;
        }
        let mut text = RequestText::default();
        text.take_request(head, REQUEST_FIELDS.into_iter());
        Some(Box::new(Self {
            text,
            version: head.version,
            route: None,
            details: None,
            error: None,
            first_upstream_byte: None,
        }))
    }

    /// Takes from the head of the response what the line shows of it.
    pub(super) fn take_response(&mut self, head: &ResponseHead) {
        self.text.take_response(head, std::iter::empty());
    }

    fn text(&self, place: Place) -> Option<Cow<'_, str>> {
        self.text.request(place as usize)
    }
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

/// Writes the line of a request that has ended, badly where there is an error.
pub(super) fn write(notes: &RequestNotes, request: &EndedRequest<'_>) {
    match notes.error {
        Some(_) => request_line!(Level::ERROR, notes, request),
        None => request_line!(Level::INFO, notes, request),
    }
}

/// Envoy's `%PROTOCOL%`.
fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
        HttpVersion::Http2 => "HTTP/2",
    }
}
