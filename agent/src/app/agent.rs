//! The worker of `weir agent` from its start to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot, watch};

use super::admin::{self, Endpoints};
use super::foundation::{Arrivals, Foundation};
use super::integrations::Integrations;
use super::known_destinations::KnownDestinations;
use super::shutdown::{self, StopReason};
use super::{settings, uninstall, why, without_agent};
use crate::config::{AgentConfig, SameNode, TracingConfig};
use crate::enrollment::api;
use crate::lifecycle::{self, DrainTrigger, Ready, essential};
use crate::model::http::trace::Sampling;
use crate::otlp::{Exporter, SpanProviders};
use crate::proxy::workers::Workers;
use crate::proxy::{DirectSetting, LatePlaintext, Proxy, ProxyParts};
use crate::state::SharedMesh;
use crate::supervisor::SupervisorLink;
use crate::telemetry::log::LogHandle;
use crate::telemetry::request_reporting::RequestReporting;
use crate::telemetry::spans::Tracing;

/// Starts the agent, serves until it has to end, and drains.
///
/// # Errors
/// When something fails at start that the agent cannot do without; the message names it.
pub(super) async fn run(
    config: AgentConfig,
    log: LogHandle,
    supervisor: SupervisorLink,
    before_wait: fn(),
) -> anyhow::Result<()> {
    let start = Instant::now();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, "agent starts");
    let ready = Ready::default();
    let starting = ready.block("start");
    let (foundation, arrivals, times) = Foundation::start(Arc::new(config), Arc::new(supervisor), ready, start).await?;
    let (has_node, serves_node) = watch::channel(false);
    let (drain, proxy) = start_proxy(&foundation, arrivals, serves_node, before_wait)?;
    let integrations = Integrations::start(&foundation).await?;
    let quit = Arc::new(Notify::new());
    let why = why::explainer(proxy, foundation.enrollment.clone(), foundation.mesh.clone());
    let endpoints = admin::start(&foundation, &integrations, why, log, quit.clone()).await?;
    without_agent::start(&foundation);
    watch_kernel_and_pods(&foundation);
    let api = serve_enrollment_api(&foundation)?;
    if let Some(nri) = integrations.nri.as_ref().filter(|_| foundation.supervisor.start_info().has_predecessor) {
        nri.wait_until_tried().await;
    }
    foundation.supervisor.report_serving();
    foundation.ownership.on_serving(foundation.enrollment.clone(), follow_destinations(&foundation, has_node));
    drop(starting);
    let (prepared, installed, restored) = (times.prepared, times.installed, times.restored);
    tracing::info!(?prepared, ?installed, ?restored, serving = ?start.elapsed(), "agent serves");
    let reason = shutdown::stop_reason(&quit, &foundation.ownership).await?;
    stop(reason, &foundation, integrations, Serving { endpoints, drain, api }).await
}

/// What is open to others while the agent serves.
struct Serving {
    endpoints: Endpoints,
    drain: DrainTrigger,
    /// The enrolment API, until dropped.
    api: oneshot::Sender<()>,
}

/// Ends the agent: serves on where a successor is to be expected, takes Weir off the node where it is uninstalled, and drains.
async fn stop(
    mut reason: StopReason,
    foundation: &Foundation,
    integrations: Integrations,
    serving: Serving,
) -> anyhow::Result<()> {
    let Serving { endpoints, drain, api } = serving;
    let Foundation { config, supervisor, ownership, enrollment, .. } = foundation;
    foundation.ready.stop();
    let uninstalling = reason == StopReason::Requested && integrations.is_uninstalling().await;
    let mut deadline = Duration::from_secs(config.proxy.drain_seconds);
    if reason == StopReason::Requested && !uninstalling && integrations.cluster.is_some() {
        (reason, deadline) = shutdown::serve_until_superseded(ownership, enrollment, deadline).await?;
    }
    let Integrations { cluster, cni, nri, .. } = integrations;
    drop((api, nri));
    if uninstalling {
        uninstall::uninstall_node(foundation, cni, cluster).await;
    } else {
        // Pods come and go without this agent from here on.
        drop((cni, cluster));
    }
    shutdown::drain(reason, supervisor, endpoints, drain, deadline).await?;
    if uninstalling {
        uninstall::remove_files(config);
    }
    Ok(())
}

