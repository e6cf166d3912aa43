//! What the admin endpoints show, gathered from everybody.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::kubelet;
use crate::admin::{
    AdminAddresses, AdminError, AdminServers, AdminSources, Ask, CertificateFacts, ControlPlaneStatus, PodEntry,
};
use crate::capture::{Capture, KubeletStatus};
use crate::config::AgentConfig;
use crate::enrollment::Enrollment;
use crate::kubernetes::Directory;
use crate::lifecycle::Ready;
use crate::nri::NriReport;
use crate::state::SharedMesh;
use crate::supervisor::StartInfo;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::tls::facts;
use crate::xds::XdsStatus;

/// How often it is tried to listen on ports that another agent has, and when that begins to take long.
const PORTS_RETRY: Duration = Duration::from_millis(20);
const PORTS_EXPECTED: Duration = Duration::from_secs(30);
/// How long the ports of an agent that was killed may be taken still.
const PORTS_FREED: Duration = Duration::from_secs(1);

/// All that can be asked.
pub(super) struct Observed {
    pub(super) config: Arc<AgentConfig>,
    pub(super) mesh: SharedMesh,
    pub(super) capture: Arc<Capture>,
    pub(super) enrollment: Arc<Enrollment>,
    pub(super) certificates: Certificates,
    pub(super) xds: XdsStatus,
    pub(super) metrics: Arc<Metrics>,
    pub(super) kubelet: watch::Receiver<KubeletStatus>,
    pub(super) ready: Ready,
    pub(super) log: LogHandle,
    pub(super) supervisor: StartInfo,
    pub(super) directory: Option<Directory>,
    pub(super) nri: Ask<Option<NriReport>>,
}

/// The HTTP servers, until dropped.
#[derive(Debug)]
pub(super) struct Endpoints(JoinHandle<()>);

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the three HTTP servers. `quit` is told when somebody asks the process to end. Where another agent may still
/// have the ports, they are served once they are free.
pub(super) async fn start(observed: Observed, quit: Arc<Notify>) -> anyhow::Result<Endpoints> {
    let addresses = AdminAddresses::from(&*observed.config);
    let may_be_taken = observed.supervisor.ports_may_be_taken;
    let sources = Arc::new(sources(observed, quit));
    let bound = match bind_soon(addresses, if may_be_taken { Duration::ZERO } else { PORTS_FREED }).await {
        Err(error) if may_be_taken => {
            tracing::info!(%error, "the admin endpoints are another agent's until it lets go of them");
            None
        }
        bound => Some(bound.context("admin endpoints")?),
    };
    Ok(Endpoints(tokio::spawn(async move {
        let servers = match bound {
            Some(servers) => servers,
            None => bind_in_time(addresses).await,
        };
        servers.start(&sources).ended().await;
    })))
}

/// Binds, with a little patience: an agent that was killed has its ports until its last process has ended.
async fn bind_soon(addresses: AdminAddresses, patience: Duration) -> Result<AdminServers, AdminError> {
    let deadline = Instant::now() + patience;
    loop {
        match AdminServers::bind(addresses).await {
            Err(AdminError::Listen { .. }) if Instant::now() < deadline => tokio::time::sleep(PORTS_RETRY).await,
            bound => return bound,
        }
    }
}

async fn bind_in_time(addresses: AdminAddresses) -> AdminServers {
    let mut warn_at = Instant::now() + PORTS_EXPECTED;
    loop {
        tokio::time::sleep(PORTS_RETRY).await;
        match AdminServers::bind(addresses).await {
            Ok(servers) => return servers,
            Err(error) if Instant::now() >= warn_at => {
                tracing::warn!(%error, "still no admin endpoints");
                warn_at = Instant::now() + PORTS_EXPECTED;
            }
            Err(_) => {}
        }
    }
}

fn sources(observed: Observed, quit: Arc<Notify>) -> AdminSources {
    let Observed {
        config,
        mesh,
        capture,
        enrollment,
        certificates,
        xds,
        metrics,
        kubelet,
        ready,
        log,
        supervisor,
        directory,
        nri,
    } = observed;
    let counters = {
        let capture = capture.clone();
        move || capture.counters()
    };
    metrics.register_kernel_counters(counters);
    metrics.register_kernel_entries({
        let capture = capture.clone();
        move || capture.entries()
    });
    metrics.register_certificates({
        let certificates = certificates.clone();
        move || certificates.status().into_iter().filter_map(|c| Some((c.identity, c.not_after?))).collect()
    });
    metrics.register_dropped_log_lines({
        let log = log.clone();
        move || log.dropped_lines()
    });
    metrics.set_worker_restarts(supervisor.restarts);
    let pods = pods(enrollment, mesh.clone(), config.network.clone());
    AdminSources {
        config: (*config).clone(),
        supervisor,
        started: Instant::now(),
        ready,
        metrics,
        log,
        mesh,
        certificates: Box::new(move || certificates.status()),
        describe_certificate: Box::new(|pem| {
            facts::of(pem).map(|facts| CertificateFacts {
                serial: facts.serial,
                not_before: facts.not_before,
                not_after: facts.not_after,
            })
        }),
        pods: Box::new(pods),
        objects: {
            let xds = xds.clone();
            Box::new(move || xds.objects())
        },
        control_plane: Box::new(move || control_plane(&xds)),
        kubernetes: Box::new(move || directory.as_ref().map(Directory::report)),
        nri,
        kernel_counters: Box::new(move || capture.counters()),
        warnings: Box::new(move || kubelet::warning(&kubelet.borrow()).into_iter().collect()),
        quit: Box::new(move || quit.notify_one()),
    }
}

fn pods(enrollment: Arc<Enrollment>, mesh: SharedMesh, network: String) -> impl Fn() -> Vec<PodEntry> {
    move || {
        let mesh = mesh.read();
        let entry = |pod: Arc<crate::enrollment::pod::EnrolledPod>| {
            let spec = &pod.spec;
            let workload = mesh.workload_of_pod(&network, &spec.namespace, &spec.name, &spec.addresses);
            PodEntry {
                uid: spec.uid.clone(),
                namespace: spec.namespace.clone(),
                name: spec.name.clone(),
                identity: pod.identity(&mesh.settings().trust_domain),
                addresses: spec.addresses.clone(),
                captured: true,
                workload_uid: workload.map(|workload| workload.uid.clone()),
            }
        };
        enrollment.pods().into_iter().map(entry).collect()
    }
}

fn control_plane(xds: &XdsStatus) -> ControlPlaneStatus {
    let report = xds.report();
    let age = report.last_update.and_then(|at| SystemTime::now().duration_since(at).ok());
    ControlPlaneStatus {
        source: report.source,
        connected: report.connected,
        seconds_since_update: age.map(|age| age.as_secs()),
        last_error: report.last_error,
        rejected: report.last_rejected,
        not_saved: report.save_error,
    }
}
