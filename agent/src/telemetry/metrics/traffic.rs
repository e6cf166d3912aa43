//! Istio's standard TCP metrics: one [`Series`] per combination of labels, looked up once per connection.
//!
//! Five metrics share their labels, so they share one table: a connection costs one lookup, not five.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::catalogue::{self, Described};
use super::labels::TrafficLabels;
use crate::telemetry::connection::ResponseFlag;

/// A combination of labels is forgotten when no connection had it for so long: the names of workloads that are long gone
/// would pile up otherwise.
const IDLE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Idle combinations that are kept at most. Of more, those that are idle longest are forgotten sooner: bare pods that run
/// once each bring a workload name of their own.
const MAX_IDLE_SERIES: usize = 1000;
/// A combination is shown at least so long after its last connection, so that every scraper sees its last values.
const MIN_SHOWN: Duration = Duration::from_secs(600);

/// The counters of one combination of labels.
#[derive(Debug)]
pub(super) struct Series {
    labels: Arc<TrafficLabels>,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Request direction: from the source to the destination, whoever reports.
    pub(super) received_bytes: AtomicU64,
    /// Response direction: from the destination to the source, whoever reports.
    pub(super) sent_bytes: AtomicU64,
    /// When a scrape first found that no connection holds it.
    idle_since: Mutex<Option<Instant>>,
}

/// All combinations of labels seen.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    series: RwLock<HashMap<Arc<TrafficLabels>, Arc<Series>>>,
    /// How many were left when idle ones were last forgotten.
    left: AtomicUsize,
}

impl Series {
    fn new(labels: Arc<TrafficLabels>) -> Self {
        Self {
            labels,
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            idle_since: Mutex::new(None),
        }
    }

    /// Since when it is idle: from now on at the latest, if nobody but the table holds it.
    fn idle_since(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut idle_since = self.idle_since.lock();
        *idle_since = (Arc::strong_count(self) == 1).then(|| idle_since.unwrap_or(now));
        *idle_since
    }
}

impl Traffic {
    /// The counters of a combination of labels.
    pub(super) fn series(&self, labels: TrafficLabels) -> Arc<Series> {
        if let Some(series) = self.series.read().get(&labels) {
            return series.clone();
        }
        if self.has_doubled() {
            self.forget_idle(Instant::now());
        }
        let labels = Arc::new(labels);
        self.series.write().entry(labels.clone()).or_insert_with(|| Arc::new(Series::new(labels))).clone()
    }

    /// Whether there are twice as many as were left the last time, and more than may be idle: nobody scrapes, or seldom.
    fn has_doubled(&self) -> bool {
        self.series.read().len() >= 2 * self.left.load(Ordering::Relaxed).max(MAX_IDLE_SERIES)
    }

    /// Forgets what nobody used for [`IDLE_LIMIT`], or sooner where there is too much of it. Called at every scrape, and where
    /// nobody scrapes, whenever the table has doubled: idle time begins at the first call that finds a combination unused.
    pub(super) fn forget_idle(&self, now: Instant) {
        let (mut table, mut idle) = (self.series.write(), Vec::new());
        // Nobody can take a further reference meanwhile: that needs the table.
        table.retain(|_, series| match series.idle_since(now) {
            Some(since) if now.duration_since(since) >= IDLE_LIMIT => false,
            since => {
                idle.extend(since);
                true
            }
        });
        if let Some(too_many) = idle.len().checked_sub(MAX_IDLE_SERIES).filter(|too_many| *too_many > 0) {
            idle.sort_unstable();
            let newest_forgotten = idle[too_many - 1];
            table.retain(|_, series| {
                series
                    .idle_since(now)
                    .is_none_or(|since| since > newest_forgotten || now.duration_since(since) < MIN_SHOWN)
            });
        }
        self.left.store(table.len(), Ordering::Relaxed);
    }

    /// Everything seen. New connections take the table's lock: it is not held while a scrape is written.
    fn all(&self) -> Vec<Arc<Series>> {
        self.series.read().values().cloned().collect()
    }
}

fn encode_one(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Described,
    all: &[Arc<Series>],
    value: impl Fn(&Series) -> &AtomicU64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::connection::RequestProtocol;
    use crate::telemetry::ends::Reporter;

    #[test]
    fn labels_in_use_stay_and_idle_ones_go_after_a_day() {
        let traffic = Traffic::default();
        let labels = |flag| TrafficLabels::unknown(Reporter::Source, RequestProtocol::Tcp, flag);
        let held = traffic.series(labels(ResponseFlag::None));
        traffic.series(labels(ResponseFlag::Denied)).failed.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        traffic.forget_idle(start);
        assert_eq!(traffic.series.read().len(), 2);
        traffic.forget_idle(start + IDLE_LIMIT);
        assert_eq!(traffic.series.read().len(), 1);
        assert!(Arc::ptr_eq(&held, &traffic.series(labels(ResponseFlag::None))));
    }

    #[test]
    fn of_too_many_idle_labels_the_oldest_go_once_they_were_shown() {
        let (traffic, start) = (Traffic::default(), Instant::now());
        let labels = |number: usize| TrafficLabels::of_source(&format!("pod-{number}"));
        let at = |seconds| start + Duration::from_secs(seconds);
        let _held = traffic.series(labels(0));
        for (number, seconds) in [(1..=10, 0), (11..=MAX_IDLE_SERIES + 5, 60)] {
            number.for_each(|number| drop(traffic.series(labels(number))));
            traffic.forget_idle(at(seconds));
        }
        assert_eq!(traffic.series.read().len(), MAX_IDLE_SERIES + 6, "all are shown for a while");
        traffic.forget_idle(at(600));
        let left = traffic.series.read();
        assert_eq!(left.len(), MAX_IDLE_SERIES + 1 - 5, "those of the same moment go together");
        assert!((1..=10).all(|number| !left.contains_key(&labels(number))) && left.contains_key(&labels(11)));
    }
    #[test]
    fn where_nobody_scrapes_the_time_of_idle_labels_begins_all_the_same() {
        let traffic = Traffic::default();
        let labels = |number: usize| TrafficLabels::of_source(&format!("pod-{number}"));
        (0..2 * MAX_IDLE_SERIES).for_each(|number| drop(traffic.series(labels(number))));
        assert_eq!(traffic.left.load(Ordering::Relaxed), 0);
        drop(traffic.series(labels(2 * MAX_IDLE_SERIES)));
        assert_eq!(traffic.left.load(Ordering::Relaxed), 2 * MAX_IDLE_SERIES, "all are shown for a while");
        traffic.forget_idle(Instant::now() + MIN_SHOWN);
        assert_eq!(traffic.series.read().len(), 1, "those of the same moment go together");
    }
}
