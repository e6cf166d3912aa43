//! The agent's HTTP endpoints: metrics, readiness, and the loopback admin interface. They read; the only things they
//! can change are the log filter and whether the process goes on.

mod answer;
mod config_dump;
mod logging;
mod query;
mod routes;
mod server;
mod spares;
pub mod status;
mod timestamp;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::config::AgentConfig;
use crate::kubernetes::WatchReport;
use crate::lifecycle::Ready;
use crate::model::identity::Identity;
use crate::nri::NriReport;
use crate::state::SharedMesh;
use crate::supervisor::StartInfo;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::CertificateStatus;

pub use self::server::{AdminError, AdminServers, RunningServers};
pub use self::status::ControlPlaneStatus;

/// A question to a part of the agent that these endpoints must not know.
pub type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;
/// Reads a certificate in PEM; `None` where it cannot be read.
pub type DescribeCertificate = Box<dyn Fn(&str) -> Option<CertificateFacts> + Send + Sync>;

/// Where the endpoints take what they show.
pub struct AdminSources {
    /// The settings as started.
    pub config: AgentConfig,
    pub started: Instant,
    /// Who keeps this process running, and how often it had to.
    pub supervisor: StartInfo,
    pub ready: Ready,
    pub metrics: Arc<Metrics>,
    pub log: LogHandle,
    pub mesh: SharedMesh,
    pub certificates: Ask<Vec<CertificateStatus>>,
    pub describe_certificate: DescribeCertificate,
    pub pods: Ask<Vec<PodEntry>>,
    /// The objects that users wrote, as the control plane passed them on.
    pub objects: Ask<Vec<serde_json::Value>>,
    pub control_plane: Ask<ControlPlaneStatus>,
    /// How Kubernetes is followed; `None` where it is not.
    pub kubernetes: Ask<Option<WatchReport>>,
    /// How the container runtime asks about new pods; `None` where it is not wanted to.
    pub nri: Ask<Option<NriReport>>,
    /// The kernel programs' counters since they were loaded.
    pub kernel_counters: Ask<Vec<(&'static str, u64)>>,
    /// What an operator must know of the node itself.
    pub warnings: Ask<Vec<String>>,
    /// Ends the process in good order; returns at once.
    pub quit: Ask<()>,
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
}

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Decimal.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// The three addresses to listen on.
#[derive(Debug, Clone, Copy)]
pub struct AdminAddresses {
    /// Must be on loopback.
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
    pub readiness: SocketAddr,
}

impl From<&AgentConfig> for AdminAddresses {
    fn from(config: &AgentConfig) -> Self {
        Self { admin: config.admin_address, metrics: config.metrics_address, readiness: config.readiness_address }
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
