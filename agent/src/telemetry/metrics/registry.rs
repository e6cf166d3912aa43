//! [`Metrics`]: all metrics of the process, and what is asked for the others at every scrape.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::catalogue::Counted;
use super::live::Live;
use super::rate_limits::{LimitCounters, RateLimits, RateLimitsCollector};
use super::requests::{Requests, RequestsCollector};
use super::scrape::{Scrape, TextFormat};
use super::scraped::{Scraped, ScrapedCollector};
use super::traffic::{Traffic, TrafficCollector};
use crate::model::identity::Identity;

/// Counts as one of something open until it is dropped.
#[derive(Debug)]
pub struct OpenGuard(Gauge);

impl OpenGuard {
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// All metrics of the process. Shared as `Arc<Metrics>`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) counted: Counted,
    pub(super) scraped: Arc<Scraped>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) requests: Arc<Requests>,
    pub(super) rate_limits: Arc<RateLimits>,
    pub(super) live: Live,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Arc<Self> {
        let (counted, scraped) = (Counted::default(), Arc::<Scraped>::default());
        let (traffic, requests) = (Arc::<Traffic>::default(), Arc::<Requests>::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(TrafficCollector { standard: traffic.clone(), custom: requests.clone() }));
        registry.register_collector(Box::new(RequestsCollector(requests.clone())));
        let rate_limits = Arc::<RateLimits>::default();
        registry.register_collector(Box::new(RateLimitsCollector(rate_limits.clone())));
        registry.register_collector(Box::new(ScrapedCollector(scraped.clone())));
        counted.register(&mut registry);
        let metrics = Self { registry, counted, scraped, traffic, requests, rate_limits, live: Live::default() };
        // A rate needs a first value: what Istio's dashboards ask for is there before it first happens.
        metrics.begin_connections_at_zero();
        metrics.begin_xds_at_zero();
        Arc::new(metrics)
    }

    /// Everything, with the bytes of connections that are still open.
    ///
    /// # Errors
    /// When a metric cannot be written down.
    pub fn scrape(&self, format: TextFormat) -> io::Result<Scrape> {
        self.live.count_bytes();
        let now = Instant::now();
        self.traffic.forget_idle(now);
        self.requests.ended.forget_idle(now);
        self.requests.messages.forget_idle(now);
        self.requests.custom.counters.forget_idle(now);
        self.requests.custom.histograms.forget_idle(now);
        self.rate_limits.forget_idle(now);
        Scrape::of(&self.registry, format)
    }

    /// The counters of a rate limit by its object's key and its name.
    #[must_use]
    pub fn rate_limit(&self, object: &Arc<str>, limit: &Arc<str>) -> LimitCounters {
        LimitCounters::find(&self.rate_limits, object, limit)
    }

    /// Asks `read` for the kernel programs' counters at every scrape.
    pub fn register_kernel_counters(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        self.scraped.kernel.set(read);
    }

    /// Asks `read` for the number of entries of every map of the kernel programs at every scrape.
    pub fn register_kernel_entries(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        self.scraped.kernel_entries.set(read);
    }

    /// Asks `read` for the expiry of every workload certificate at every scrape.
    pub fn register_certificates(&self, read: impl Fn() -> Vec<(Identity, SystemTime)> + Send + Sync + 'static) {
        self.scraped.certificates.set(read);
    }

    /// Asks `read` how often each limit was reached at every scrape.
    pub fn register_limits(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        self.scraped.limits.set(read);
    }

    /// Asks `read` how many fields of the objects of each kind have no effect at every scrape.
    pub fn register_fields_without_effect(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        self.scraped.fields_without_effect.set(read);
    }

    /// Asks `read` for the number of log lines dropped so far at every scrape.
    pub fn register_dropped_log_lines(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.scraped.dropped_log_lines.set(read);
    }

    /// How many workers of this agent ended without a request to stop and were followed by another.
    pub fn set_worker_restarts(&self, restarts: u64) {
        self.scraped.worker_restarts.store(restarts, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
