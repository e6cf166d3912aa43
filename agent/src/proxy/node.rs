//! The proxy of this node: what its pods share, and how a pod that was enrolled comes to be served.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::certificates::PodCertificates;
use super::hbone_probe::HboneProbes;
use super::listener::{self, ListenerKind};
use super::origin::{PodOrigin, trusted_domains};
use super::pod::PodProxy;
use super::revocation::{self, LiveConnections};
use super::settings::{NodeInfo, Timeouts};
use super::workers::Workers;
use crate::capture::Capture;
use crate::enrollment::Enrolled;
use crate::enrollment::pod::EnrolledPod;
use crate::hbone::{self, Dialer, Pool, PoolOptions};
use crate::lifecycle::Drain;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::tls::handshake::TrustedDomains;

/// What a proxy is made of.
#[derive(Debug)]
pub struct ProxyParts {
    pub mesh: SharedMesh,
    pub certificates: Certificates,
    pub capture: Arc<Capture>,
    pub metrics: Arc<Metrics>,
    pub timeouts: Timeouts,
    pub pool: PoolOptions,
    pub node: NodeInfo,
    pub drain: Drain,
    pub workers: Workers,
}

/// The proxy of this node. One per process.
#[derive(Debug)]
pub struct Proxy {
    pub(super) mesh: SharedMesh,
    pub(super) certificates: Certificates,
    pub(super) capture: Arc<Capture>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) timeouts: Timeouts,
    pub(super) pool: PoolOptions,
    pub(super) node: NodeInfo,
    pub(super) drain: Drain,
    pub(super) workers: Workers,
    pub(super) live: LiveConnections,
    pub(super) hbone_probes: HboneProbes,
    pod_certificates: PodCertificates,
}

impl Proxy {
    #[must_use]
    pub fn new(parts: ProxyParts) -> Arc<Self> {
        let ProxyParts { mesh, certificates, capture, metrics, timeouts, pool, node, drain, workers } = parts;
        Arc::new(Self {
            pod_certificates: PodCertificates::new(certificates.clone()),
            live: LiveConnections::default(),
            hbone_probes: HboneProbes::default(),
            mesh,
            certificates,
            capture,
            metrics,
            timeouts,
            pool,
            node,
            drain,
            workers,
        })
    }

    /// Serves pods as they are enrolled, until the process drains.
    pub async fn run(self: Arc<Self>, mut arrivals: mpsc::UnboundedReceiver<Enrolled>) {
        tokio::spawn(revocation::watch(self.clone()));
        let drain = self.drain.clone();
        loop {
            let enrolled = tokio::select! {
                enrolled = arrivals.recv() => enrolled,
                () = drain.draining() => return,
            };
            let Some(enrolled) = enrolled else { return };
            self.serve_pod(enrolled);
        }
    }

    fn serve_pod(self: &Arc<Self>, enrolled: Enrolled) {
        let Enrolled { pod, listeners } = enrolled;
        let dialer = Arc::new(self.dialer(&pod));
        let pools = (0..self.workers.count()).map(|_| Pool::new(dialer.clone(), self.pool)).collect();
        let pod_proxy = Arc::new(PodProxy::new(self.clone(), pod.clone(), pools));
        for (kind, (v4, v6)) in [
            (ListenerKind::Outbound, listeners.outbound),
            (ListenerKind::InboundPlaintext, listeners.inbound_plaintext),
            (ListenerKind::InboundHbone, listeners.inbound_hbone),
        ] {
            for listener in std::iter::once(v4).chain(v6) {
                self.workers.spawn_on_next(listener::serve(pod_proxy.clone(), kind, listener));
            }
        }
        let (proxy, identity) = (self.clone(), pod_proxy.identity());
        tokio::spawn(async move { proxy.pod_certificates.hold(identity, pod).await });
        self.workers.spawn_on_next(async move {
            let left = async {
                tokio::select! {
                    () = pod_proxy.pod.left.cancelled() => {}
                    () = pod_proxy.proxy.drain.draining() => {}
                }
            };
            hbone::sweep(&pod_proxy.pools, left).await;
        });
    }

    /// What a pod's HBONE connections are made with; they end when the pod is dead.
    fn dialer(&self, pod: &Arc<EnrolledPod>) -> Dialer<PodOrigin> {
        let origin = PodOrigin {
            pod: pod.clone(),
            mesh: self.mesh.clone(),
            extra_trust_domains: self.node.extra_trust_domains.clone(),
            connect_timeout: self.timeouts.connect,
        };
        Dialer {
            origin,
            certificates: self.certificates.clone(),
            metrics: self.metrics.clone(),
            handshake_timeout: self.timeouts.handshake,
            request_timeout: self.timeouts.request,
            closed: pod.dead.clone(),
        }
    }

    /// The trust domains whose identities count as this mesh's own.
    pub(super) fn trusted(&self) -> TrustedDomains {
        trusted_domains(&self.mesh, &self.node.extra_trust_domains)
    }
}
