//! What the requests and connections of one pod have in common when something is told of them: which setting counts, how many
//! requests are under way, and how much of metrics, log and spans may be its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::reporting_config::{PodSetting, ReportingConfig};
use crate::limits::{Limit, LimitKind, PodLimits};
use crate::model::peer_authentication::Labels;

/// One per pod. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PodTelemetry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: PodRequests,
    namespace: Arc<str>,
    labels: ArcSwap<Labels>,
    series: Limit,
    log: Arc<Limit>,
    spans: Limit,
    /// The setting that was asked for last.
    known: ArcSwapOption<Known>,
}

/// Counts the requests of one pod, either as their client or as their server.
#[derive(Debug, Clone, Default)]
pub struct PodRequests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    in_flight: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    denied: AtomicU64,
}

impl PodRequests {
    /// Those that are under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Those that have ended since this agent serves the pod.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Those of them that were answered with a status of 500 or more, by whomever.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Those that policy has denied, here at their destination.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.0.denied.load(Ordering::Relaxed)
    }

    pub(super) fn deny(&self) {
        self.0.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a request that was answered with this status.
    pub(super) fn end(&self, status: u16) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        if status >= 500 {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request here no longer, but there. Nothing changes where both are of one pod, as they usually are.
    pub(super) fn pass_on(&self, to: &Self) {
        if !Arc::ptr_eq(&self.0, &to.0) {
            to.begin();
            self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A setting, and what it was made of.
#[derive(Debug)]
struct Known {
    config: Arc<ReportingConfig>,
    labels: Arc<Labels>,
    setting: Arc<PodSetting>,
}

impl PodTelemetry {
    /// Of a pod with these labels and limits.
    #[must_use]
    pub fn new(namespace: &str, labels: Labels, limits: &PodLimits) -> Self {
        Self(Arc::new(Inner {
            requests: PodRequests::default(),
            namespace: namespace.into(),
            labels: ArcSwap::from_pointee(labels),
            series: limits.of(LimitKind::MetricSeries).clone(),
            log: Arc::new(limits.of(LimitKind::LogBytes).clone()),
            spans: limits.of(LimitKind::WaitingSpans).clone(),
            known: ArcSwapOption::empty(),
        }))
    }

    /// Says that the pod has other labels now.
    pub fn set_labels(&self, labels: Labels) {
        self.0.labels.store(Arc::new(labels));
    }

    /// Counts its requests.
    #[must_use]
    pub fn requests(&self) -> &PodRequests {
        &self.0.requests
    }

    /// Places of series with labels of their own that the pod may have.
    pub(super) fn series(&self) -> &Limit {
        &self.0.series
    }

    /// Bytes of its access lines that may wait to be written.
    pub(super) fn log(&self) -> &Arc<Limit> {
        &self.0.log
    }

    /// Spans of its requests that may wait to be exported.
    pub(super) fn spans(&self) -> &Limit {
        &self.0.spans
    }

    /// What counts for the pod.
    pub(super) fn setting(&self, config: &Arc<ReportingConfig>) -> Arc<PodSetting> {
        let labels = self.0.labels.load();
        if let Some(known) = &*self.0.known.load()
            && Arc::ptr_eq(&known.config, config)
            && Arc::ptr_eq(&known.labels, &labels)
        {
            return known.setting.clone();
        }
        let labels = labels.clone();
        let setting = Arc::new(config.pod_setting(&self.0.namespace, &labels));
        let known = Known { config: config.clone(), labels, setting: setting.clone() };
        self.0.known.store(Some(Arc::new(known)));
        setting
    }
}
