//! The agent as a plugin of the container runtime, where that offers NRI. Started where there is a cluster: nobody else
//! says which pods are for the mesh.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cni::{self, Cni};
use super::kubernetes;
use crate::config::{AgentConfig, Location};
use crate::nri::{self, Limits, NriReport, NriStatus, Pods};
use crate::supervisor::StartInfo;
use crate::telemetry::metrics::Metrics;

/// How long the container runtime may take to take in an agent that succeeds another; usually a moment.
const TAKEN_IN: Duration = Duration::from_secs(2);

/// What answers the container runtime. Dropping it leaves that as soon as no answer is under way.
#[derive(Debug)]
pub(super) struct Nri {
    status: NriStatus,
    stop: CancellationToken,
}

impl Drop for Nri {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Nri {
    /// Where there is an agent before: resolves once the container runtime asks this one, or will not soon. Then the former
    /// may go without a pod being missed.
    pub(super) async fn taken_in(nri: Option<&Self>, start_info: &StartInfo) {
        let Some(nri) = nri.filter(|_| start_info.has_predecessor) else { return };
        if tokio::time::timeout(TAKEN_IN, nri.status.tried()).await.is_err() {
            tracing::warn!(
                "the container runtime does not take this agent in: new pods may be missed while it takes over"
            );
        }
    }

    /// How it is, for as long as somebody asks.
    pub(super) fn reports(nri: Option<&Self>) -> impl Fn() -> Option<NriReport> + Send + Sync + 'static {
        let status = nri.map(|nri| nri.status.clone());
        move || status.as_ref().map(NriStatus::report)
    }
}

/// Begins to answer the container runtime, unless that is off; by the same word as the CNI plugin.
pub(super) fn start(config: &AgentConfig, cni: Option<&Cni>, metrics: &Arc<Metrics>) -> Option<Nri> {
    let socket = config.nri.socket()?;
    let is_named = matches!(config.nri.nri_socket, Location::At(_));
    let Some(cni) = cni else {
        if is_named {
            tracing::warn!("NRI is not used: without Kubernetes nobody says which pods are for the mesh");
        }
        return None;
    };
    let status = NriStatus::new(socket, is_named, metrics.clone());
    let pods = Arc::new(Pods {
        sandboxes: cni.sandboxes.clone(),
        limits: Limits {
            in_mesh: Duration::from_secs(config.cni.cni_timeout_seconds),
            others: Duration::from_secs(config.cni.cni_others_timeout_seconds),
        },
        exclude_namespaces: kubernetes::rules(config).excluded_namespaces,
        namespaces_file: config.state_dir.join(cni::NAMESPACES_NAME),
        socket: config.run_dir.join(cni::SOCKET_NAME),
    });
    let stop = CancellationToken::new();
    tokio::spawn(nri::keep(socket.to_owned(), pods, status.clone(), stop.clone()));
    Some(Nri { status, stop })
}
