//! Istio's standard TCP metrics: five metrics share their labels, so they share one table, and a connection costs one lookup.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::catalogue::{self, Described};
use super::labels::TrafficLabels;
use super::series::{Series, SeriesTable};
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
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for series in all {
        let value = value(series).load(Ordering::Relaxed);
        if value > 0 || is_shown_at_zero(series.labels.flag()) {
            metric.encode_family(&*series.labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
    }
    Ok(())
}

/// Lets the registry read the table at a scrape.
#[derive(Debug)]
pub(super) struct TrafficCollector(pub(super) Arc<Traffic>);

impl Collector for TrafficCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Connections open and move bytes without a flag; with one they only close. Zeros are shown where the metric
        // can still move, so that rates begin at its first step.
        let unflagged = |flag| flag == ResponseFlag::None;
        let never = |_| false;
        let (all, to) = (self.0.all(), &mut encoder);
        encode_one(to, catalogue::TCP_CONNECTIONS_OPENED, &all, |series| &series.opened, never)?;
        encode_one(to, catalogue::TCP_CONNECTIONS_CLOSED, &all, |series| &series.closed, unflagged)?;
        encode_one(to, catalogue::TCP_CONNECTIONS_FAILED, &all, |series| &series.failed, never)?;
        encode_one(to, catalogue::TCP_RECEIVED_BYTES, &all, |series| &series.received_bytes, unflagged)?;
        encode_one(to, catalogue::TCP_SENT_BYTES, &all, |series| &series.sent_bytes, unflagged)
    }
}
