//! What is noted of a request for its access line, while it is under way and when it has ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::form::RequestLogForm;
use super::text::RequestText;
use crate::model::http::head::{HttpVersion, RequestHead, ResponseHead};
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::request_outcome::RequestOutcome;

/// The fields of a request's head that the line of fields shows, in the order of [`Place`].
const REQUEST_FIELDS: [&str; 5] = [":method", ":path", ":authority", "x-request-id", "user-agent"];

/// Where a field stands in [`REQUEST_FIELDS`].
#[derive(Clone, Copy)]
pub(super) enum Place {
    Method,
    Path,
    Authority,
    RequestId,
    UserAgent,
}

/// What is noted of a request for its line only. There is none where the line would not be written.
#[derive(Debug)]
pub(in crate::telemetry) struct RequestNotes {
    pub(super) form: Arc<RequestLogForm>,
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

    /// A field of the request, in a line of fields.
    pub(super) fn field(&self, place: Place) -> Option<Cow<'_, str>> {
        self.text.request(place as usize)
    }
}