/// Starts the proxy. Connections wait in the listeners' backlogs until the mesh is known.
fn start_proxy(
    foundation: &Foundation,
    arrivals: Arrivals,
    serves_node: watch::Receiver<bool>,
    before_wait: fn(),
) -> anyhow::Result<(DrainTrigger, Arc<Proxy>)> {
    let (trigger, drain) = lifecycle::drain();
    let config = &foundation.config;
    let workers = Workers::start(config.proxy.worker_threads, before_wait).context("--worker-threads")?;
    workers.watch(foundation.supervisor.clone(), foundation.ready.clone()).context("a thread for heartbeats")?;
    let requests = RequestReporting::new(&foundation.metrics, start_tracing(foundation)?);
    let sampling = Sampling::percent(config.tracing.trace_sampling_percent);
    let providers = SpanProviders::new(foundation.mesh.clone(), foundation.metrics.clone(), sampling);
    tokio::spawn(follow_telemetry(foundation.mesh.clone(), requests.clone(), providers));
    let proxy = Proxy::new(ProxyParts {
        mesh: foundation.mesh.clone(),
        certificates: foundation.certificates.clone(),
        capture: foundation.capture.clone(),
        metrics: foundation.metrics.clone(),
        requests,
        timeouts: settings::timeouts(config),
        pool: settings::pool_options(config),
        node: settings::node_info(config),
        key_sets: foundation.key_sets.clone(),
        direct: DirectSetting { is_on: config.proxy.same_node == SameNode::Direct, serves: serves_node },
        destination_tls_dir: config.proxy.destination_tls_dir.clone(),
        drain,
        workers,
    });
    let late = LatePlaintext::new(foundation.mesh.clone(), foundation.metrics.clone());
    let late = late.watch(config.proxy.end_late_plaintext_after_seconds.map(Duration::from_secs));
    tokio::spawn(essential("watch late plaintext", late));
    let serving = proxy.clone();
    tokio::spawn(essential("serve pods", arrivals.synced.then(|()| serving.run(arrivals.pods))));
    Ok((trigger, proxy))
}

/// Starts to export spans of requests, where a collector is named.
fn start_tracing(foundation: &Foundation) -> anyhow::Result<Option<Tracing>> {
    let TracingConfig { otlp, trace_sampling_percent } = &foundation.config.tracing;
    let Some(collector) = otlp else { return Ok(None) };
    let (tracing, waiting) = Tracing::new(Sampling::percent(*trace_sampling_percent));
    let exporter = Exporter::new(collector, foundation.metrics.clone()).context("--otlp")?;
    tokio::spawn(exporter.run(waiting));
    Ok(Some(tracing))
}

/// Has metrics, access logs and spans be as objects and MeshConfig say, for as long as the process lasts.
async fn follow_telemetry(mesh: SharedMesh, requests: Arc<RequestReporting>, mut providers: SpanProviders) {
    let (mut changes, mut objects) = (mesh.watch(), mesh.routes().watch());
    let mut current = None;
    loop {
        let access_log = mesh.read().settings().access_log.clone();
        let wanted = Some((access_log, mesh.routes().current().telemetry().clone()));
        if let Some((access_log, telemetry)) = wanted.as_ref().filter(|_| wanted != current) {
            requests.configure(access_log.as_ref(), telemetry, providers.of(telemetry));
            current = wanted;
        }
        // The mesh lasts as long as this handle to it.
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            changed = objects.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Has the kernel programs follow what the mesh knows of destinations, once there is a mesh.
fn follow_destinations(foundation: &Foundation, has_node: watch::Sender<bool>) -> Arc<KnownDestinations> {
    let Foundation { mesh, capture, config, xds, .. } = foundation;
    let destinations = Arc::new(KnownDestinations::new(mesh.clone(), capture.clone(), &config.node.node, has_node));
    let (following, xds) = (destinations.clone(), xds.clone());
    tokio::spawn(async move {
        xds.first_sync().await;
        following.synced();
    });
    destinations
}

/// Relays the kernel programs' log, and ends the enrolment of pods that die.
fn watch_kernel_and_pods(foundation: &Foundation) {
    let (capture, enrollment) = (foundation.capture.clone(), foundation.enrollment.clone());
    tokio::spawn(async move {
        if let Err(error) = capture.relay_log().await {
            tracing::warn!(%error, "the kernel programs' log is not relayed");
        }
    });
    tokio::spawn(essential("watch pods", async move { enrollment.watch_liveness().await }));
}

/// Serves the enrolment API until the returned sender is dropped.
fn serve_enrollment_api(foundation: &Foundation) -> anyhow::Result<oneshot::Sender<()>> {
    let (until_dropped, dropped) = oneshot::channel::<()>();
    let stop = async {
        let _ = dropped.await;
    };
    let config = &foundation.config;
    let socket = api::bind(&config.directories.run_dir.join(api::SOCKET_NAME))?;
    let (enrollment, mesh) = (foundation.enrollment.clone(), foundation.mesh.clone());
    let serving = api::serve(socket, enrollment, mesh, stop);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(error = format!("{error:#}"), "the enrolment API ended");
        }
    });
    Ok(until_dropped)
}
