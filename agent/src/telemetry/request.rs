//! One [`RequestRecord`] per request: opened when its head is known, it counts and logs the end of the request when it is dropped,
//! so that no exit path can forget to.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::connection::RequestProtocol;
use super::request_ends::RequestEnds;
use super::request_log::{self, EndedRequest, RequestNotes};
use super::request_outcome::{RequestOutcome, grpc_status};
use super::spans::{OpenedSpan, Span};
use crate::model::http::grpc_messages::GrpcMessageCounter;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::http::reply::grpc_status_of_http;
use crate::model::http::response_flags::ResponseFlags;
use crate::model::http::trace::SpanContext;

/// Envoy's response code details of a response that the upstream gave.
const VIA_UPSTREAM: &str = "via_upstream";

/// A request that is under way, and its outcome.
///
/// Where the access log is not written and the request ends as one before it did, a record allocates nothing.
#[derive(Debug)]
pub struct RequestRecord {
    ends: Arc<RequestEnds>,
    opened: Instant,
    is_grpc: bool,
    is_blocked: bool,
    is_complete: bool,
    status: u16,
    grpc_status: Option<u8>,
    flags: ResponseFlags,
    attempts: u32,
    request: Content,
    response: Content,
    notes: Option<Box<RequestNotes>>,
    /// `None` where no span is recorded.
    span: Option<Box<RecordedSpan>>,
}

/// A span that is to be exported.
#[derive(Debug)]
struct RecordedSpan {
    context: SpanContext,
    opened: OpenedSpan,
    route: Option<Arc<str>>,
}

/// What has been moved of a body.
#[derive(Debug, Default)]
struct Content {
    bytes: u64,
    messages: GrpcMessageCounter,
}

impl Content {
    /// Counts a piece, and says how many gRPC messages ended in it.
    fn take(&mut self, piece: &[u8], is_grpc: bool) -> u64 {
        self.bytes += piece.len() as u64;
        if is_grpc { self.messages.take(piece) } else { 0 }
    }
}

impl RequestRecord {
    /// Opens the record of a request whose head has come on a connection with these ends.
    #[must_use]
    pub fn open(ends: &Arc<RequestEnds>, head: &RequestHead) -> Self {
        ends.of_pod.begin();
        Self {
            ends: ends.clone(),
            opened: Instant::now(),
            is_grpc: head.is_grpc(),
            is_blocked: false,
            is_complete: false,
            status: 0,
            grpc_status: None,
            flags: ResponseFlags::default(),
            attempts: 0,
            request: Content::default(),
            response: Content::default(),
            notes: RequestNotes::of(head, || ends.reporting.log_form()),
            span: None,
        }
    }

    /// Has the request be a span of its caller's trace, or of a trace that begins here, where spans are exported. Fields of the head
    /// then say so to whoever gets the request.
    pub fn trace(&mut self, head: &mut RequestHead) {
        let Some(tracing) = &self.ends.reporting.tracing else { return };
        let context = tracing.begin(head);
        if context.sampled {
            self.span = Some(Box::new(RecordedSpan { context, opened: OpenedSpan::of(head), route: None }));
        }
    }

    /// Says which route the request takes: Istio's name of it.
    pub fn route(&mut self, name: &Arc<str>) {
        if let Some(notes) = &mut self.notes {
            notes.route = Some(name.clone());
        }
        if let Some(span) = &mut self.span {
            span.route = Some(name.clone());
        }
    }

    /// Says that the request is sent to an endpoint: an attempt, of which the last one gives the ends that are counted and logged.
    pub fn attempt(&mut self, ends: &Arc<RequestEnds>) {
        self.attempts += 1;
        if !Arc::ptr_eq(&self.ends, ends) {
            self.ends.of_pod.pass_on(&ends.of_pod);
            self.ends = ends.clone();
        }
    }

    /// Says that nothing of the mesh is at the destination, and that MeshConfig forbids such (REGISTRY_ONLY): metrics name the
    /// destination `BlackHoleCluster`.
    pub fn destination_is_blocked(&mut self) {
        self.is_blocked = true;
    }

    /// Adds a response flag.
    pub fn flag(&mut self, flag: HttpResponseFlag) {
        self.flags.insert(flag);
    }

