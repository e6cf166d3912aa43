//! Bytes: outbound and inbound connections of the pods.
//!
//! It reads the mesh, asks for permits and certificates, and moves bytes; it decides nothing about policy by itself.

mod application;
pub mod connector;
mod identities;
mod inbound;
mod listener;
mod newcomers;
mod outbound;
mod revocation;
mod splice;
pub mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use self::identities::CarriedIdentities;
use self::listener::Role;
use self::newcomers::Newcomers;
use self::revocation::LiveConnections;
use self::workers::Workers;
use crate::capture::Capture;
use crate::enrollment::Enrolled;
use crate::enrollment::pod::EnrolledPod;
use crate::hbone::pool::{self, Pool};
use crate::lifecycle::Drain;
use crate::model::authorization::{Denied, Destination};
use crate::model::identity::{Identity, TrustDomain};
use crate::model::mesh::{Listing, Mesh, MeshSettings};
use crate::model::pod::PodDescription;
use crate::model::workload::Workload;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::tls::handshake::{HandshakeError, TrustedDomains};

/// Bounds on how long a peer may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// TLS and HTTP/2 preface, either side.
    pub handshake: Duration,
    /// From a CONNECT request to its answer.
    pub request: Duration,
}

/// How HBONE connections are shared.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    pub max_streams: u32,
    pub idle: Duration,
}

/// Where this node is: what an enrolled pod inherits that the mesh does not know yet.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub node: Arc<str>,
    pub cluster_id: Arc<str>,
    /// Trust domains accepted besides MeshConfig's.
    pub extra_trust_domains: Vec<TrustDomain>,
}

/// All that a connection needs. One per process.
#[derive(Debug)]
pub struct Proxy {
    pub mesh: SharedMesh,
    pub certificates: Certificates,
    pub capture: Arc<Capture>,
    pub metrics: Arc<Metrics>,
    pub timeouts: Timeouts,
    pub pool: PoolOptions,
    pub node: NodeInfo,
    pub drain: Drain,
    pub workers: Workers,
    live: LiveConnections,
    carried: CarriedIdentities,
    newcomers: Newcomers,
}

impl Proxy {
    #[expect(clippy::too_many_arguments, reason = "one constructor, called once, of parts that have no other owner")]
    #[must_use]
    pub fn new(
        mesh: SharedMesh,
        certificates: Certificates,
        capture: Arc<Capture>,
        metrics: Arc<Metrics>,
        timeouts: Timeouts,
        pool: PoolOptions,
        node: NodeInfo,
        drain: Drain,
        workers: Workers,
    ) -> Arc<Self> {
        let (live, carried, newcomers) = Default::default();
        Arc::new(Self {
            mesh,
            certificates,
            capture,
            metrics,
            timeouts,
            pool,
            node,
            drain,
            workers,
            live,
            carried,
            newcomers,
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
        let served = Arc::new(PodProxy { proxy: self.clone(), pools, pod });
        for (role, (v4, v6)) in [
            (Role::Outbound, listeners.outbound),
            (Role::InboundPlaintext, listeners.inbound_plaintext),
            (Role::InboundHbone, listeners.inbound_hbone),
        ] {
            for listener in std::iter::once(v4).chain(v6) {
                self.workers.spawn_on_next(listener::serve(served.clone(), role, listener));
            }
        }
        tokio::spawn(identities::carry(served.clone()));
        self.workers.spawn_on_next(pool::sweep(served));
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

/// One enrolled pod as the proxy serves it.
#[derive(Debug)]
pub(crate) struct PodProxy {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) pod: Arc<EnrolledPod>,
    /// HBONE connections are never shared between pods: each is opened in its pod's namespace under its identity. Nor are
    /// they between workers: there is a pool for each.
    pub(crate) pools: Box<[Pool]>,
}

impl PodProxy {
    /// The pod as the mesh knows it; where it does not (yet), as its enrolment describes it.
    fn source_workload(&self, mesh: &Mesh) -> Arc<Workload> {
        self.known_workload(mesh).unwrap_or_else(|| Arc::new(self.described_workload(mesh.settings())))
    }

    /// The HBONE connections of the worker that the caller runs on.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pools[Workers::current()]
    }

    fn known_workload(&self, mesh: &Mesh) -> Option<Arc<Workload>> {
        mesh.workload_of_pod(self.pod.spec.key()).cloned()
    }

    /// This pod as a decision about a connection to it sees it, at this moment.
    fn as_destination<'a>(&'a self, workload: &'a Workload) -> Destination<'a> {
        Destination { workload, labels: &self.pod.spec.labels, is_leaving: self.pod.is_leaving() }
    }

    /// The pod as its enrolment describes it, with the policies that select it by its labels; `None` where those are not
    /// known. It fails where a policy may be about the pod and does not say so.
    fn workload_by_labels(&self, mesh: &Mesh) -> Option<Result<Arc<Workload>, Denied>> {
        let spec = &self.pod.spec;
        if spec.labels.is_empty() {
            return None;
        }
        let Listing { keys, unclear } = mesh.listing(&spec.namespace, &spec.labels);
        if let Some(policy) = unclear {
            return Some(Err(Denied::UnknownSelector(policy)));
        }
        let described = self.described_workload(mesh.settings());
        Some(Ok(Arc::new(Workload { authorization_policies: keys, ..described })))
    }

    /// The identity that this pod's traffic carries.
    pub(crate) fn identity(&self) -> Identity {
        self.pod.identity(&self.proxy.mesh.read().settings().trust_domain)
    }

    fn described_workload(&self, settings: &MeshSettings) -> Workload {
        let (spec, node) = (&self.pod.spec, &self.proxy.node);
        Workload::of_pod(&PodDescription {
            key: spec.key(),
            identity: &self.pod.identity(&settings.trust_domain),
            labels: &spec.labels,
            workload_name: spec.workload_name.as_deref(),
            network: &settings.network,
            cluster_id: &node.cluster_id,
            node: &node.node,
        })
    }
}

/// The `reason` label of a failed handshake.
pub(crate) fn failure_label(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::PeerRefused(refused) => refused.label(),
        HandshakeError::Tls(_) => "tls",
        HandshakeError::Timeout => "timeout",
    }
}
