//! The proxy of this node: what its pods share, and how a pod that was enrolled comes to be served.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::certificates::PodCertificates;
use super::hbone_probe::HboneProbes;
use super::listener::{self, ListenerKind};
use super::pod::PodProxy;
use super::revocation::{self, LiveConnections};
use super::settings::{NodeInfo, PoolOptions, Timeouts};
use super::workers::Workers;
use crate::capture::Capture;
use crate::enrollment::Enrolled;
use crate::hbone::pool::{self, Pool};
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
    pub(crate) mesh: SharedMesh,
    pub(crate) certificates: Certificates,
    pub(super) capture: Arc<Capture>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) timeouts: Timeouts,
    pub(crate) pool: PoolOptions,
    pub(super) node: NodeInfo,
    pub(crate) drain: Drain,
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
        let pools = (0..self.workers.count()).map(|_| Pool::new(self.pool)).collect();
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
        self.workers.spawn_on_next(pool::sweep(pod_proxy));
    }

    /// The trust domains whose identities count as this mesh's own.
    pub(crate) fn trusted(&self) -> TrustedDomains {
        let mesh = self.mesh.read();
        let settings = mesh.settings();
        let mut domains = vec![settings.trust_domain.clone()];
        domains.extend(settings.trust_domain_aliases.iter().chain(&self.node.extra_trust_domains).cloned());
        TrustedDomains(domains)
    }
}
