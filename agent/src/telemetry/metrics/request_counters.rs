//! The counters of requests between the same two ends: looked up once for each way in which they end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::labels::EndsLabels;
use super::registry::Metrics;
use super::request_labels::{MessageLabels, RequestLabels};
use super::requests::{MessageSeries, RequestSeries};
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
}

impl RequestCounters {
    pub(in crate::telemetry) fn new(metrics: &Arc<Metrics>, ends: &ConnectionEnds) -> Self {
        Self {
            metrics: metrics.clone(),
            labels: Arc::new(EndsLabels::new(ends)),
            mutual_tls: ends.mutual_tls,
            at_hand: Mutex::default(),
            messages: OnceLock::new(),
        }
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
