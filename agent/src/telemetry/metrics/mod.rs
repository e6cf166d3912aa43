//! [`Metrics`]: what the process counts, behind plain methods. Names, help and labels are in `catalogue` and `labels`;
//! prometheus types do not leave this directory.

mod catalogue;
mod classic;
mod labels;
mod live;
mod process;
mod scrape;
mod scraped;
mod traffic;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::catalogue::Counted;
use self::labels::TrafficLabels;
use self::live::Live;
pub(in crate::telemetry) use self::live::OpenConnection;
pub use self::scrape::{Scrape, ScrapeText, TextFormat};
use self::scraped::{Scraped, ScrapedCollector};
use self::traffic::{Traffic, TrafficCollector};
use super::connection::{ConnectionEnds, LiveConnection, Reporter, ResponseFlag};
use crate::model::identity::Identity;

/// Which of our two sockets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The connection we accepted.
    Downstream,
    /// The connection we opened.
    Upstream,
}

impl Side {
    /// The value of the metrics' `side` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

/// How a connection to the control plane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XdsTermination {
    /// It could not be made.
    ConnectionError,
    /// The control plane, or what it sent, broke it off.
    Error,
    /// It was closed to be made anew.
    Reconnect,
    /// The control plane closed it in good order.
    Complete,
}

impl XdsTermination {
    const ALL: [Self; 4] = [Self::ConnectionError, Self::Error, Self::Reconnect, Self::Complete];

    fn label(self) -> &'static str {
        match self {
            Self::ConnectionError => "ConnectionError",
            Self::Error => "Error",
            Self::Reconnect => "Reconnect",
            Self::Complete => "Complete",
        }
    }
}

/// What is kept on disk over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateFile {
    /// The last good configuration.
    LastGood,
    /// The list of enrolled pods.
    EnrolledPods,
}

impl StateFile {
    fn label(self) -> &'static str {
        match self {
            Self::LastGood => "last_good",
            Self::EnrolledPods => "enrolled_pods",
        }
    }
}

/// Counts as one of something open until it is dropped.
#[derive(Debug)]
pub struct OpenGuard(Gauge);

