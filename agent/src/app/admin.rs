//! The admin endpoints: what they show of every other part of the agent, and when they get their ports.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::foundation::Foundation;
use super::integrations::Integrations;
use super::{kubelet, pod_warnings};
use crate::admin::{AdminAddresses, AdminError, AdminServers, AdminSources, ControlPlaneStatus, Explain, PodEntry};
use crate::enrollment::Enrollment;
use crate::enrollment::pod::EnrolledPod;
use crate::jwks::{self, KeySets};
use crate::kubernetes::Directory;
use crate::nri::NriStatus;
use crate::proxy::LatePlaintext;
use crate::resources::ObjectKind;
use crate::state::SharedMesh;
use crate::telemetry::log::LogHandle;
use crate::tls::CertificateInfo;
use crate::xds::XdsStatus;

/// How often the agent tries to listen on ports that another agent has.
const PORT_RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// After this time without the ports, the log says so, and again each time it has passed.
const PORT_WARNING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the ports of an agent that was killed may stay taken.
const PORT_RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The HTTP servers, until dropped.
#[derive(Debug)]
pub(super) struct Endpoints(JoinHandle<()>);

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the three HTTP servers. `quit` is notified when somebody asks the process to end. Where another agent may still
/// have the ports, they are served once they are free.
///
/// # Errors
/// When no other agent can have the ports, and they cannot be bound.
pub(super) async fn start(
    foundation: &Foundation,
    integrations: &Integrations,
    why: Explain,
    log: LogHandle,
    quit: Arc<Notify>,
) -> anyhow::Result<Endpoints> {
    let addresses = AdminAddresses::from(&*foundation.config);
    let may_be_taken = foundation.supervisor.start_info().ports_may_be_taken;
    register_metrics(foundation, &log);
    let sources = Arc::new(sources(foundation, integrations, why, log, quit));
    let bound = match bind_within(addresses, if may_be_taken { Duration::ZERO } else { PORT_RELEASE_TIMEOUT }).await {
        Err(error) if may_be_taken => {
            tracing::info!(%error, "the admin endpoints are another agent's until it lets go of them");
            None
        }
        bound => Some(bound.context("admin endpoints")?),
    };
    Ok(Endpoints(tokio::spawn(async move {
        let servers = match bound {
            Some(servers) => servers,
            None => bind_when_free(addresses).await,
        };
        servers.start(&sources).ended().await;
    })))
}

/// Binds, and tries again while the ports are taken: an agent that was killed has its ports until its last process has ended.
async fn bind_within(addresses: AdminAddresses, timeout: Duration) -> Result<AdminServers, AdminError> {
    let deadline = Instant::now() + timeout;
    loop {
        match AdminServers::bind(addresses).await {
            Err(AdminError::Listen { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PORT_RETRY_INTERVAL).await
            }
            bound => return bound,
        }
    }
}

/// Binds once whoever has the ports lets go of them.
async fn bind_when_free(addresses: AdminAddresses) -> AdminServers {
    let mut warn_at = Instant::now() + PORT_WARNING_INTERVAL;
    loop {
        tokio::time::sleep(PORT_RETRY_INTERVAL).await;
        match AdminServers::bind(addresses).await {
            Ok(servers) => return servers,
            Err(error) if Instant::now() >= warn_at => {
                tracing::warn!(%error, "still no admin endpoints");
                warn_at = Instant::now() + PORT_WARNING_INTERVAL;
            }
            Err(_) => {}
        }
    }
}

/// Has the metrics read what other parts of the agent count.
fn register_metrics(foundation: &Foundation, log: &LogHandle) {
    let metrics = &foundation.metrics;
    metrics.register_kernel_counters({
        let capture = foundation.capture.clone();
        move || capture.counters()
    });
    metrics.register_kernel_entries({
        let capture = foundation.capture.clone();
        move || capture.entries()
    });
    metrics.register_certificates({
        let certificates = foundation.certificates.clone();
        move || certificates.status().into_iter().filter_map(|c| Some((c.identity, c.not_after?))).collect()
    });
    metrics.register_limits({
        let limits = foundation.limits.clone();
        move || limits.reached()
    });
    metrics.register_dropped_log_lines({
        let log = log.clone();
        move || log.dropped_lines()
    });
    metrics.set_worker_restarts(foundation.supervisor.start_info().restarts);
}