    /// Says why the request failed, for the log; the first reason stays.
    pub fn fail(&mut self, flag: HttpResponseFlag, error: &dyn Display) {
        self.flag(flag);
        if let Some(notes) = &mut self.notes {
            notes.error.get_or_insert_with(|| error.to_string());
        }
    }

    /// Counts a piece of the request's body.
    pub fn request_data(&mut self, piece: &[u8]) {
        let messages = self.request.take(piece, self.is_grpc);
        if messages > 0 {
            self.ends.counters.count_messages(messages, 0);
        }
    }

    /// Says that the client is given the upstream's response with this head. Interim responses do not count.
    pub fn response(&mut self, head: &ResponseHead) {
        self.respond(head, VIA_UPSTREAM);
    }

    /// Says that the client is given a response with this head that no upstream made, and why (Envoy's response code details, such
    /// as `route_not_found`).
    pub fn local_response(&mut self, head: &ResponseHead, details: &'static str) {
        self.respond(head, details);
    }

    fn respond(&mut self, head: &ResponseHead, details: &'static str) {
        if head.is_interim() {
            return;
        }
        self.status = head.status;
        self.grpc_status = if self.is_grpc { grpc_status(&head.fields) } else { None };
        if let Some(notes) = &mut self.notes {
            notes.take_response(head);
            notes.details = Some(details);
            if details == VIA_UPSTREAM {
                notes.first_upstream_byte.get_or_insert_with(|| self.opened.elapsed());
            }
        }
    }

    /// Counts a piece of the response's body.
    pub fn response_data(&mut self, piece: &[u8]) {
        let messages = self.response.take(piece, self.is_grpc);
        if messages > 0 {
            self.ends.counters.count_messages(0, messages);
        }
    }

    /// Says with which trailers the response ends.
    pub fn response_trailers(&mut self, trailers: &HttpFields) {
        if self.is_grpc {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        }
    }

    /// Says that the client got the whole response. A record that is dropped without is that of a request which its client left,
    /// unless a flag says why it ended.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Says that a request which has no end yet was ended by the agent itself, for the log.
    pub fn end_here(&mut self, why: &dyn Display) {
        if self.is_unexplained() {
            self.fail(HttpResponseFlag::LocalReset, why);
        }
    }

    /// Whether nothing says yet how the request ended. A delay is no end.
    fn is_unexplained(&self) -> bool {
        !self.is_complete && (self.flags.is_empty() || self.flags == HttpResponseFlag::DelayInjected.into())
    }

    fn outcome(&self) -> RequestOutcome {
        let mut flags = self.flags;
        if self.is_unexplained() {
            flags.insert(HttpResponseFlag::DownstreamConnectionTermination);
        }
        let grpc_of_http = || (self.status > 0).then(|| grpc_status_of_http(self.status));
        RequestOutcome {
            protocol: if self.is_grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
            status: self.status,
            grpc_status: if self.is_grpc { self.grpc_status.or_else(grpc_of_http) } else { None },
            flags,
            is_blocked: self.is_blocked,
        }
    }
}

impl RequestRecord {
    fn export_span(&mut self, outcome: RequestOutcome, duration: Duration) {
        let (Some(span), Some(tracing)) = (self.span.take(), &self.ends.reporting.tracing) else { return };
        let RecordedSpan { context, opened, route } = *span;
        let span = Box::new(Span {
            context,
            opened,
            ends: self.ends.ends.clone(),
            outcome,
            began: SystemTime::now() - duration,
            duration,
            request_bytes: self.request.bytes,
            response_bytes: self.response.bytes,
            route,
        });
        tracing.export(span, &self.ends.reporting.metrics);
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let (outcome, duration) = (self.outcome(), self.opened.elapsed());
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.ends.counters.count(outcome, milliseconds, self.request.bytes, self.response.bytes);
        self.ends.of_pod.end(self.status);
        self.export_span(outcome, duration);
        if let Some(notes) = &self.notes {
            let request = EndedRequest {
                ends: &self.ends.ends,
                outcome,
                attempts: self.attempts,
                request_bytes: self.request.bytes,
                response_bytes: self.response.bytes,
                duration,
            };
            request_log::write(notes, &request);
        }
    }
}

#[cfg(test)]
mod tests;
