//! Where the admin endpoints read what they show.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::status::ControlPlaneStatus;
use crate::config::AgentConfig;
use crate::kubernetes::WatchReport;
use crate::lifecycle::Ready;
use crate::limits::ReachedLimit;
use crate::model::authorization::Authorization;
use crate::model::identity::Identity;
use crate::model::mesh::Mesh;
use crate::model::policy_object::PolicyObject;
use crate::model::service::Service;
use crate::model::workload::Workload;
use crate::nri::NriReport;
use crate::proxy::LatePlaintext;
use crate::state::SharedMesh;
use crate::supervisor::StartInfo;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::tls::CertificateInfo;
use crate::tls::certificates::CertificateStatus;
use crate::why::{Explanation, Question, QuestionError};

/// Gives what a part of the agent knows that these endpoints must not depend on.
pub type Provider<T> = Box<dyn Fn() -> T + Send + Sync>;
/// Reads a certificate in PEM; `None` where it cannot be read.
pub type DescribeCertificate = Box<dyn Fn(&str) -> Option<CertificateInfo> + Send + Sync>;

/// Says what would become of a request.
pub type Explain = Box<dyn Fn(&Question) -> Result<Explanation, QuestionError> + Send + Sync>;

/// What the endpoints show, and where they read it.
pub struct AdminSources {
    /// The settings as started.
    pub config: AgentConfig,
    pub started: Instant,
    /// The process that supervises this one, and how often it had to start a worker.
    pub supervisor: StartInfo,
    pub ready: Ready,
    pub metrics: Arc<Metrics>,
    pub log: LogHandle,
    pub mesh: SharedMesh,
    pub certificates: Provider<Vec<CertificateStatus>>,
    pub describe_certificate: DescribeCertificate,
    pub pods: Provider<Vec<PodEntry>>,
    /// The objects that users wrote, as the control plane passed them on.
    pub objects: Provider<Vec<serde_json::Value>>,
    pub control_plane: Provider<ControlPlaneStatus>,
    /// How the watches of Kubernetes stand; `None` where nothing is watched.
    pub kubernetes: Provider<Option<WatchReport>>,
    /// How the connection to the container runtime stands (NRI); `None` where none is wanted.
    pub nri: Provider<Option<NriReport>>,
    /// The kernel programs' counters since they were loaded.
    pub kernel_counters: Provider<Vec<(&'static str, u64)>>,
    /// Plaintext connections between pods of the mesh.
    pub late_plaintext: LatePlaintext,
    /// What an operator must know about the node itself.
    pub warnings: Provider<Vec<String>>,
    /// What would become of a request of a pod.
    pub why: Explain,
    /// Makes the process drain and end; returns at once.
    pub quit: Provider<()>,
}

impl fmt::Debug for AdminSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminSources").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A pod that is enrolled.
#[derive(Debug, Clone)]
pub struct PodEntry {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub identity: Identity,
    pub addresses: Vec<IpAddr>,
    /// False while its capture is still being set up.
    pub captured: bool,
    /// The workload that this pod is; `None` while the mesh does not know it.
    pub workload_uid: Option<Arc<str>>,
    /// Requests of HTTP that are under way.
    pub requests_in_flight: u64,
    /// Requests that have ended since this agent serves the pod, and those of them that were answered 500 or more.
    pub requests_ended: u64,
    pub requests_failed: u64,
    /// Requests to the pod that policy has denied.
    pub requests_denied: u64,
    /// The limits that the pod has reached.
    pub limits_reached: Vec<ReachedLimit>,
}

/// A consistent copy of the mesh, cheap to take.
pub(super) struct MeshCopy {
    pub(super) workloads: Vec<Arc<Workload>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) authorizations: Vec<Arc<Authorization>>,
    pub(super) policy_objects: Vec<Arc<PolicyObject>>,
}

impl MeshCopy {
    pub(super) fn of(mesh: &Mesh) -> Self {
        Self {
            workloads: mesh.workloads().cloned().collect(),
            services: mesh.services().cloned().collect(),
            authorizations: mesh.authorizations().cloned().collect(),
            policy_objects: mesh.policy_objects().cloned().collect(),
        }
    }
}
