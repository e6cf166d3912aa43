//! Wires everything together: the only module that knows everybody.
//!
//! The order of start is the order of dependence: log, kernel programs, certificates, mesh, enrolled pods, proxy. A pod
//! enrolled by a former agent is served as soon as the mesh is known, from the last good configuration if need be.

pub mod commands;
mod delivery;
mod istiod;
mod observation;
mod without_agent;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use crate::capture::{Capture, CaptureOptions};
use crate::config::{AgentConfig, LogFormat, OutboundPolicyArg};
use crate::control_plane::{self, ControlPlaneConfig};
use crate::enrollment::store::PodStore;
use crate::enrollment::{Enrollment, api, netns};
use crate::lifecycle::{self, Ready};
use crate::model::identity::TrustDomain;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::model::resolve::OutboundTrafficPolicy;
use crate::proxy::workers::Workers;
use crate::proxy::{NodeInfo, PoolOptions, Proxy, Timeouts};
use crate::state::SharedMesh;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

/// The agent's socket, below its run directory.
const SOCKET_NAME: &str = "agent.sock";

/// Runs `weir agent` until it is told to stop.
///
/// # Errors
/// When something that the agent cannot do without fails at start; the message names it.
pub fn run_agent(config: AgentConfig) -> anyhow::Result<()> {
    netns::remember_own().context("the agent's own network namespace")?;
    raise_file_limit().context("RLIMIT_NOFILE")?;
    let log = log::init(&config.log, form(config.log_format)).context("--log")?;
    let config = istiod::settled(config);
    // Connections have threads of their own: see `proxy::workers`.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(agent(config, log))
}

/// Runs `weir control-plane` until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub fn run_control_plane(config: ControlPlaneConfig) -> anyhow::Result<()> {
    let _log = log::init(&config.log, form(config.log_format)).context("--log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(control_plane::run(config))
}

async fn agent(config: AgentConfig, log: log::LogHandle) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, "agent starts");
    let config = Arc::new(config);
    make_directories(&config)?;
    let metrics = Metrics::new();
    let ready = Ready::default();
    let starting = ready.block("start");
    let mesh = SharedMesh::default();
    mesh.apply([MeshUpdate::Settings(first_settings(&config))]);

    let capture = Arc::new(Capture::install(&capture_options(&config)).context("capture")?);
    let delivery = delivery::start(&config, &mesh, &metrics, &ready).await?;
    let store = PodStore::new(&config.state_dir);
    let (enrollment, arrivals) = Enrollment::new(capture.clone(), metrics.clone(), store);
    enrollment.restore();

    let (drain_trigger, drain) = lifecycle::drain();
    let proxy = Proxy::new(
        mesh.clone(),
        delivery.certificates.clone(),
        capture.clone(),
        metrics.clone(),
        timeouts(&config),
        pool_options(&config),
        node_info(&config),
        drain,
        Workers::start(config.worker_threads).context("--worker-threads")?,
    );
    let observed = observation::Observed {
        config: config.clone(),
        mesh: mesh.clone(),
        capture: capture.clone(),
        enrollment: enrollment.clone(),
        certificates: delivery.certificates,
        xds: delivery.status.clone(),
        metrics,
        ready: ready.clone(),
        log: log.clone(),
    };
    let quit = Arc::new(Notify::new());
    let _servers = observation::start(observed, quit.clone()).await?;
    without_agent::prepare(&config, &capture, &enrollment, &mesh, &delivery.status);
    watch_kernel_and_pods(capture, enrollment.clone());
    let api = serve_api(&config, enrollment, mesh);
    let synced = delivery.synced;
    tokio::spawn(async move {
        // Until the mesh is known connections wait in the listeners' backlogs.
        synced.await;
        proxy.run(arrivals).await;
    });
    drop(starting);

    tokio::select! {
        told = told_to_stop() => told?,
        () = quit.notified() => {}
    }
    ready.stop();
    drop(api);
    stop(drain_trigger, Duration::from_secs(config.drain_seconds)).await?;
    log.flush();
    Ok(())
}

