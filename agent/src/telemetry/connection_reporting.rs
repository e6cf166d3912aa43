//! Where connections without requests are reported to, and what objects change about that.

use std::sync::Arc;

use super::connection::ResponseFlag;
use super::ends::ConnectionEnds;
use super::facts::EndsFacts;
use super::log;
use super::metrics::{CustomConnections, Metrics};
use super::pod_telemetry::PodTelemetry;
use super::reporting_config::{PodSetting, SideReporting};
use super::request_reporting::RequestReporting;
use crate::model::identity::Identity;

/// What the connections of one pod are reported to.
#[derive(Debug, Clone)]
pub struct ConnectionReporting {
    pub(super) metrics: Arc<Metrics>,
    pod: Option<PodTelemetry>,
    /// `None` where no object says anything.
    setting: Option<Arc<PodSetting>>,
}

impl From<&Arc<Metrics>> for ConnectionReporting {
    /// Connections that no object says anything about.
    fn from(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: metrics.clone(), pod: None, setting: None }
    }
}

impl ConnectionReporting {
    /// For connections of a pod that begin now.
    #[must_use]
    pub fn new(requests: &RequestReporting, pod: &PodTelemetry) -> Self {
        Self { metrics: requests.metrics.clone(), pod: Some(pod.clone()), setting: requests.setting(pod) }
    }

    fn side(&self, ends: &ConnectionEnds) -> Option<&SideReporting> {
        self.setting.as_ref().map(|setting| setting.of(ends.reporter))
    }

    /// The series that count connections with these ends, where objects change them.
    pub(super) fn custom(
        &self,
        ends: &ConnectionEnds,
        peer: Option<&Identity>,
        flag: ResponseFlag,
    ) -> Option<CustomConnections> {
        let pod = self.pod.as_ref()?;
        let SideReporting { metrics, labels, .. } = self.side(ends)?;
        let facts = EndsFacts { ends, peer, labels };
        Some(self.metrics.custom_connections(metrics.as_deref()?, pod.series(), (ends, flag), &facts))
    }

    /// Logs a line of a connection: the pod's, if it is known whose.
    pub(super) fn log(&self, write: impl FnOnce()) {
        match &self.pod {
            Some(pod) => log::of_pod(pod.log(), write),
            None => write(),
        }
    }

    /// Whether a line is written of a connection.
    pub(super) fn wants_line(&self, ends: &ConnectionEnds, peer: Option<&Identity>) -> bool {
        let Some(side) = self.side(ends) else { return true };
        let facts = EndsFacts { ends, peer, labels: &side.labels };
        side.sinks.iter().any(|sink| sink.filter.as_ref().is_none_or(|filter| filter.holds(&facts)))
    }
}
