//! What every other part of the agent stands on: settings, metrics, the mesh, certificates, kernel programs and the enrolled
//! pods, started in this order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::delivery::{self, Delivery};
use super::handover::{self, NodeOwnership};
use super::settings;
use crate::capture::Capture;
use crate::config::AgentConfig;
use crate::enrollment::store::PodStore;
use crate::enrollment::{Enrolled, Enrollment};
use crate::jwks::KeySets;
use crate::lifecycle::Ready;
use crate::limits::NodeLimits;
use crate::model::mesh::MeshUpdate;
use crate::state::SharedMesh;
use crate::supervisor::SupervisorLink;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::tls::certificates::revocation::RevocationStatus;
use crate::xds::XdsStatus;

/// See the module.
#[derive(Debug)]
pub(super) struct Foundation {
    pub(super) config: Arc<AgentConfig>,
    pub(super) supervisor: Arc<SupervisorLink>,
    pub(super) ownership: Arc<NodeOwnership>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Arc<NodeLimits>,
    pub(super) ready: Ready,
    pub(super) mesh: SharedMesh,
    pub(super) certificates: Certificates,
    pub(super) revocation: RevocationStatus,
    pub(super) xds: XdsStatus,
    pub(super) capture: Arc<Capture>,
    pub(super) enrollment: Arc<Enrollment>,
    /// The keys that tokens of requests are verified with.
    pub(super) key_sets: Arc<KeySets>,
}

/// What the proxy needs besides.
pub(super) struct Arrivals {
    /// The pods to serve: those of a former agent first.
    pub(super) pods: mpsc::UnboundedReceiver<Enrolled>,
    /// Resolves once there is a mesh to serve.
    pub(super) synced: BoxFuture<'static, ()>,
}

/// How long after the agent's start each step was done.
#[derive(Debug)]
pub(super) struct StartTimes {
    /// The configuration and the certificates are there, as far as the agent waits for them.
    pub(super) prepared: Duration,
    /// The kernel programs are in place.
    pub(super) installed: Duration,
    /// The pods of a former agent are captured.
    pub(super) restored: Duration,
}

impl Foundation {
    /// Starts all of it. Where another agent serves the node, that one's pods are taken over once the configuration and the
    /// certificates are there.
    ///
    /// # Errors
    /// When something fails that the agent cannot do without; the message names it.
    pub(super) async fn start(
        config: Arc<AgentConfig>,
        supervisor: Arc<SupervisorLink>,
        ready: Ready,
        start: Instant,
    ) -> anyhow::Result<(Self, Arrivals, StartTimes)> {
        let metrics = Metrics::new();
        let mesh = SharedMesh::default();
        mesh.apply([MeshUpdate::Settings(config.mesh_settings())]);
        let has_predecessor = supervisor.start_info().has_predecessor;
        let ownership = NodeOwnership::new(has_predecessor);
        let delivery = delivery::start(&config, &mesh, &metrics, &ready, ownership.may_write_state()).await?;
        if has_predecessor {
            let listed = PodStore::new(&config.directories.state_dir);
            handover::take_over(&supervisor, &delivery.status, &delivery.certificates, &mesh, &listed).await?;
        }
        let prepared = start.elapsed();
        let capture = Arc::new(Capture::install(&settings::capture_options(&config)).context("capture")?);
        let installed = start.elapsed();
        let store = PodStore::new(&config.directories.state_dir);
        let limits = NodeLimits::new(|kind| config.limits.maximum(kind));
        let (enrollment, pods) =
            Enrollment::new(capture.clone(), metrics.clone(), limits.clone(), store, supervisor.clone());
        enrollment.restore();
        let restored = start.elapsed();
        ownership
            .spawn_command_thread(supervisor.clone(), enrollment.clone())
            .context("a thread for the supervisor's commands")?;
        let Delivery { certificates, revocation, status: xds, synced } = delivery;
        let key_sets = Arc::new(KeySets::new(settings::key_sets(&config), metrics.clone(), Handle::current()));
        let foundation = Self {
            config,
            supervisor,
            ownership,
            metrics,
            limits,
            ready,
            mesh,
            certificates,
            revocation,
            xds,
            capture,
            enrollment,
            key_sets,
        };
        Ok((foundation, Arrivals { pods, synced }, StartTimes { prepared, installed, restored }))
    }
}
