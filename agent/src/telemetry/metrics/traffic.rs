//! Istio's standard TCP metrics: five metrics share their labels, so they share one table, and a connection costs one lookup.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::catalogue::{self, Described};
use super::custom::CustomCounter;
use super::labels::TrafficLabels;
use super::requests::Requests;
use super::series::{Series, SeriesTable};
use crate::model::telemetry::objects::Metric;
use crate::telemetry::connection::ResponseFlag;

/// What is counted of connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Request direction: from the source to the destination, whoever reports.
    pub(super) received_bytes: AtomicU64,
    /// Response direction: from the destination to the source, whoever reports.
    pub(super) sent_bytes: AtomicU64,
}

pub(super) type ConnectionSeries = Series<TrafficLabels, ConnectionCounts>;
pub(super) type Traffic = SeriesTable<TrafficLabels, ConnectionCounts>;

fn encode_one(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Described,
    all: &[Arc<ConnectionSeries>],
    value: impl Fn(&ConnectionCounts) -> &AtomicU64,
    is_shown_at_zero: impl Fn(ResponseFlag) -> bool,
    custom: impl Iterator<Item = CustomCounter>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for series in all {
        let value = value(series).load(Ordering::Relaxed);
        if value > 0 || is_shown_at_zero(series.labels.flag()) {
            metric.encode_family(&*series.labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
    }
    for series in custom {
        let value = series.count.load(Ordering::Relaxed);
        metric.encode_family(&*series.labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

/// Lets the registry read the tables at a scrape.
#[derive(Debug)]
pub(super) struct TrafficCollector {
    pub(super) standard: Arc<Traffic>,
    /// Has the series of pods for which labels are changed.
    pub(super) custom: Arc<Requests>,
}

impl Collector for TrafficCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Connections open and move bytes without a flag; with one they only close. Zeros are shown where the metric
        // can still move, so that rates begin at its first step.
        let unflagged = |flag| flag == ResponseFlag::None;
        let never = |_| false;
        let (all, to) = (self.standard.all(), &mut encoder);
        let custom = self.custom.custom.counters.all();
        let of = |metric| custom.iter().filter(move |series| series.labels.metric == metric).cloned();
        let opened = of(Metric::TcpOpenedConnections);
        encode_one(to, catalogue::TCP_CONNECTIONS_OPENED, &all, |series| &series.opened, never, opened)?;
        let closed = of(Metric::TcpClosedConnections);
        encode_one(to, catalogue::TCP_CONNECTIONS_CLOSED, &all, |series| &series.closed, unflagged, closed)?;
        let none = std::iter::empty();
        encode_one(to, catalogue::TCP_CONNECTIONS_FAILED, &all, |series| &series.failed, never, none)?;
        let received = of(Metric::TcpReceivedBytes);
        encode_one(to, catalogue::TCP_RECEIVED_BYTES, &all, |series| &series.received_bytes, unflagged, received)?;
        let sent = of(Metric::TcpSentBytes);
        encode_one(to, catalogue::TCP_SENT_BYTES, &all, |series| &series.sent_bytes, unflagged, sent)
    }
}
