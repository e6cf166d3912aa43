//! What the admin endpoints show, gathered from everybody.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use tokio::sync::Notify;

use crate::admin::{
    AdminAddresses, AdminServers, AdminSources, CertificateFacts, ControlPlaneStatus, PodEntry, RunningServers,
};
use crate::capture::Capture;
use crate::config::AgentConfig;
use crate::enrollment::Enrollment;
use crate::lifecycle::Ready;
use crate::state::SharedMesh;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::tls::facts;
use crate::xds::XdsStatus;

/// All that can be asked.
pub(super) struct Observed {
    pub(super) config: Arc<AgentConfig>,
    pub(super) mesh: SharedMesh,
    pub(super) capture: Arc<Capture>,
    pub(super) enrollment: Arc<Enrollment>,
    pub(super) certificates: Certificates,
    pub(super) xds: XdsStatus,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ready: Ready,
    pub(super) log: LogHandle,
}

/// Starts the three HTTP servers. `quit` is told when somebody asks the process to end.
pub(super) async fn start(observed: Observed, quit: Arc<Notify>) -> anyhow::Result<RunningServers> {
    let Observed { config, mesh, capture, enrollment, certificates, xds, metrics, ready, log } = observed;
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
    let servers = AdminServers::bind(AdminAddresses::from(&*config)).await.context("admin endpoints")?;
    let pods = pods(enrollment, mesh.clone(), config.network.clone());
    let sources = AdminSources {
        config: (*config).clone(),
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
        kernel_counters: Box::new(move || capture.counters()),
        quit: Box::new(move || quit.notify_one()),
    };
    Ok(servers.start(&Arc::new(sources)))
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
