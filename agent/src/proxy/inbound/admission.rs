//! Whether an inbound connection may reach its pod: which workload the pod is, and what policy says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::InboundError;
use crate::model::authorization::{AccessRequest, DryRun, Permit};
use crate::model::workload::Workload;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::{self, Tracked};
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::Reporter;

/// How long a connection waits for the mesh to tell us of the pod it is for.
const WORKLOAD_WAIT: Duration = Duration::from_secs(3);

/// The addresses of a connection that was accepted, canonical.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) source: SocketAddr,
    /// The address that was dialled: one of the pod's namespace, where capture steered the connection here.
    pub(super) local: SocketAddr,
}

impl Accepted {
    /// Whether somebody in the pod dialled the agent's listener itself, which serves only what capture steers to it: the
    /// connection's destination would be the listener again, and so on without end. The listener is on loopback, and what
    /// capture steers to it came to another address of the pod's namespace.
    pub(super) fn is_dialled_directly(&self) -> bool {
        self.local.ip().is_loopback()
    }

    /// What is recorded of the connection where nothing but its addresses is known.
    pub(super) fn refused(&self, flag: ResponseFlag) -> RefusedConnection {
        RefusedConnection { reporter: Reporter::Destination, source_addr: self.source, listener: self.local, flag }
    }

    /// Records that the agent's listener was dialled directly.
    pub(super) fn record_dialled_directly(&self, pod_proxy: &PodProxy) {
        let error = "the agent's listener was dialled directly";
        self.refused(ResponseFlag::Denied).record(&pod_proxy.proxy.metrics, &error);
    }
}

/// Asks for a permit, and keeps the connection on the list of those that are authorized again as policy changes.
pub(super) async fn admit(
    pod_proxy: &Arc<PodProxy>,
    request: &AccessRequest,
) -> Result<(Permit, Tracked), InboundError> {
    let PodProxy { proxy, pod, .. } = &**pod_proxy;
    let tracked = pod_proxy.live.track(request);
    let workload = destination_workload(pod_proxy).await?;
    let current = pod.current();
    let verdict = proxy.mesh.read().authorize(&revocation::as_destination(pod, &current, &workload), request);
    report_dry_run(pod_proxy, request, &verdict.dry_run);
    Ok((verdict.outcome?, tracked))
}

fn report_dry_run(pod_proxy: &PodProxy, request: &AccessRequest, dry_run: &DryRun) {
    if dry_run.would_deny.is_empty() && !dry_run.no_allow_matched {
        return;
    }
    pod_proxy.proxy.metrics.dry_run_denied();
    tracing::info!(
        target: "access",
        source = ?request.source.as_ref().map(ToString::to_string),
        source_ip = %request.source_ip,
        destination = %request.destination,
        policies = ?dry_run.would_deny,
        "dry-run policy would deny"
    );
}

/// The pod as policy is asked about it: as the mesh knows it, or by its labels, where policies say whom they select.
async fn destination_workload(pod_proxy: &PodProxy) -> Result<Arc<Workload>, InboundError> {
    let mut changes = pod_proxy.proxy.mesh.watch();
    let known = async {
        loop {
            let known = {
                let mesh = pod_proxy.proxy.mesh.read();
                pod_proxy.known_workload(&mesh).map(Ok).or_else(|| pod_proxy.workload_by_labels(&mesh))
            };
            let unclear = match known {
                Some(Ok(workload)) => return Ok(workload),
                Some(Err(unclear)) => Some(unclear),
                None => None,
            };
            // The mesh may yet tell of the pod, or a policy whom it selects.
            if changes.changed().await.is_err() {
                return Err(unclear.map_or(InboundError::UnknownWorkload, Into::into));
            }
        }
    };
    match tokio::time::timeout(WORKLOAD_WAIT, known).await {
        Ok(known) => known,
        Err(_) => match pod_proxy.workload_by_labels(&pod_proxy.proxy.mesh.read()) {
            Some(Err(unclear)) => Err(unclear.into()),
            _ => Err(InboundError::UnknownWorkload),
        },
    }
}
