//! Spans of requests: which are recorded, and the queue of those that wait to be exported. A request never waits for a collector: a
//! span that finds no room in the queue is left out and counted. No pod has more of the queue than it leaves free: whoever records
//! little is not affected by who records more than the collector takes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::ends::ConnectionEnds;
use super::metrics::Metrics;
use super::request_outcome::RequestOutcome;
use crate::limits::Limit;
use crate::model::http::head::{HttpVersion, RequestHead};
use crate::model::http::trace::{CallerSpan, Sampling, SpanContext};
use crate::model::telemetry::setting::TracingSetting;

/// Spans that wait to be exported, at most.
const MAX_WAITING: usize = 4096;
/// How much of a URL, a user agent or a request's id a span shows, in bytes (Envoy's default of `max_path_tag_length`).
const MAX_TEXT_BYTES: usize = 256;

/// Which requests are recorded as spans, and where these go.
#[derive(Debug)]
pub struct Tracing {
    sampling: Sampling,
    spans: mpsc::Sender<Box<Span>>,
}

/// A span, and what is known of its request when that has ended.
#[derive(Debug)]
pub struct Span {
    pub context: SpanContext,
    pub(super) opened: OpenedSpan,
    pub(super) ends: Arc<ConnectionEnds>,
    pub(super) outcome: RequestOutcome,
    pub(super) began: SystemTime,
    pub(super) duration: Duration,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) route: Option<Arc<str>>,
    /// What objects add.
    pub(super) custom_tags: Vec<(Arc<str>, String)>,
    /// Whether Istio's own tags are there.
    pub(super) has_istio_tags: bool,
    /// Its place among those that wait.
    pub(super) place: Option<SpanPlace>,
}

/// A place of a pod among the spans that wait to be exported, until dropped.
#[derive(Debug)]
pub(super) struct SpanPlace(Limit);

impl Drop for SpanPlace {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

/// What a span takes from the head of its request.
#[derive(Debug)]
pub(super) struct OpenedSpan {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) version: HttpVersion,
    pub(super) user_agent: Option<String>,
    pub(super) request_id: Option<String>,
}

impl Tracing {
    /// Records such a share of the requests whose callers have not decided. Spans come out of the receiver.
    #[must_use]
    pub fn new(sampling: Sampling) -> (Self, mpsc::Receiver<Box<Span>>) {
        let (spans, waiting) = mpsc::channel(MAX_WAITING);
        (Self { sampling, spans }, waiting)
    }

    /// The span of a request here. Whoever gets the request is told of it in the head's fields.
    pub(super) fn begin(&self, head: &mut RequestHead) -> SpanContext {
        let context = self.context(head, self.sampling, false);
        context.write(&mut head.fields);
        context
    }

    /// As [`Self::begin`], as objects say.
    pub(super) fn begin_as(
        &self,
        head: &mut RequestHead,
        sampling: Option<Sampling>,
        setting: &TracingSetting,
    ) -> SpanContext {
        let context = self.context(head, sampling.unwrap_or(self.sampling), setting.samples_by_request_id);
        // A span that no collector gets is nobody's parent: whoever comes next continues the caller's.
        let is_seen = setting.reports_spans || context.parent.is_none();
        if setting.propagates_context && is_seen {
            context.write(&mut head.fields);
        }
        context
    }

    /// `by_request_id`: what the id of a request begins with decides whether it is recorded, so that all agents decide alike.
    fn context(&self, head: &RequestHead, sampling: Sampling, by_request_id: bool) -> SpanContext {
        let number = || if by_request_id { number_of_request_id(head) } else { None };
        let wants_sampled = || sampling.wants(number().unwrap_or_else(rand::random));
        SpanContext::begin(CallerSpan::of(&head.fields), wants_sampled, rand::random)
    }

    /// Puts a span into the queue, where the pod has not filled its share. `of_pod` is what it may have there.
    pub(super) fn export(&self, mut span: Box<Span>, of_pod: &Limit, metrics: &Metrics) {
        if !of_pod.try_take_share(1, self.spans.capacity()) {
            return metrics.spans_dropped(1);
        }
        span.place = Some(SpanPlace(of_pod.clone()));
        if self.spans.try_send(span).is_err() {
            metrics.spans_dropped(1);
        }
    }
}

/// The first 32 bits of a UUID in `x-request-id`, which are random.
fn number_of_request_id(head: &RequestHead) -> Option<u32> {
    let id = std::str::from_utf8(head.fields.first("x-request-id")?).ok()?;
    u32::from_str_radix(id.split_once('-')?.0, 16).ok()
}

impl OpenedSpan {
    pub(super) fn of(head: &RequestHead) -> Self {
        let field = |name| head.fields.first(name).map(shortened);
        let [authority, target] = [&head.authority, &head.target].map(|text| String::from_utf8_lossy(text));
        Self {
            method: shortened(&head.method),
            url: shortened(format!("{}://{authority}{target}", head.scheme.text()).as_bytes()),
            version: head.version,
            user_agent: field("user-agent"),
            request_id: field("x-request-id"),
        }
    }
}

pub(super) fn shortened(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_BYTES)]).into_owned()
}