impl OpenGuard {
    fn new(gauge: Gauge) -> Self {
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
    counted: Counted,
    scraped: Arc<Scraped>,
    traffic: Arc<Traffic>,
    live: Live,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Arc<Self> {
        let (counted, scraped, traffic) = (Counted::default(), Arc::<Scraped>::default(), Arc::<Traffic>::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(TrafficCollector(traffic.clone())));
        registry.register_collector(Box::new(ScrapedCollector(scraped.clone())));
        counted.register(&mut registry);
        begin_at_zero(&counted);
        Arc::new(Self { registry, counted, scraped, traffic, live: Live::default() })
    }

    /// Everything, with the bytes of connections that are still open.
    ///
    /// # Errors
    /// When a metric cannot be written down.
    pub fn scrape(&self, format: TextFormat) -> io::Result<Scrape> {
        self.live.count_bytes();
        self.traffic.forget_idle(Instant::now());
        Scrape::of(&self.registry, format)
    }

    /// The connections that are open now, in no order.
    #[must_use]
    pub fn live_connections(&self) -> Vec<LiveConnection> {
        self.live.snapshot()
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

    /// Asks `read` for the number of log lines dropped so far at every scrape.
    pub fn register_dropped_log_lines(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.scraped.dropped_log_lines.set(read);
    }

    /// How many workers of this agent were followed by another.
    pub fn set_worker_restarts(&self, restarts: u64) {
        self.scraped.worker_restarts.store(restarts, Ordering::Relaxed);
    }

    /// A TLS handshake with a peer failed. The reason is one of a fixed set, such as `PeerRefused::label`.
    pub fn handshake_failed(&self, side: Side, reason: &'static str) {
        self.counted.handshake_failures.get_or_create(&[("side", side.label()), ("reason", reason)]).inc();
    }

    /// A certificate was asked for, and was issued or not.
    pub fn certificate_requested(&self, issued: bool) {
        let result = if issued { "success" } else { "failure" };
        self.counted.certificate_requests.get_or_create(&[("result", result)]).inc();
    }

    /// Counts an HBONE connection as open until the guard is dropped.
    #[must_use]
    pub fn hbone_connection_opened(&self, side: Side) -> OpenGuard {
        OpenGuard::new(self.counted.hbone_connections_open.get_or_create_owned(&[("side", side.label())]))
    }

    /// A live connection was closed because policy no longer allows it.
    pub fn policy_closed_connection(&self) {
        self.counted.policy_closed_connections.inc();
    }

    /// A connection was allowed that a dry-run policy would have denied.
    pub fn dry_run_denied(&self) {
        self.counted.dry_run_denials.inc();
    }

    /// accept() failed.
    pub fn accept_failed(&self) {
        self.counted.accept_errors.inc();
    }

    /// Something that must outlive a restart could not be written.
    pub fn state_write_failed(&self, file: StateFile) {
        self.counted.state_write_failures.get_or_create(&[("file", file.label())]).inc();
    }

    /// A watch of the Kubernetes API ended in a failure, or could not begin.
    pub fn kubernetes_watch_failed(&self) {
        self.counted.kubernetes_watch_errors.inc();
    }

    /// A connection to the control plane ended.
    pub fn xds_connection_ended(&self, how: XdsTermination) {
        self.counted.xds_connection_terminations.get_or_create(&[("reason", how.label())]).inc();
    }

    /// A message of a subscribed type came from the control plane.
    pub fn xds_message(&self, type_url: &str, size_bytes: u64) {
        let label = [("url", type_url.to_owned())];
        self.counted.xds_messages.get_or_create(&label).inc();
        self.counted.xds_message_bytes.get_or_create(&label).inc_by(size_bytes);
    }

    /// Resources came that were byte for byte what is held. The type is one that we know.
    pub fn xds_repeated(&self, kind: &str, resources: u64) {
        if resources > 0 {
            self.counted.xds_repeats.get_or_create(&[("type", kind.to_owned())]).inc_by(resources);
        }
    }

    /// A resource or document was refused. The type is a type URL or a kind that we know.
    pub fn config_rejected(&self, kind: &str) {
        self.counted.config_rejected.get_or_create(&[("type", kind.to_owned())]).inc();
    }

    /// A request to enrol or unenrol a pod was refused. The field is one of a fixed set.
    pub fn enrollment_refused(&self, field: &'static str) {
        self.counted.enrollment_refusals.get_or_create(&[("field", field)]).inc();
    }

    /// A call of the CNI plugin was answered. Both are of fixed sets.
    pub fn cni_called(&self, command: &'static str, answer: &'static str) {
        self.counted.cni_calls.get_or_create(&[("command", command), ("answer", answer)]).inc();
    }

    /// The container runtime was answered about a pod. Both are of fixed sets.
    pub fn nri_asked(&self, command: &'static str, answer: &'static str) {
        self.counted.nri_requests.get_or_create(&[("command", command), ("answer", answer)]).inc();
    }

    /// Whether the container runtime asks about new pods.
    pub fn set_nri_connected(&self, is_connected: bool) {
        self.counted.nri_connected.set(i64::from(is_connected));
    }

    /// Configuration was received and accepted at this time (in the past, where it was read back from disk).
    pub fn config_accepted(&self, at: SystemTime) {
        *self.scraped.last_good.write() = Some(at);
    }

    /// Time since configuration was last received and accepted; `None` if never.
    #[must_use]
    pub fn last_good_age(&self) -> Option<Duration> {
        self.scraped.last_good_age(SystemTime::now())
    }

    /// How many pods are enrolled and captured.
    pub fn set_pods(&self, active: usize) {
        // A node has at most some hundreds of pods.
        self.counted.active_proxies.set(i64::try_from(active).unwrap_or(i64::MAX));
    }

    /// How many pods should be enrolled and are not yet.
    pub fn set_pending_pods(&self, pending: usize) {
        self.counted.pending_proxies.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    pub(super) fn opened(&self, ends: ConnectionEnds) -> (Arc<OpenConnection>, OpenGuard) {
        let series = self.traffic.series(TrafficLabels::new(&ends, ResponseFlag::None));
        series.opened.fetch_add(1, Ordering::Relaxed);
        let guard = sockets_open(&self.counted.sockets_open, ends.reporter);
        let connection = Arc::new(OpenConnection::new(ends, series));
        self.live.insert(&connection);
        (connection, guard)
    }

    /// Counts the end of a connection; every connection that was opened is closed once, failed or not.
    pub(super) fn closed(&self, connection: &Arc<OpenConnection>, failure: Option<ResponseFlag>) {
        self.live.remove(connection);
        connection.count_bytes();
        let Some(flag) = failure else {
            connection.series.closed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let series = self.traffic.series(TrafficLabels::new(&connection.ends, flag));
        series.closed.fetch_add(1, Ordering::Relaxed);
        series.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, reporter: Reporter, flag: ResponseFlag) {
        self.traffic.series(TrafficLabels::unknown(reporter, flag)).failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A rate needs a first value: what Istio's dashboards ask for is there before it first happens.
fn begin_at_zero(counted: &Counted) {
    for how in XdsTermination::ALL {
        drop(counted.xds_connection_terminations.get_or_create(&[("reason", how.label())]));
    }
    for reporter in [Reporter::Source, Reporter::Destination] {
        drop(counted.sockets_open.get_or_create(&[("reporter", reporter.label())]));
    }
}

fn sockets_open(family: &Family<[(&'static str, &'static str); 1], Gauge>, reporter: Reporter) -> OpenGuard {
    OpenGuard::new(family.get_or_create_owned(&[("reporter", reporter.label())]))
}

#[cfg(test)]
mod tests;
