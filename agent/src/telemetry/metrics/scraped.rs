//! Metrics that nobody counts: they are read from their source when somebody asks.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::catalogue::{self, Described};
use super::process;
use crate::model::identity::Identity;
use crate::parsed_heads;

/// Something to ask at a scrape, named by the process's assembly once it exists.
pub(super) struct Source<T>(RwLock<Option<Box<dyn Fn() -> T + Send + Sync>>>);

impl<T> Default for Source<T> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<T> Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.0.read().is_some()).finish()
    }
}

impl<T> Source<T> {
    pub(super) fn set(&self, read: impl Fn() -> T + Send + Sync + 'static) {
        *self.0.write() = Some(Box::new(read));
    }

    pub(super) fn read(&self) -> Option<T> {
        self.0.read().as_ref().map(|read| read())
    }
}

/// Everything that is asked at a scrape.
#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) kernel: Source<Vec<(&'static str, u64)>>,
    pub(super) kernel_entries: Source<Vec<(&'static str, u64)>>,
    pub(super) certificates: Source<Vec<(Identity, SystemTime)>>,
    pub(super) limits: Source<Vec<(&'static str, u64)>>,
    pub(super) fields_without_effect: Source<Vec<(&'static str, u64)>>,
    pub(super) dropped_log_lines: Source<u64>,
    pub(super) worker_restarts: AtomicU64,
    pub(super) last_good: RwLock<Option<SystemTime>>,
    pub(super) started: SystemTime,
}

impl Default for Scraped {
    fn default() -> Self {
        Self {
            kernel: Source::default(),
            kernel_entries: Source::default(),
            certificates: Source::default(),
            limits: Source::default(),
            fields_without_effect: Source::default(),
            dropped_log_lines: Source::default(),
            worker_restarts: AtomicU64::default(),
            last_good: RwLock::default(),
            started: SystemTime::now(),
        }
    }
}

impl Scraped {
    /// Time since configuration was last accepted; `None` if never.
    pub(super) fn last_good_age(&self, now: SystemTime) -> Option<Duration> {
        self.last_good.read().map(|at| now.duration_since(at).unwrap_or_default())
    }
}

/// Lets the registry read them at a scrape.
#[derive(Debug)]
pub(super) struct ScrapedCollector(pub(super) Arc<Scraped>);

impl Collector for ScrapedCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = SystemTime::now();
        let to = &mut encoder;
        counters(to, catalogue::CAPTURE_VERDICTS, "verdict", &self.0.kernel.read().unwrap_or_default())?;
        gauges(to, catalogue::CAPTURE_MAP_ENTRIES, "map", &self.0.kernel_entries.read().unwrap_or_default())?;
        counters(to, catalogue::LIMIT_REACHED, "limit", &self.0.limits.read().unwrap_or_default())?;
        let fields_without_effect = self.0.fields_without_effect.read().unwrap_or_default();
        gauges(to, catalogue::FIELDS_WITHOUT_EFFECT, "kind", &fields_without_effect)?;
        heads(to)?;
        counter(to, catalogue::LOG_LINES_DROPPED, self.0.dropped_log_lines.read().unwrap_or_default())?;
        counter(to, catalogue::WORKER_RESTARTS, self.0.worker_restarts.load(Ordering::Relaxed))?;
        certificates(to, now, self.0.certificates.read().unwrap_or_default())?;
        if let Some(age) = self.0.last_good_age(now) {
            gauge(to, catalogue::LAST_GOOD_AGE, age.as_secs_f64())?;
        }
        process_metrics(to, self.0.started)
    }
}

fn heads(to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (name, help) = catalogue::HEADS_PARSED;
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for ([protocol, kind], count) in parsed_heads::counted() {
        let labels = [("protocol", protocol), ("kind", kind)];
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    Ok(())
}

fn certificates(to: &mut DescriptorEncoder<'_>, now: SystemTime, expiries: Vec<(Identity, SystemTime)>) -> fmt::Result {
    let (name, help) = catalogue::CERTIFICATE_EXPIRY;
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (identity, not_after) in expiries {
        let left = match not_after.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(past) => -past.duration().as_secs_f64(),
        };
        metric.encode_family(&[("identity", identity.to_string())])?.encode_gauge(&left.round())?;
    }
    Ok(())
}

/// Leaves out what this system does not tell.
fn process_metrics(to: &mut DescriptorEncoder<'_>, started: SystemTime) -> fmt::Result {
    if let Some(open) = process::open_fds() {
        gauge(to, catalogue::PROCESS_OPEN_FDS, open)?;
    }
    if let Some(max) = process::max_fds() {
        gauge(to, catalogue::PROCESS_MAX_FDS, max)?;
    }
    if let Some(bytes) = process::resident_memory_bytes() {
        gauge(to, catalogue::PROCESS_RESIDENT_MEMORY, bytes)?;
    }
    if let Some(threads) = process::threads() {
        gauge(to, catalogue::PROCESS_THREADS, threads)?;
    }
    if let Some(used) = process::cpu_time() {
        let (name, help) = catalogue::PROCESS_CPU_SECONDS;
        let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&used.as_secs_f64(), None)?;
    }
    gauge(to, catalogue::PROCESS_START_TIME, started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

fn gauge(to: &mut DescriptorEncoder<'_>, (name, help): Described, value: impl EncodeGaugeValue) -> fmt::Result {
    to.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn gauges(
    to: &mut DescriptorEncoder<'_>,
    (name, help): Described,
    label: &'static str,
    values: &[(&'static str, u64)],
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.iter().try_for_each(|(labelled, value)| metric.encode_family(&[(label, *labelled)])?.encode_gauge(value))
}

fn counter(to: &mut DescriptorEncoder<'_>, (name, help): Described, value: u64) -> fmt::Result {
    to.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn counters(
    to: &mut DescriptorEncoder<'_>,
    (name, help): Described,
    label: &'static str,
    values: &[(&'static str, u64)],
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labelled, count) in values {
        metric.encode_family(&[(label, *labelled)])?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
    }
    Ok(())
}
