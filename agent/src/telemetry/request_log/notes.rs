//! What is noted of a request for its access line, while it is under way and when it has ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::form::RequestLogForm;
use super::text::RequestText;
use crate::model::http::head::{HttpVersion, RequestHead, ResponseHead};
use crate::model::identity::Identity;
use crate::model::telemetry::Expression;
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

/// What is noted of a request for its lines only. There is none where no line would be written.
#[derive(Debug)]
pub(in crate::telemetry) struct RequestNotes {
    pub(in crate::telemetry) first: LogLine,
    /// Of further providers.
    pub(in crate::telemetry) more: Vec<LogLine>,
    pub(super) version: HttpVersion,
    pub(in crate::telemetry) route: Option<Arc<str>>,
    /// Envoy's response code details.
    pub(in crate::telemetry) details: Option<Cow<'static, str>>,
    pub(in crate::telemetry) error: Option<String>,
    /// The AUDIT policy that matches it.
    pub(in crate::telemetry) audited_by: Option<Arc<str>>,
    /// When the head of the upstream's response came, after the head of the request.
    pub(in crate::telemetry) first_upstream_byte: Option<Duration>,
}

/// One line of a request, and what it shows of its heads.
#[derive(Debug)]
pub(in crate::telemetry) struct LogLine {
    pub(super) form: Arc<RequestLogForm>,
    /// What must hold for it to be written.
    pub(in crate::telemetry) filter: Option<Arc<Expression>>,
    pub(super) text: RequestText,
}

/// What a request came to.
#[derive(Debug)]
pub(in crate::telemetry) struct EndedRequest<'a> {
    pub(in crate::telemetry) ends: &'a ConnectionEnds,
    /// What the HBONE peer of the last attempt has proven.
    pub(in crate::telemetry) peer: Option<&'a Identity>,
    pub(in crate::telemetry) outcome: RequestOutcome,
    pub(in crate::telemetry) attempts: u32,
    pub(in crate::telemetry) request_bytes: u64,
    pub(in crate::telemetry) response_bytes: u64,
    pub(in crate::telemetry) duration: Duration,
}

impl RequestNotes {
    /// The notes of a request that begins, whose lines will have these forms, each with its filter; `None` where nobody wants to read
    /// them, or there are none.
    pub(in crate::telemetry) fn of(
        head: &RequestHead,
        mut forms: impl Iterator<Item = (Arc<RequestLogForm>, Option<Arc<Expression>>)>,
    ) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "access", Level::ERROR) {
            return None;
        }
        Some(Box::new(Self {
            first: LogLine::of(head, forms.next()?),
            more: forms.map(|form| LogLine::of(head, form)).collect(),
            version: head.version,
            route: None,
            details: None,
            error: None,
            audited_by: None,
            first_upstream_byte: None,
        }))
    }

    /// Takes from the head of the response what the lines show of it.
    pub(in crate::telemetry) fn take_response(&mut self, head: &ResponseHead) {
        self.first.take_response(head);
        self.more.iter_mut().for_each(|line| line.take_response(head));
    }
}

impl LogLine {
    fn of(head: &RequestHead, (form, filter): (Arc<RequestLogForm>, Option<Arc<Expression>>)) -> Self {
        let mut text = RequestText::default();
        match &*form {
            RequestLogForm::Fields => text.take_request(head, REQUEST_FIELDS.into_iter()),
            RequestLogForm::Istio { wanted, .. } => text.take_request(head, wanted.request.iter().map(|name| &**name)),
        }
        Self { form, filter, text }
    }

    fn take_response(&mut self, head: &ResponseHead) {
        if let RequestLogForm::Istio { wanted, .. } = &*self.form {
            self.text.take_response(head, wanted.response.iter().map(|name| &**name));
        }
    }

    /// A field of the request, in a line of fields.
    pub(super) fn field(&self, place: Place) -> Option<Cow<'_, str>> {
        self.text.request(place as usize)
    }
}