fn watch_kernel_and_pods(capture: Arc<Capture>, enrollment: Arc<Enrollment>) {
    tokio::spawn(async move {
        if let Err(error) = capture.relay_log().await {
            tracing::warn!(%error, "the kernel programs' log is not relayed");
        }
    });
    tokio::spawn(async move { enrollment.watch_liveness().await });
}

/// Serves the enrolment API until the returned sender is dropped.
fn serve_api(config: &AgentConfig, enrollment: Arc<Enrollment>, mesh: SharedMesh) -> oneshot::Sender<()> {
    let (until_dropped, dropped) = oneshot::channel::<()>();
    let stop = async {
        let _ = dropped.await;
    };
    let serving = api::serve(config.run_dir.join(SOCKET_NAME), enrollment, mesh, config.network.clone(), stop);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(error = format!("{error:#}"), "the enrolment API ended");
        }
    });
    until_dropped
}

/// Lets live connections finish; told so again, ends at once.
async fn stop(drain: lifecycle::DrainTrigger, deadline: Duration) -> anyhow::Result<()> {
    tracing::info!(seconds = deadline.as_secs(), "agent drains");
    tokio::select! {
        whole = drain.run(deadline) => tracing::info!(cut_off = !whole, "agent stops"),
        again = told_to_stop() => {
            again?;
            tracing::warn!("agent stops at once: told so twice");
        }
    }
    Ok(())
}

fn form(format: LogFormat) -> log::LogFormat {
    match format {
        LogFormat::Text => log::LogFormat::Text,
        LogFormat::Json => log::LogFormat::Json,
    }
}

/// Every connection takes two descriptors: the soft limit that shells hand out (1024) is for programs with few.
fn raise_file_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

fn make_directories(config: &AgentConfig) -> anyhow::Result<()> {
    ensure!(
        config.config.is_some() || config.xds_address.is_some(),
        "nothing says what the mesh is: give --config PATH or --xds-address URL"
    );
    ensure!(
        config.config.is_none()
            || config.ca_dir.is_some()
            || config.certificates_dir.is_some()
            || config.ca_address.is_some(),
        "nothing gives certificates: with --config give --ca-dir, --certificates-dir or --ca-address"
    );
    for (directory, field) in [(&config.run_dir, "--run-dir"), (&config.state_dir, "--state-dir")] {
        std::fs::create_dir_all(directory).with_context(|| format!("{field} {}", directory.display()))?;
    }
    Ok(())
}

fn first_settings(config: &AgentConfig) -> MeshSettings {
    MeshSettings {
        trust_domain: TrustDomain::new(&config.trust_domain),
        trust_domain_aliases: Vec::new(),
        outbound_traffic_policy: match config.outbound_traffic_policy {
            OutboundPolicyArg::AllowAny => OutboundTrafficPolicy::AllowAny,
            OutboundPolicyArg::RegistryOnly => OutboundTrafficPolicy::RegistryOnly,
        },
        ..MeshSettings::default()
    }
}

fn capture_options(config: &AgentConfig) -> CaptureOptions {
    CaptureOptions {
        pods_cgroup: config.pods_cgroup.clone(),
        bpf_dir: config.bpf_dir.clone(),
        exclude_cidrs: config.exclude_cidrs.clone(),
        exclude_ports: config.exclude_ports.clone(),
        exclude_inbound_ports: config.exclude_inbound_ports.clone(),
    }
}

fn timeouts(config: &AgentConfig) -> Timeouts {
    let seconds = |n: u64| Duration::from_secs(n.max(1));
    Timeouts {
        connect: seconds(config.connect_timeout_seconds),
        handshake: seconds(config.handshake_timeout_seconds),
        request: seconds(config.request_timeout_seconds),
    }
}

fn pool_options(config: &AgentConfig) -> PoolOptions {
    PoolOptions {
        max_streams: config.pool_max_streams.max(1),
        idle: Duration::from_secs(config.pool_idle_seconds.max(1)),
    }
}

fn node_info(config: &AgentConfig) -> NodeInfo {
    NodeInfo {
        node: config.node.as_str().into(),
        network: config.network.as_str().into(),
        cluster_id: config.cluster_id.as_str().into(),
        extra_trust_domains: config.trust_domain_aliases.iter().map(|name| TrustDomain::new(name)).collect(),
    }
}

async fn told_to_stop() -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    }
}
