//! One [`RequestRecord`] per request: opened when its head is known, it counts and logs the end of the request when it is dropped,
//! so that no exit path can forget to.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::connection::{PANICKED, RequestProtocol};
use super::facts::{RequestFacts, SettingNotes};
use super::log;
use super::metrics::CountedRequest;
use super::reporting_config::SpanSetting;
use super::request_ends::RequestEnds;
use super::request_log::{self, EndedRequest, RequestNotes};
use super::request_outcome::{Content, RequestOutcome};
use super::spans::{OpenedSpan, Span, Tracing, shortened};
use crate::model::http::grpc::{grpc_status, grpc_status_of_http};
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::http::response_flags::ResponseFlags;
use crate::model::http::trace::SpanContext;
use crate::model::identity::Identity;
use crate::model::telemetry::objects::{CustomTag, CustomTagValue};

/// Envoy's response code details of a response that the upstream gave.
const VIA_UPSTREAM: &str = "via_upstream";

/// A request that is under way, and its outcome.
///
/// Where the access log is not written, no object says anything about the pod, and the request ends as one before it did, a record
/// allocates nothing.
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
    /// `None` where no object says anything about the pod.
    setting: Option<Box<SettingNotes>>,
    /// `None` where no span is recorded.
    span: Option<Box<RecordedSpan>>,
    peer: ProvenPeer,
}

/// What the HBONE peer of the last attempt has proven.
#[derive(Debug, Default)]
enum ProvenPeer {
    #[default]
    Nothing,
    /// The identity that it must have.
    Expected,
    /// Another one of those that it may have.
    Other(Identity),
}

/// A span that is to be exported.
#[derive(Debug)]
struct RecordedSpan {
    context: SpanContext,
    opened: OpenedSpan,
    route: Option<Arc<str>>,
    tracing: Arc<Tracing>,
}