fn sources(
    foundation: &Foundation,
    integrations: &Integrations,
    why: Explain,
    log: LogHandle,
    quit: Arc<Notify>,
) -> AdminSources {
    let Foundation { config, mesh, capture, enrollment, certificates, xds, .. } = foundation;
    let (capture, certificates) = (capture.clone(), certificates.clone());
    let (xds, xds_objects) = (xds.clone(), xds.clone());
    let (kubelet, revocation) = (integrations.kubelet.clone(), foundation.revocation.clone());
    let (of_pods, uncapturable_outbound) =
        ((capture.clone(), enrollment.clone()), config.capture.uncapturable_outbound);
    let directory = integrations.cluster.as_ref().map(|cluster| cluster.directory.clone());
    let nri = integrations.nri.as_ref().map(|nri| nri.status.clone());
    let late_plaintext = LatePlaintext::new(mesh.clone(), foundation.metrics.clone());
    AdminSources {
        config: (**config).clone(),
        supervisor: foundation.supervisor.start_info().clone(),
        started: Instant::now(),
        ready: foundation.ready.clone(),
        metrics: foundation.metrics.clone(),
        log,
        mesh: mesh.clone(),
        certificates: Box::new(move || certificates.status()),
        describe_certificate: Box::new(CertificateInfo::from_pem),
        pods: Box::new(pods(enrollment.clone(), mesh.clone())),
        objects: Box::new({
            let (mesh, key_sets) = (mesh.clone(), foundation.key_sets.clone());
            move || with_key_states(xds_objects.objects(), &mesh, &key_sets)
        }),
        control_plane: Box::new(move || control_plane(&xds)),
        kubernetes: Box::new(move || directory.as_ref().map(Directory::report)),
        nri: Box::new(move || nri.as_ref().map(NriStatus::report)),
        kernel_counters: Box::new(move || capture.counters()),
        late_plaintext: late_plaintext.clone(),
        warnings: Box::new(move || {
            let late = pod_warnings::late_plaintext(&late_plaintext.list());
            let of_pods = pod_warnings::warnings(&of_pods.0, &of_pods.1, uncapturable_outbound);
            let of_certificates = revocation.warnings(SystemTime::now());
            let of_node = kubelet::warning(&kubelet.borrow()).into_iter().chain(of_certificates);
            of_node.chain(of_pods).chain(late).collect()
        }),
        why,
        quit: Box::new(move || quit.notify_one()),
    }
}

fn pods(enrollment: Arc<Enrollment>, mesh: SharedMesh) -> impl Fn() -> Vec<PodEntry> {
    move || {
        let mesh = mesh.read();
        let entry = |pod: Arc<EnrolledPod>| {
            let spec = &pod.spec;
            let workload = mesh.workload_of_pod(spec.key());
            PodEntry {
                uid: spec.uid.clone(),
                namespace: spec.namespace.clone(),
                name: spec.name.clone(),
                identity: pod.identity(&mesh.settings().trust_domain),
                addresses: spec.addresses.clone(),
                captured: true,
                workload_uid: workload.map(|workload| workload.uid.clone()),
                requests_in_flight: pod.telemetry.requests().in_flight(),
                requests_ended: pod.telemetry.requests().ended(),
                requests_failed: pod.telemetry.requests().failed(),
                requests_denied: pod.telemetry.requests().denied(),
                limits_reached: pod.limits.reached(),
            }
        };
        enrollment.pods().into_iter().map(entry).collect()
    }
}

/// Adds to each RequestAuthentication how it is with the keys of its issuers.
fn with_key_states(
    mut objects: Vec<serde_json::Value>,
    mesh: &SharedMesh,
    key_sets: &KeySets,
) -> Vec<serde_json::Value> {
    let (config, states, now) = (mesh.routes().current(), key_sets.states(), SystemTime::now());
    for object in &config.authentication().objects {
        let lines: Vec<_> = object.rules.iter().filter_map(|rule| jwks::describe(rule, &states, now)).collect();
        let (kind, key) = (ObjectKind::RequestAuthentication.type_url(), object.key());
        let found = objects.iter_mut().find(|found| found["type"] == kind && found["name"] == *key);
        if let Some(found) = found.and_then(serde_json::Value::as_object_mut).filter(|_| !lines.is_empty()) {
            found.insert("keys".to_owned(), serde_json::json!(lines));
        }
    }
    objects
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
        unanswered: report.unanswered.into_iter().map(str::to_owned).collect(),
        not_saved: report.save_error,
        not_followed: xds.object_faults(),
    }
}
