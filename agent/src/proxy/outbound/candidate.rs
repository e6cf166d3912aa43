//! Upstreams that the mesh reaches in plaintext and that may speak HBONE already: pods of freshly labelled namespaces, of
//! which the control plane has not yet said what they speak. Their agents are asked. No connection waits for a probe: until
//! one has succeeded, connections go as the control plane says.

use std::sync::Arc;
use std::time::Duration;

use crate::hbone::Target;
use crate::model::resolve::{Transport, Upstream};
use crate::model::workload::Workload;
use crate::pauses::Pauses;
use crate::proxy::hbone_probes::ProbeState;
use crate::proxy::pod::PodProxy;

/// First and longest pause between two probes of a pod.
const PROBE_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));
/// How often it is looked whether the namespace still counts as freshly labelled, once a probe has succeeded.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An upstream that the mesh reaches in plaintext, and that may speak HBONE already.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The same upstream over HBONE.
    pub(super) upstream: Upstream,
    workload: Arc<Workload>,
    target: Target,
}

impl Candidate {
    /// The candidate that an upstream is; `None` where the control plane has had the time to say what it speaks.
    pub(super) fn of(pod_proxy: &PodProxy, upstream: &Upstream) -> Option<Self> {
        let workload = upstream.workload.clone()?;
        if !pod_proxy.proxy.mesh.joining().is_joining(&workload.namespace) {
            return None;
        }
        let transport = upstream.over_hbone()?;
        let Transport::Hbone { peer, identities, .. } = &transport else { return None };
        if pod_proxy.pod.spec.addresses.contains(&peer.ip()) {
            return None;
        }
        let target = Target { peer: *peer, identities: identities.clone() };
        Some(Self { upstream: Upstream { transport, ..upstream.clone() }, workload, target })
    }

    /// Whether it is known to speak HBONE, and there is a connection to its agent. Where that is not known yet, a probe is
    /// started for connections to come; where it has ceased to, that is forgotten.
    pub(super) async fn speaks_hbone(&self, pod_proxy: &Arc<PodProxy>) -> bool {
        match pod_proxy.proxy.hbone_probes.state_or_claim(&self.workload.uid) {
            Some(ProbeState::SpeaksHbone) if pod_proxy.pool().prepare(&self.target).await.is_ok() => true,
            Some(ProbeState::SpeaksHbone) => {
                self.forget(pod_proxy);
                false
            }
            Some(ProbeState::Running) => false,
            None => {
                tokio::spawn(probe(pod_proxy.clone(), self.workload.clone(), self.target.clone()));
                false
            }
        }
    }

    /// Forgets what a probe found, because a connection over HBONE has failed.
    pub(super) fn forget(&self, pod_proxy: &PodProxy) {
        pod_proxy.proxy.hbone_probes.forget(&self.workload);
    }
}

/// Probes until the agent has proven the pod's identity, and remembers that for as long as the namespace counts as freshly
/// labelled.
async fn probe(pod_proxy: Arc<PodProxy>, workload: Arc<Workload>, target: Target) {
    let (probes, joining) = (&pod_proxy.proxy.hbone_probes, pod_proxy.proxy.mesh.joining());
    let mut pauses = Pauses::new(PROBE_PAUSE.0, PROBE_PAUSE.1);
    let mut speaks = false;
    while joining.is_joining(&workload.namespace) && !pod_proxy.pod.left.is_cancelled() {
        if !speaks && pod_proxy.pool().prepare(&target).await.is_ok() {
            speaks = true;
            pauses = Pauses::new(EXPIRY_CHECK_INTERVAL, EXPIRY_CHECK_INTERVAL);
            tracing::debug!(workload = &*workload.uid, peer = %target.peer, "speaks HBONE before the mesh says so");
            probes.succeeded(&workload);
        }
        tokio::select! {
            () = tokio::time::sleep(pauses.take()) => {}
            () = pod_proxy.pod.left.cancelled() => {}
            () = pod_proxy.proxy.drain.draining() => break,
        }
    }
    probes.forget(&workload);
}
