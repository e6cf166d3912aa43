//! Counting requests and connections of pods for which Telemetry objects change metrics.

use std::sync::atomic::Ordering;

use super::custom::{CustomCounter, CustomHistogram, CustomLabels, CustomSeries, OVERFLOW, series, tag_value};
use super::labels::{EachLabel, TrafficLabels};
use super::request_labels::{MessageLabels, RequestLabels};
use crate::limits::Limit;
use crate::model::telemetry::objects::Metric;
use crate::model::telemetry::setting::MetricsSetting;
use crate::model::telemetry::{Expression, Facts};
use crate::telemetry::connection::ResponseFlag;
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::request_outcome::RequestOutcome;

/// The series of requests that ended alike, with the same values of tags.
#[derive(Debug)]
pub(super) struct CustomRequests {
    count: Option<CustomCounter>,
    duration: Option<CustomHistogram>,
    request_bytes: Option<CustomHistogram>,
    response_bytes: Option<CustomHistogram>,
    request_messages: Option<CustomCounter>,
    response_messages: Option<CustomCounter>,
}

/// What is counted of one request.
#[derive(Debug, Clone, Copy)]
pub(in crate::telemetry) struct CountedRequest {
    pub(in crate::telemetry) outcome: RequestOutcome,
    pub(in crate::telemetry) milliseconds: u64,
    pub(in crate::telemetry) request_bytes: u64,
    pub(in crate::telemetry) response_bytes: u64,
    /// Of gRPC.
    pub(in crate::telemetry) request_messages: u64,
    pub(in crate::telemetry) response_messages: u64,
}

/// Finds series for one pod.
struct Finder<'a, V> {
    all: &'a CustomSeries,
    setting: &'a MetricsSetting,
    places: &'a Limit,
    value: V,
}

impl<V: Fn(&Expression) -> Box<str>> Finder<'_, V> {
    fn labels(&self, metric: Metric, standard: &impl EachLabel) -> Option<[CustomLabels; 2]> {
        let setting = self.setting.of(metric);
        let overflow = || CustomLabels::new(metric, setting, standard, |_| OVERFLOW.into());
        (!setting.is_disabled).then(|| [CustomLabels::new(metric, setting, standard, &self.value), overflow()])
    }

    fn counter(&self, metric: Metric, standard: &impl EachLabel) -> Option<CustomCounter> {
        Some(series(&self.all.counters, self.places, self.labels(metric, standard)?))
    }

    fn histogram(&self, metric: Metric, standard: &impl EachLabel) -> Option<CustomHistogram> {
        Some(series(&self.all.histograms, self.places, self.labels(metric, standard)?))
    }
}

impl CustomRequests {
    pub(super) fn find(
        all: &CustomSeries,
        setting: &MetricsSetting,
        places: &Limit,
        (labels, is_grpc): (&RequestLabels, bool),
        facts: &impl Facts,
    ) -> Self {
        let finder = Finder { all, setting, places, value: |expression: &Expression| tag_value(expression, facts) };
        let messages = MessageLabels(labels.ends.clone());
        let of_messages = |metric| is_grpc.then(|| finder.counter(metric, &messages)).flatten();
        Self {
            count: finder.counter(Metric::RequestCount, labels),
            duration: finder.histogram(Metric::RequestDuration, labels),
            request_bytes: finder.histogram(Metric::RequestSize, labels),
            response_bytes: finder.histogram(Metric::ResponseSize, labels),
            request_messages: of_messages(Metric::GrpcRequestMessages),
            response_messages: of_messages(Metric::GrpcResponseMessages),
        }
    }

    pub(super) fn count(&self, request: CountedRequest) {
        add(&self.count, 1);
        observe(&self.duration, request.milliseconds);
        observe(&self.request_bytes, request.request_bytes);
        observe(&self.response_bytes, request.response_bytes);
        add(&self.request_messages, request.request_messages);
        add(&self.response_messages, request.response_messages);
    }
}

fn add(counter: &Option<CustomCounter>, count: u64) {
    if let Some(counter) = counter {
        counter.count.fetch_add(count, Ordering::Relaxed);
    }
}

fn observe(histogram: &Option<CustomHistogram>, value: u64) {
    if let Some(histogram) = histogram {
        histogram.count.observe(value);
    }
}

/// The series of connections without requests.
#[derive(Debug)]
pub(in crate::telemetry) struct CustomConnections {
    opened: Option<CustomCounter>,
    closed: Option<CustomCounter>,
    sent: Option<CustomCounter>,
    received: Option<CustomCounter>,
}

impl CustomConnections {
    /// Of connections with these ends that end with this flag, if they do.
    pub(super) fn find(
        all: &CustomSeries,
        setting: &MetricsSetting,
        places: &Limit,
        (ends, flag): (&ConnectionEnds, ResponseFlag),
        facts: &impl Facts,
    ) -> Self {
        let finder = Finder { all, setting, places, value: |expression: &Expression| tag_value(expression, facts) };
        let labels = TrafficLabels::new(ends, flag);
        Self {
            opened: finder.counter(Metric::TcpOpenedConnections, &labels),
            closed: finder.counter(Metric::TcpClosedConnections, &labels),
            sent: finder.counter(Metric::TcpSentBytes, &labels),
            received: finder.counter(Metric::TcpReceivedBytes, &labels),
        }
    }

    pub(super) fn count_opened(&self) {
        add(&self.opened, 1);
    }

    pub(super) fn count_closed(&self) {
        add(&self.closed, 1);
    }

    /// Bytes of requests and of responses.
    pub(super) fn count_bytes(&self, received: u64, sent: u64) {
        add(&self.received, received);
        add(&self.sent, sent);
    }
}
