//! Spans of requests: which are recorded, and the queue of those that wait to be exported. A request never waits for a collector: a
//! span that finds no room in the queue is left out and counted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::ends::ConnectionEnds;
use super::metrics::Metrics;
use super::request_outcome::RequestOutcome;
use crate::model::http::head::{HttpVersion, RequestHead};
use crate::model::http::trace::{CallerSpan, Sampling, SpanContext};

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
        let wants_sampled = || self.sampling.wants(rand::random());
        let context = SpanContext::begin(CallerSpan::of(&head.fields), wants_sampled, rand::random);
        context.write(&mut head.fields);
        context
    }

    pub(super) fn export(&self, span: Box<Span>, metrics: &Metrics) {
        if self.spans.try_send(span).is_err() {
            metrics.spans_dropped(1);
        }
    }
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

fn shortened(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_BYTES)]).into_owned()
}
