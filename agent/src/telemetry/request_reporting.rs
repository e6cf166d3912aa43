//! Where requests are reported to: the metrics of the process, its access log, and its spans.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ends::Reporter;
use super::metrics::Metrics;
use super::pod_telemetry::PodTelemetry;
use super::reporting_config::{NamedTracing, PodSetting, ReportingConfig};
use super::spans::Tracing;
use crate::model::mesh::IstioAccessLog;
use crate::model::telemetry::config::TelemetryConfig;

/// What all requests of the process are reported to. One per process.
#[derive(Debug)]
pub struct RequestReporting {
    pub(super) metrics: Arc<Metrics>,
    pub(super) current: ArcSwap<ReportingConfig>,
    /// The collector that the agent was started with. `None`: where no object names another one, contexts of traces pass as they come.
    pub(super) tracing: Option<Arc<Tracing>>,
}

impl RequestReporting {
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, tracing: Option<Tracing>) -> Arc<Self> {
        let tracing = tracing.map(Arc::new);
        let (config, _) = ReportingConfig::new(None, &Arc::default(), tracing.clone(), Vec::new());
        Arc::new(Self { metrics: metrics.clone(), current: ArcSwap::from_pointee(config), tracing })
    }

    /// Has further requests and connections be reported as objects and MeshConfig ask. `access_log` says what lines of requests
    /// look like where no object says anything: Istio's form, or (`None`) that of the lines of connections. `tracing` are the
    /// providers of spans. What of a format is not understood is logged once.
    pub fn configure(
        &self,
        access_log: Option<&IstioAccessLog>,
        telemetry: &Arc<TelemetryConfig>,
        tracing: Vec<NamedTracing>,
    ) {
        let (config, problems) = ReportingConfig::new(access_log, telemetry, self.tracing.clone(), tracing);
        problems.iter().for_each(|problem| tracing::warn!(%problem, "the access log is not quite as MeshConfig asks"));
        self.current.store(Arc::new(config));
    }

    /// Whether spans of the server's side of requests to a pod are recorded: for that, requests have to be read at the pod.
    #[must_use]
    pub fn records_spans_of_server(&self, pod: &PodTelemetry) -> bool {
        match self.setting(pod) {
            None => self.tracing.is_some(),
            Some(setting) => {
                setting.of(Reporter::Destination).spans.as_ref().is_some_and(|spans| spans.setting.reports_spans)
            }
        }
    }

    /// What counts for a pod; `None` where nothing is said that would change anything.
    pub(super) fn setting(&self, pod: &PodTelemetry) -> Option<Arc<PodSetting>> {
        let config = self.current.load();
        (!config.is_plain).then(|| pod.setting(&config))
    }
}
