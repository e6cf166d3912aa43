//! Wires everything together: the only module that knows everybody.
//!
//! The agent is a supervisor and its worker. The worker's order of start is the order of dependence: log, mesh and
//! certificates, kernel programs, enrolled pods, proxy. A pod enrolled by a former agent is served as soon as the mesh is
//! known, from the last good configuration if need be. Where a former agent still runs, all that takes time comes first,
//! and then the pods pass from one to the other: see `succession`.

mod cni;
pub mod commands;
mod delivery;
mod ending;
mod istiod;
mod kubelet;
mod kubernetes;
mod nri;
mod observation;
mod succession;
mod without_agent;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Notify, oneshot};

use self::ending::Ending;
use self::succession::Standing;

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
use crate::supervisor::{self, SupervisorLink, SupervisorOptions, WorkerProgram};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;

/// The agent's socket, below its run directory.
const SOCKET_NAME: &str = "agent.sock";

/// Runs `weir agent` as the supervisor of its workers, and returns the exit code. `on_idle` is called whenever nothing is left
/// to do but to wait.
///
/// # Errors
/// When something is missing that no worker can do without, or the system gives no process.
pub fn supervise_agent(config: &AgentConfig, on_idle: fn()) -> anyhow::Result<ExitCode> {
    make_directories(config)?;
    log::init_direct(form(config.log_format)).context("log")?;
    let worker = WorkerProgram { path: "/proc/self/exe".into(), arguments: std::env::args_os().skip(1).collect() };
    let code = supervisor::run(SupervisorOptions { run_dir: config.run_dir.clone(), worker, on_idle })
        .context("supervisor")?;
    Ok(ExitCode::from(code))
}

/// Runs `weir agent` as a worker until it is told to stop.
///
/// # Errors
/// When something that the agent cannot do without fails at start; the message names it.
pub fn run_agent(config: AgentConfig, supervisor: SupervisorLink) -> anyhow::Result<()> {
    netns::remember_own().context("the agent's own network namespace")?;
    raise_file_limit().context("RLIMIT_NOFILE")?;
    let log = log::init(&config.log, form(config.log_format)).context("--log")?;
    let config = istiod::settled(config);
    // Connections have threads of their own: see `proxy::workers`.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let ended = runtime.block_on(agent(config, log.clone(), Arc::new(supervisor)));
    log.flush();
    ended
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

async fn agent(config: AgentConfig, log: log::LogHandle, supervisor: Arc<SupervisorLink>) -> anyhow::Result<()> {
    let start = Instant::now();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, "agent starts");
    let config = Arc::new(config);
    make_directories(&config)?;
    let metrics = Metrics::new();
    let ready = Ready::default();
    let starting = ready.block("start");
    let mesh = first_mesh(&config);
    let standing = Standing::new(supervisor.start_info().has_predecessor);
    let delivery = delivery::start(&config, &mesh, &metrics, &ready, standing.may_save()).await?;
    if supervisor.start_info().has_predecessor {
        succession::take_over(&supervisor, &delivery, &mesh, &PodStore::new(&config.state_dir)).await?;
    }
    let prepared = start.elapsed();
    let capture = Arc::new(Capture::install(&capture_options(&config)).context("capture")?);
    let installed = start.elapsed();
    let (enrollment, arrivals) =
        Enrollment::new(capture.clone(), metrics.clone(), PodStore::new(&config.state_dir), supervisor.clone());
    enrollment.restore();
    let restored = start.elapsed();
    standing.obey(supervisor.clone(), enrollment.clone()).context("a thread for the supervisor")?;

    let (drain_trigger, drain) = lifecycle::drain();
    let proxy = proxy(&config, &mesh, &delivery.certificates, &capture, &metrics, drain)?;
    // Until the mesh is known connections wait in the listeners' backlogs.
    tokio::spawn(delivery.synced.then(|()| proxy.run(arrivals)));
    // Connections wait for nothing that follows.
    let kubelet = kubelet::follow(capture.clone());
    let cluster = kubernetes::start(&config, &enrollment, &mesh, &metrics, &ready).await?;
    let plugin = cni::start(&config, cluster.as_ref(), &enrollment, &metrics)?;
    let nri = nri::start(&config, plugin.as_ref(), &metrics);
    let observed = observation::Observed {
        config: config.clone(),
        mesh: mesh.clone(),
        capture: capture.clone(),
        enrollment: enrollment.clone(),
        certificates: delivery.certificates,
        xds: delivery.status.clone(),
        metrics,
        kubelet,
        ready: ready.clone(),
        log,
        supervisor: supervisor.start_info().clone(),
        directory: cluster.as_ref().map(|cluster| cluster.directory.clone()),
        nri: Box::new(nri::Nri::reports(nri.as_ref())),
    };
    let quit = Arc::new(Notify::new());
    let endpoints = observation::start(observed, quit.clone()).await?;
    without_agent::prepare(&config, &capture, &enrollment, &mesh, &delivery.status);
    watch_kernel_and_pods(capture, enrollment.clone());
    let api = serve_api(&config, enrollment.clone(), mesh.clone())?;
    nri::Nri::taken_in(nri.as_ref(), supervisor.start_info()).await;
    supervisor.report_serving();
    standing.serves(enrollment.clone());
    drop(starting);
    tracing::info!(?prepared, ?installed, ?restored, serving = ?start.elapsed(), "agent serves");

    let mut ending = ending::begun(&quit, &standing).await?;
    ready.stop();
    let uninstalling = ending == Ending::Told && kubernetes::is_uninstalling(cluster.as_ref()).await;
    let mut patience = Duration::from_secs(config.drain_seconds);
    if ending == Ending::Told && !uninstalling && cluster.is_some() {
        (ending, patience) = ending::serve_on(&standing, &enrollment, patience).await?;
    }
    drop((api, nri));
    leave_node(uninstalling, &config, plugin, cluster, &enrollment, &mesh).await;
    ending::end(ending, &supervisor, endpoints, drain_trigger, patience).await?;
    if uninstalling {
        kubernetes::remove_files(&config);
    }
    Ok(())
}