impl RequestRecord {
    /// Opens the record of a request whose head has come on a connection with these ends.
    #[must_use]
    pub fn open(ends: &Arc<RequestEnds>, head: &RequestHead) -> Self {
        ends.pod.requests().begin();
        let (notes, setting) = Self::notes_of(ends, head);
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
            notes,
            setting,
            span: None,
            peer: ProvenPeer::default(),
        }
    }

    fn notes_of(ends: &RequestEnds, head: &RequestHead) -> (Option<Box<RequestNotes>>, Option<Box<SettingNotes>>) {
        let config = ends.reporting.current.load();
        if config.is_plain {
            let form = std::iter::once_with(|| (config.own_form.clone(), None));
            return (RequestNotes::of(head, form), None);
        }
        let (setting, reporter) = (ends.pod.setting(&config), ends.ends.reporter);
        let sinks = setting.of(reporter).sinks.iter();
        let notes = RequestNotes::of(head, sinks.map(|sink| (sink.form.clone(), sink.filter.clone())));
        (notes, Some(Box::new(SettingNotes::of(setting.clone(), reporter, head))))
    }

    /// Has the request be a span of its caller's trace, or of a trace that begins here, where spans are exported. Fields of the head
    /// then say so to whoever gets the request.
    pub fn trace(&mut self, head: &mut RequestHead) {
        let (tracing, context, is_reported) = match &self.setting {
            None => {
                let Some(tracing) = &self.ends.reporting.tracing else { return };
                (tracing, tracing.begin(head), true)
            }
            Some(notes) => {
                let Some(SpanSetting { tracing, sampling, setting }) = &notes.side().spans else { return };
                (tracing, tracing.begin_as(head, *sampling, setting), setting.reports_spans)
            }
        };
        if context.sampled && is_reported {
            let (opened, tracing) = (OpenedSpan::of(head), tracing.clone());
            self.span = Some(Box::new(RecordedSpan { context, opened, route: None, tracing }));
        }
    }

    /// Says which route the request takes: Istio's name of it.
    pub fn route(&mut self, name: &Arc<str>) {
        if let Some(notes) = &mut self.notes {
            notes.route = Some(name.clone());
        }
        if let Some(setting) = &mut self.setting {
            setting.route = Some(name.clone());
        }
        if let Some(span) = &mut self.span {
            span.route = Some(name.clone());
        }
    }

    /// Says that the request is sent to an endpoint: an attempt, of which the last one gives the ends that are counted and logged.
    pub fn attempt(&mut self, ends: &Arc<RequestEnds>) {
        self.attempts += 1;
        self.peer = ProvenPeer::Nothing;
        if !Arc::ptr_eq(&self.ends, ends) {
            self.ends.pod.requests().pass_on(ends.pod.requests());
            self.ends = ends.clone();
        }
    }

    /// Notes the identity that the HBONE peer of this attempt has proven.
    pub fn peer_proved(&mut self, identity: &Identity) {
        let is_expected = self.ends.ends.destination_identity.as_ref() == Some(identity);
        self.peer = if is_expected { ProvenPeer::Expected } else { ProvenPeer::Other(identity.clone()) };
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
        self.note(error);
    }

    /// Says why policy denies the request, for the log: there is no flag for that.
    pub fn denied(&mut self, why: &dyn Display) {
        self.ends.reporting.metrics.request_denied();
        self.ends.pod.requests().deny();
        self.note(why);
    }

    /// Says which AUDIT policy matches the request.
    pub fn audited(&mut self, policy: &Arc<str>) {
        self.ends.reporting.metrics.audited();
        self.notes.iter_mut().for_each(|notes| notes.audited_by = Some(policy.clone()));
    }

    /// Says for the log what is wrong about the request; what was said first stays.
    pub fn note(&mut self, what: &dyn Display) {
        if let Some(notes) = &mut self.notes {
            notes.error.get_or_insert_with(|| what.to_string());
        }
    }

    /// Counts a piece of the request's body.
    pub fn request_data(&mut self, piece: &[u8]) {
        let messages = self.request.take(piece, self.is_grpc);
        if messages > 0 && !self.has_custom_metrics() {
            self.ends.counters.count_messages(messages, 0);
        }
    }

    /// Says that the client is given the upstream's response with this head. Interim responses do not count.
    pub fn response(&mut self, head: &ResponseHead) {
        self.respond(head, VIA_UPSTREAM.into());
    }

    /// Says that the client is given a response with this head that no upstream made, and why (Envoy's response code details, such
    /// as `route_not_found`).
    pub fn local_response(&mut self, head: &ResponseHead, details: impl Into<Cow<'static, str>>) {
        self.respond(head, details.into());
    }

    fn respond(&mut self, head: &ResponseHead, details: Cow<'static, str>) {
        if head.is_interim() {
            return;
        }
        self.status = head.status;
        self.grpc_status = if self.is_grpc { grpc_status(&head.fields) } else { None };
        if let Some(setting) = &mut self.setting {
            setting.take_response(head, details.clone());
        }
        if let Some(notes) = &mut self.notes {
            notes.take_response(head);
            if details == VIA_UPSTREAM {
                notes.first_upstream_byte.get_or_insert_with(|| self.opened.elapsed());
            }
            notes.details = Some(details);
        }
    }

    /// Counts a piece of the response's body.
    pub fn response_data(&mut self, piece: &[u8]) {
        let messages = self.response.take(piece, self.is_grpc);
        if messages > 0 && !self.has_custom_metrics() {
            self.ends.counters.count_messages(0, messages);
        }
    }

    /// Says with which trailers the response ends.
    pub fn response_trailers(&mut self, trailers: &HttpFields) {
        if self.is_grpc {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        }
    }

    /// The `grpc-status` of the response to a call of gRPC, as far as it has come.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
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
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
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
    /// Whether objects change what is counted of it.
    fn has_custom_metrics(&self) -> bool {
        self.setting.as_ref().is_some_and(|setting| setting.side().metrics.is_some())
    }

    fn count(&self, request: &EndedRequest<'_>) {
        let milliseconds = u64::try_from(request.duration.as_millis()).unwrap_or(u64::MAX);
        let counters = &self.ends.counters;
        let notes = self.setting.as_deref();
        let Some((notes, metrics)) = notes.and_then(|notes| Some((notes, notes.side().metrics.as_ref()?))) else {
            return counters.count(request.outcome, milliseconds, self.request.bytes, self.response.bytes);
        };
        let counted = CountedRequest {
            outcome: request.outcome,
            milliseconds,
            request_bytes: self.request.bytes,
            response_bytes: self.response.bytes,
            request_messages: self.request.message_count,
            response_messages: self.response.message_count,
        };
        counters.count_custom(metrics, self.ends.pod.series(), &RequestFacts { notes, request }, counted);
    }

    fn export_span(&self, span: RecordedSpan, request: &EndedRequest<'_>) {
        let RecordedSpan { context, opened, route, tracing } = span;
        let notes = self.setting.as_deref();
        let setting = notes.and_then(|notes| Some((notes, &notes.side().spans.as_ref()?.setting)));
        let tag = |notes: &SettingNotes, tag: &CustomTag| {
            let value = match &tag.value {
                CustomTagValue::Literal(value) => value.to_string(),
                CustomTagValue::Header { name, default } => {
                    shortened(notes.request_field(name).as_deref().unwrap_or(default).as_bytes())
                }
            };
            Some((tag.name.clone(), value)).filter(|(_, value)| !value.is_empty())
        };
        let custom_tags = match setting {
            Some((notes, setting)) => setting.custom_tags.iter().filter_map(|one| tag(notes, one)).collect(),
            None => Vec::new(),
        };
        let span = Box::new(Span {
            context,
            opened,
            ends: self.ends.ends.clone(),
            outcome: request.outcome,
            began: SystemTime::now() - request.duration,
            duration: request.duration,
            request_bytes: self.request.bytes,
            response_bytes: self.response.bytes,
            route,
            custom_tags,
            has_istio_tags: setting.is_none_or(|(_, setting)| setting.has_istio_tags),
            place: None,
        });
        tracing.export(span, self.ends.pod.spans(), &self.ends.reporting.metrics);
    }

    fn write_lines(&self, notes: &RequestNotes, request: &EndedRequest<'_>) {
        for line in std::iter::once(&notes.first).chain(&notes.more) {
            let is_written = match (&line.filter, &self.setting) {
                (Some(filter), Some(setting)) => filter.holds(&RequestFacts { notes: setting, request }),
                _ => true,
            };
            if is_written {
                request_log::write(notes, line, request, &self.ends.known_fields);
            }
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end_here(&PANICKED);
        }
        let span = self.span.take();
        let request = EndedRequest {
            ends: &self.ends.ends,
            peer: match &self.peer {
                ProvenPeer::Nothing => None,
                ProvenPeer::Expected => self.ends.ends.destination_identity.as_ref(),
                ProvenPeer::Other(identity) => Some(identity),
            },
            outcome: self.outcome(),
            attempts: self.attempts,
            request_bytes: self.request.bytes,
            response_bytes: self.response.bytes,
            duration: self.opened.elapsed(),
        };
        self.count(&request);
        self.ends.pod.requests().end(self.status);
        if let Some(span) = span {
            self.export_span(*span, &request);
        }
        if let Some(notes) = &self.notes {
            log::of_pod(self.ends.pod.log(), || self.write_lines(notes, &request));
        }
    }
}

#[cfg(test)]
mod tests;
