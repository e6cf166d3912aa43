//! Istio's standard HTTP metrics. The four of them share their labels, so they share one table; those of gRPC messages have
//! fewer labels and a table of their own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::catalogue::{self, Described};
use super::custom::{CustomCounter, CustomHistogram, CustomSeries};
use super::histogram::Histogram;
use super::request_labels::{MessageLabels, RequestLabels};
use super::series::{Series, SeriesTable};
use crate::model::telemetry::objects::Metric;

/// What is counted of requests that ended alike. There are as many of them as durations.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct RequestCounts {
    duration_milliseconds: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

impl RequestCounts {
    /// Counts a request that has ended.
    pub(in crate::telemetry) fn observe(&self, milliseconds: u64, request_bytes: u64, response_bytes: u64) {
        self.duration_milliseconds.observe(milliseconds);
        self.request_bytes.observe(request_bytes);
        self.response_bytes.observe(response_bytes);
    }
}

/// Messages of gRPC requests.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct MessageCounts {
    pub(in crate::telemetry) requests: AtomicU64,
    pub(in crate::telemetry) responses: AtomicU64,
}

pub(in crate::telemetry) type RequestSeries = Series<RequestLabels, RequestCounts>;
pub(in crate::telemetry) type MessageSeries = Series<MessageLabels, MessageCounts>;

/// All requests that were counted.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) ended: SeriesTable<RequestLabels, RequestCounts>,
    pub(super) messages: SeriesTable<MessageLabels, MessageCounts>,
    /// Of pods for which labels are changed.
    pub(super) custom: CustomSeries,
}

/// Lets the registry read the tables at a scrape.
#[derive(Debug)]
pub(super) struct RequestsCollector(pub(super) Arc<Requests>);

impl Collector for RequestsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (ended, messages, to) = (self.0.ended.all(), self.0.messages.all(), &mut encoder);
        let custom = Written { counters: self.0.custom.counters.all(), histograms: self.0.custom.histograms.all() };
        let count = |series: &RequestCounts| series.duration_milliseconds.count();
        counters(to, catalogue::REQUESTS, &ended, count, custom.counters(Metric::RequestCount))?;
        let of = |metric| custom.histograms(metric);

        histograms(
            to,
            catalogue::REQUEST_DURATION,
            &ended,
            |series| &series.duration_milliseconds,
            of(Metric::RequestDuration),
        )?;
        histograms(to, catalogue::REQUEST_BYTES, &ended, |series| &series.request_bytes, of(Metric::RequestSize))?;
        histograms(to, catalogue::RESPONSE_BYTES, &ended, |series| &series.response_bytes, of(Metric::ResponseSize))?;
        let requests = |series: &MessageCounts| series.requests.load(Ordering::Relaxed);
        counters(to, catalogue::REQUEST_MESSAGES, &messages, requests, custom.counters(Metric::GrpcRequestMessages))?;
        let responses = |series: &MessageCounts| series.responses.load(Ordering::Relaxed);
        counters(to, catalogue::RESPONSE_MESSAGES, &messages, responses, custom.counters(Metric::GrpcResponseMessages))
    }
}

/// All series with labels of their own, to be written metric by metric.
struct Written {
    counters: Vec<CustomCounter>,
    histograms: Vec<CustomHistogram>,
}

impl Written {
    fn counters(&self, metric: Metric) -> impl Iterator<Item = &CustomCounter> {
        self.counters.iter().filter(move |series| series.labels.metric == metric)
    }

    fn histograms(&self, metric: Metric) -> impl Iterator<Item = &CustomHistogram> {
        self.histograms.iter().filter(move |series| series.labels.metric == metric)
    }
}

fn counters<'a, L: EncodeLabelSet, C>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Described,
    all: &[Arc<Series<L, C>>],
    value: impl Fn(&C) -> u64,
    mut custom: impl Iterator<Item = &'a CustomCounter>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    all.iter().try_for_each(|series| {
        metric.encode_family(&*series.labels)?.encode_counter::<NoLabelSet, _, u64>(&value(series), None)
    })?;
    custom.try_for_each(|series| {
        let count = series.count.load(Ordering::Relaxed);
        metric.encode_family(&*series.labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
    })
}

fn histograms<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Described,
    all: &[Arc<RequestSeries>],
    histogram: impl Fn(&RequestCounts) -> &Histogram,
    mut custom: impl Iterator<Item = &'a CustomHistogram>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    all.iter().try_for_each(|series| histogram(series).encode(metric.encode_family(&*series.labels)?))?;
    custom.try_for_each(|series| series.count.encode(metric.encode_family(&*series.labels)?))
}