/// The mesh before anything is known of it.
fn first_mesh(config: &AgentConfig) -> SharedMesh {
    let mesh = SharedMesh::default();
    mesh.apply([MeshUpdate::Settings(first_settings(config))]);
    mesh
}

/// Pods come and go without this agent from now on; where Weir is uninstalled, they leave the mesh.
async fn leave_node(
    uninstalling: bool,
    config: &AgentConfig,
    plugin: Option<cni::Cni>,
    cluster: Option<kubernetes::Cluster>,
    enrollment: &Arc<Enrollment>,
    mesh: &SharedMesh,
) {
    if uninstalling {
        cni::uninstall(config, plugin).await;
        kubernetes::uninstall_node(config, cluster, enrollment, mesh).await;
    }
}

fn proxy(
    config: &AgentConfig,
    mesh: &SharedMesh,
    certificates: &Certificates,
    capture: &Arc<Capture>,
    metrics: &Arc<Metrics>,
    drain: lifecycle::Drain,
) -> anyhow::Result<Arc<Proxy>> {
    Ok(Proxy::new(
        mesh.clone(),
        certificates.clone(),
        capture.clone(),
        metrics.clone(),
        timeouts(config),
        pool_options(config),
        node_info(config),
        drain,
        Workers::start(config.worker_threads).context("--worker-threads")?,
    ))
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
fn serve_api(
    config: &AgentConfig,
    enrollment: Arc<Enrollment>,
    mesh: SharedMesh,
) -> anyhow::Result<oneshot::Sender<()>> {
    let (until_dropped, dropped) = oneshot::channel::<()>();
    let stop = async {
        let _ = dropped.await;
    };
    let socket = api::bind(&config.run_dir.join(SOCKET_NAME))?;
    let serving = api::serve(socket, enrollment, mesh, config.network.clone(), stop);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(error = format!("{error:#}"), "the enrolment API ended");
        }
    });
    Ok(until_dropped)
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
        cgroup_root: config.capture.cgroup_root.clone(),
        pods_cgroup: config.capture.pods_cgroup.clone(),
        kubelet_cgroup: config.capture.kubelet_cgroup.clone(),
        host_proc: config.capture.host_proc.clone(),
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
