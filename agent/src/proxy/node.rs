//! The proxy of this node: what the proxies of its pods share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::certificates::PodCertificates;
use super::hbone_probes::HboneProbes;
use super::origin::trusted_domains;
use super::outbound::{Endpoints, Names, SeenOfEndpoint, Warmups};
use super::revocation::LiveConnections;
use super::tokens::VerifiedTokens;
use super::workers::Workers;
use crate::capture::Capture;
use crate::enrollment::pod::EnrolledPod;
use crate::hbone::{AgeLimit, PoolOptions};
use crate::jwks::KeySets;
use crate::lifecycle::Drain;
use crate::model::identity::TrustDomain;
use crate::model::mesh::{Mesh, MeshSettings};
use crate::model::pod::PodDescription;
use crate::model::rate_limit::NodeStates;
use crate::model::service::ServiceKey;
use crate::model::workload::Workload;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_reporting::RequestReporting;
use crate::tls::certificates::Certificates;
use crate::tls::handshake::TrustedDomains;
use crate::tls::origination::Origination;

/// Time limits of what is done with peers.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Opening a TCP connection.
    pub connect: Duration,
    /// TLS handshake, and HTTP/2 preface and settings; either side.
    pub handshake: Duration,
    /// From a CONNECT request to its response.
    pub request: Duration,
    /// How old an HBONE connection gets; either side.
    pub age: AgeLimit,
    /// How long a peer's HBONE connection may carry nothing.
    pub inbound_idle: Duration,
}

/// Where this node is: what an enrolled pod inherits that the mesh does not know yet.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub node: Arc<str>,
    pub cluster_id: Arc<str>,
    /// Trust domains accepted besides MeshConfig's.
    pub extra_trust_domains: Vec<TrustDomain>,
}

/// Whether connections between two pods of this node may be direct.
#[derive(Debug, Clone)]
pub struct DirectSetting {
    /// Where not, those end that a former agent has let begin.
    pub is_on: bool,
    /// Whether this agent serves the node, and has a mesh.
    pub serves: watch::Receiver<bool>,
}

/// What a proxy is made of.
#[derive(Debug)]
pub struct ProxyParts {
    pub mesh: SharedMesh,
    pub certificates: Certificates,
    pub capture: Arc<Capture>,
    pub metrics: Arc<Metrics>,
    /// What requests are reported to.
    pub requests: Arc<RequestReporting>,
    pub timeouts: Timeouts,
    pub pool: PoolOptions,
    pub node: NodeInfo,
    /// The keys that tokens of requests are verified with.
    pub key_sets: Arc<KeySets>,
    pub direct: DirectSetting,
    /// The directory of the certificates and keys that destinations may be shown.
    pub destination_tls_dir: PathBuf,
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
    pub(super) requests: Arc<RequestReporting>,
    pub(super) timeouts: Timeouts,
    pub(super) pool: PoolOptions,
    pub(super) node: NodeInfo,
    pub(super) drain: Drain,
    pub(super) workers: Workers,
    pub(super) live: LiveConnections,
    pub(super) hbone_probes: HboneProbes,
    pub(super) pod_certificates: PodCertificates,
    pub(super) names: Names,
    pub(super) origination: Origination,
    pub(super) endpoints: Endpoints,
    /// Since when endpoints serve that warm up.
    pub(super) warmups: Warmups,
    /// What is counted of rate limits that pods of the node share.
    pub(super) node_rate_limits: Mutex<NodeStates>,
    /// Accepted connections of all pods that are served now.
    pub(super) served: AtomicUsize,
    pub(super) key_sets: Arc<KeySets>,
    pub(super) tokens: VerifiedTokens,
    pub(super) direct: DirectSetting,
}

impl Proxy {
    #[must_use]
    pub fn new(parts: ProxyParts) -> Arc<Self> {
        let ProxyParts { mesh, certificates, capture, metrics, requests, timeouts, pool, node, .. } = parts;
        let ProxyParts { key_sets, destination_tls_dir, direct, drain, workers, .. } = parts;
        Arc::new(Self {
            pod_certificates: PodCertificates::new(certificates.clone()),
            live: LiveConnections::default(),
            hbone_probes: HboneProbes::default(),
            names: Names::default(),
            origination: Origination::new(&destination_tls_dir),
            endpoints: Endpoints::default(),
            warmups: Warmups::default(),
            node_rate_limits: Mutex::default(),
            served: AtomicUsize::new(0),
            key_sets,
            tokens: VerifiedTokens::default(),
            mesh,
            certificates,
            capture,
            metrics,
            requests,
            timeouts,
            pool,
            node,
            drain,
            workers,
            direct,
        })
    }

    /// A pod as the mesh knows it; where it does not (yet), as its enrolment describes it.
    #[must_use]
    pub fn source_workload(&self, pod: &EnrolledPod, mesh: &Mesh) -> Arc<Workload> {
        let known = mesh.workload_of_pod(pod.spec.key()).cloned();
        known.unwrap_or_else(|| Arc::new(self.described_workload(pod, mesh.settings())))
    }

    /// A pod as its enrolment describes it.
    pub(super) fn described_workload(&self, pod: &EnrolledPod, settings: &MeshSettings) -> Workload {
        let (spec, current) = (&pod.spec, pod.current());
        Workload::of_pod(&PodDescription {
            key: spec.key(),
            identity: &pod.identity(&settings.trust_domain),
            labels: &current.labels,
            workload_name: spec.workload_name.as_deref(),
            network: &settings.network,
            cluster_id: &self.node.cluster_id,
            node: &self.node.node,
        })
    }

    /// What is known to a pod of an endpoint, a workload by its uid, of a service's port.
    #[must_use]
    pub fn seen_of(&self, pod: &EnrolledPod, uid: &Arc<str>, service: &ServiceKey, port: u16) -> SeenOfEndpoint {
        self.endpoints.seen(&pod.spec.uid, uid, service, port, Instant::now())
    }

    /// The trust domains whose identities count as this mesh's own.
    pub(super) fn trusted(&self) -> TrustedDomains {
        trusted_domains(&self.mesh, &self.node.extra_trust_domains)
    }
}
