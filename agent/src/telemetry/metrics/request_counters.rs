//! The counters of requests between the same two ends: looked up once for each way in which they end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::custom::tag_value;
use super::custom_counters::{CountedRequest, CustomRequests};
use super::labels::EndsLabels;
use super::registry::Metrics;
use super::request_labels::{MessageLabels, RequestLabels};
use super::requests::{MessageSeries, RequestSeries};
use crate::limits::Limit;
use crate::model::telemetry::Facts;
use crate::model::telemetry::setting::MetricsSetting;
use crate::telemetry::connection::RequestProtocol;
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::request_outcome::RequestOutcome;

/// Outcomes whose counters are kept at hand; of more, the one that came first is looked up again. A service answers with a few
/// statuses, and only a hostile one with many.
const MAX_OUTCOMES_AT_HAND: usize = 16;

/// The counters of requests between two ends. In steady state a request takes no lock of the whole process.
#[derive(Debug)]
pub(in crate::telemetry) struct RequestCounters {
    metrics: Arc<Metrics>,
    labels: Arc<EndsLabels>,
    mutual_tls: bool,
    at_hand: Mutex<Vec<(RequestOutcome, Arc<RequestSeries>)>>,
    messages: OnceLock<Arc<MessageSeries>>,
    custom: Mutex<Vec<CustomAtHand>>,
}

/// The series of requests that ended alike, with the same values of tags, under one setting.
#[derive(Debug)]
struct CustomAtHand {
    setting: Arc<MetricsSetting>,
    outcome: RequestOutcome,
    values: Vec<Box<str>>,
    series: CustomRequests,
}

impl RequestCounters {
    pub(in crate::telemetry) fn new(metrics: &Arc<Metrics>, ends: &ConnectionEnds) -> Self {
        Self {
            metrics: metrics.clone(),
            labels: Arc::new(EndsLabels::new(ends)),
            mutual_tls: ends.mutual_tls,
            at_hand: Mutex::default(),
            messages: OnceLock::new(),
            custom: Mutex::default(),
        }
    }

    /// Counts a request that has ended, where objects change what is counted of it. `places` are those for series that the pod may
    /// have.
    pub(in crate::telemetry) fn count_custom(
        &self,
        setting: &Arc<MetricsSetting>,
        places: &Limit,
        facts: &impl Facts,
        request: CountedRequest,
    ) {
        let outcome = request.outcome;
        let values: Vec<_> = setting.expressions().map(|expression| tag_value(expression, facts)).collect();
        let mut at_hand = self.custom.lock();
        let is_it =
            |at: &&CustomAtHand| Arc::ptr_eq(&at.setting, setting) && at.outcome == outcome && at.values == values;
        if let Some(at) = at_hand.iter().find(is_it) {
            return at.series.count(request);
        }
        let labels = RequestLabels { ends: self.labels.clone(), outcome, mutual_tls: self.mutual_tls };
        let is_grpc = outcome.protocol == RequestProtocol::Grpc;
        let series = CustomRequests::find(&self.metrics.requests.custom, setting, places, (&labels, is_grpc), facts);
        series.count(request);
        if at_hand.len() == MAX_OUTCOMES_AT_HAND {
            at_hand.remove(0);
        }
        at_hand.push(CustomAtHand { setting: setting.clone(), outcome, values, series });
    }

    /// Counts a request that has ended.
    pub(in crate::telemetry) fn count(
        &self,
        outcome: RequestOutcome,
        milliseconds: u64,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let mut at_hand = self.at_hand.lock();
        if let Some((_, series)) = at_hand.iter().find(|(known, _)| *known == outcome) {
            return series.observe(milliseconds, request_bytes, response_bytes);
        }
        let labels = RequestLabels { ends: self.labels.clone(), outcome, mutual_tls: self.mutual_tls };
        let series = self.metrics.requests.ended.series(labels);
        series.observe(milliseconds, request_bytes, response_bytes);
        if at_hand.len() == MAX_OUTCOMES_AT_HAND {
            at_hand.remove(0);
        }
        at_hand.push((outcome, series));
    }

    /// Counts messages of a gRPC request that is under way: those of the client, and those of the server.
    pub(in crate::telemetry) fn count_messages(&self, of_request: u64, of_response: u64) {
        let series = self.messages.get_or_init(|| {
            let labels = MessageLabels(self.labels.clone());
            self.metrics.requests.messages.series(labels)
        });
        series.requests.fetch_add(of_request, Ordering::Relaxed);
        series.responses.fetch_add(of_response, Ordering::Relaxed);
    }
}

impl Metrics {
    /// The collector has taken spans.
    pub fn spans_exported(&self, spans: u64) {
        self.counted.spans_exported.inc_by(spans);
    }

    /// Spans were left out: the collector has not taken them, or not fast enough.
    pub fn spans_dropped(&self, spans: u64) {
        self.counted.spans_dropped.inc_by(spans);
    }
}
