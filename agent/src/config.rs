//! Every setting of the agent once: its name, its environment variable, its default and the reason for it.
//! `weir agent --help` is the reference made from these comments. A value that cannot be meant is refused here, by its
//! name, before anything starts.

mod capture;
pub mod cni;
pub mod istiod;
pub mod kubernetes;
mod location;
pub mod nri;
mod settled;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

pub use self::capture::CaptureConfig;
use self::cni::CniConfig;
use self::istiod::IstiodConfig;
use self::kubernetes::KubernetesConfig;
pub use self::location::Location;
use self::nri::NriConfig;

/// The longest time that any setting may ask for, in seconds: a day. More is a slip of the pen, and some clocks overflow.
const DAY: u64 = 86_400;
/// The cluster's name where nobody gives it one.
const CLUSTER_ID: &str = "Kubernetes";

/// Settings of `weir agent`. Names that mean the same in ztunnel keep ztunnel's environment variable.
#[derive(Debug, Clone, Args)]
pub struct AgentConfig {
    /// Name of this node, as the control plane knows it.
    #[arg(long, env = "NODE_NAME", default_value = "", value_parser = name)]
    pub node: String,
    /// Cluster this node belongs to.
    #[arg(long, env = "CLUSTER_ID", default_value = CLUSTER_ID)]
    pub cluster_id: String,
    /// Istio network this node belongs to; empty is the default network.
    #[arg(long, env = "NETWORK", default_value = "")]
    pub network: String,
    /// Trust domain of this mesh.
    #[arg(long, env = "TRUST_DOMAIN", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,
    #[command(flatten)]
    pub capture: CaptureConfig,
    /// Directory in a BPF file system where programs and maps are pinned.
    #[arg(long, env = "WEIR_BPF_DIR", default_value = "/sys/fs/bpf/weir")]
    pub bpf_dir: PathBuf,
    /// Directory of the agent's sockets and of workload certificates. Should be a tmpfs: private keys live here.
    #[arg(long, env = "WEIR_RUN_DIR", default_value = "/run/weir")]
    pub run_dir: PathBuf,
    /// Directory of what must outlive a reboot: the last good configuration and the list of enrolled pods.
    #[arg(long, env = "WEIR_STATE_DIR", default_value = "/var/lib/weir")]
    pub state_dir: PathBuf,
    /// Take the mesh from a file or directory of Istio objects in YAML, without any control plane.
    #[arg(long, env = "WEIR_CONFIG", conflicts_with = "xds_address")]
    pub config: Option<PathBuf>,
    /// Directory with `ca-cert.pem` and `ca-key.pem`: the agent issues workload certificates itself. Only with --config.
    #[arg(long, env = "WEIR_CA_DIR", requires = "config")]
    pub ca_dir: Option<PathBuf>,
    /// Directory with `root-cert.pem` and ready certificates, `<namespace>.<service account>.pem` (chain and key). Only with --config.
    #[arg(long, env = "WEIR_CERTIFICATES_DIR", requires = "config", conflicts_with = "ca_dir")]
    pub certificates_dir: Option<PathBuf>,
    /// Control plane for delta ADS, as https://host:port or host:port.
    #[arg(long, env = "XDS_ADDRESS", value_parser = control_address)]
    pub xds_address: Option<String>,
    /// Certificate authority, as https://host:port; the control plane's address unless set.
    #[arg(long, env = "CA_ADDRESS", value_parser = control_address)]
    pub ca_address: Option<String>,
    /// Root certificates of the control plane: a path, which is reread when it changes, PEM text, or SYSTEM.
    #[arg(long, env = "XDS_ROOT_CA", default_value = "/var/run/secrets/istio/root-cert.pem")]
    pub xds_root_ca: PathBuf,
    /// Server name to expect in the control plane's certificate; the host of its address unless set.
    #[arg(long, env = "ALT_XDS_HOSTNAME")]
    pub xds_server_name: Option<String>,
    /// File with the bearer token that proves which node this is; reread for every request.
    #[arg(long, env = "AUTH_TOKEN", default_value = "/var/run/secrets/tokens/istio-token")]
    pub auth_token: PathBuf,
    /// Lifetime to ask for in workload certificates, in seconds. They are renewed at half of it.
    #[arg(long, env = "WEIR_CERTIFICATE_SECONDS", default_value_t = istiod::CERTIFICATE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=3650 * DAY))]
    pub certificate_seconds: u64,
    /// Further trust domains whose identities count as this mesh's own (besides MeshConfig's trustDomainAliases).
    #[arg(long, env = "WEIR_TRUST_DOMAIN_ALIASES", value_delimiter = ',', value_parser = trust_domain)]
    pub trust_domain_aliases: Vec<String>,
    /// Destinations outside the mesh: pass them through or refuse them. MeshConfig's outboundTrafficPolicy overrides it.
    #[arg(long, env = "WEIR_OUTBOUND_TRAFFIC_POLICY", value_enum, default_value_t = OutboundPolicyArg::AllowAny)]
    pub outbound_traffic_policy: OutboundPolicyArg,
    /// Destination blocks that are never captured.
    #[arg(long, env = "WEIR_EXCLUDE_CIDRS", value_delimiter = ',')]
    pub exclude_cidrs: Vec<IpNet>,
    /// Destination ports that are never captured.
    #[arg(long, env = "WEIR_EXCLUDE_PORTS", value_delimiter = ',')]
    pub exclude_ports: Vec<u16>,
    /// Inbound ports of pods that are never captured.
    #[arg(long, env = "WEIR_EXCLUDE_INBOUND_PORTS", value_delimiter = ',')]
    pub exclude_inbound_ports: Vec<u16>,
    /// Admin endpoints (`/config_dump`, `/logging`). Loopback only.
    #[arg(long, env = "WEIR_ADMIN_ADDRESS", default_value = "127.0.0.1:15000", value_parser = on_loopback)]
    pub admin_address: SocketAddr,
    /// Metrics endpoint.
    #[arg(long, env = "WEIR_METRICS_ADDRESS", default_value = "[::]:15020")]
    pub metrics_address: SocketAddr,
    /// Readiness endpoint.
    #[arg(long, env = "WEIR_READINESS_ADDRESS", default_value = "[::]:15021")]
    pub readiness_address: SocketAddr,
    /// Seconds that live connections may take to end after the agent was told to stop.
    #[arg(long, env = "WEIR_DRAIN_SECONDS", default_value_t = istiod::DRAIN_SECONDS, value_parser = clap::value_parser!(u64).range(0..=DAY))]
    pub drain_seconds: u64,
    /// Seconds a TCP connect to an upstream may take.
    #[arg(long, env = "WEIR_CONNECT_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=DAY))]
    pub connect_timeout_seconds: u64,
    /// Seconds a TLS and HTTP/2 handshake with a peer may take, on either side.
    #[arg(long, env = "WEIR_HANDSHAKE_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=DAY))]
    pub handshake_timeout_seconds: u64,
    /// Seconds a peer may take to answer a CONNECT request.
    #[arg(long, env = "WEIR_REQUEST_TIMEOUT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=DAY))]
    pub request_timeout_seconds: u64,
    /// Streams that share one HBONE connection before another is opened.
    #[arg(long, env = "POOL_MAX_STREAMS_PER_CONNECTION", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_max_streams: u32,
    /// Seconds after which an idle HBONE connection is closed.
    #[arg(long, env = "WEIR_POOL_IDLE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=DAY))]
    pub pool_idle_seconds: u64,
    /// Worker threads of the data plane, or a share of the cores such as 50%; 0 means one per core.
    #[arg(long, env = "ZTUNNEL_WORKER_THREADS", default_value_t = 0, value_parser = worker_threads)]
    pub worker_threads: usize,
    /// Log filter, in tracing's syntax. What the Kubernetes client says, the agent says in words of its own.
    #[arg(long, env = "RUST_LOG", default_value = "info,kube_client=off")]
    pub log: String,
    /// Form of log lines and of the access log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Name of the agent's own pod; `weir-<node>` unless set.
    #[arg(long, env = "POD_NAME", default_value = "", value_parser = name)]
    pub pod_name: String,
    /// Namespace of the agent's own pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "istio-system", value_parser = name)]
    pub pod_namespace: String,
    /// Address of the agent's own pod.
    #[arg(long, env = "INSTANCE_IP")]
    pub instance_ip: Option<std::net::IpAddr>,
    #[command(flatten)]
    pub cni: CniConfig,
    #[command(flatten)]
    pub nri: NriConfig,
    #[command(flatten)]
    pub kubernetes: KubernetesConfig,
    #[command(flatten)]
    pub istiod: IstiodConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutboundPolicyArg {
    AllowAny,
    RegistryOnly,
}

/// A name as Kubernetes gives them; it becomes part of the id by which a control plane knows this agent.
fn name(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c))) {
        Some(c) => Err(format!("{c:?} is not allowed in a name (letters, digits, '-', '.' and '_' are)")),
        None if text.len() > 253 => Err("a name has at most 253 characters".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// A trust domain in the form of SPIFFE; empty means the default.
fn trust_domain(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(*c))) {
        Some(c) => Err(format!("{c:?} is not allowed in a trust domain (a-z, 0-9, '-', '.' and '_' are)")),
        None if text.len() > 255 => Err("a trust domain has at most 255 characters".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// The admin interface can stop the agent: nobody else's machine may ask it.
fn on_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected an IP address with a port".to_owned())?;
    if address.ip().to_canonical().is_loopback() {
        return Ok(address);
    }
    Err("the admin interface can stop the agent: it must listen on loopback".to_owned())
}

/// The form of a control plane's address; what it means is decided where it is connected to.
fn control_address(text: &str) -> Result<String, String> {
    // Istio's charts give no scheme.
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let host = whole.strip_prefix("https://").or_else(|| whole.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.trim_end_matches('/').contains(['/', ' ', '@']) => Ok(whole),
        _ => Err("expected https://host:port".to_owned()),
    }
}

/// A number of threads, or a share of the cores.
fn worker_threads(text: &str) -> Result<usize, String> {
    const MAX: usize = 1024;
    if let Some(share) = text.strip_suffix('%') {
        let share: usize = share.parse().ok().filter(|share| (1..=100).contains(share)).ok_or("expected 1% to 100%")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok((cores * share).div_ceil(100).max(1));
    }
    let count: usize = text.parse().map_err(|_| "expected a number or a share such as 50%".to_owned())?;
    if count > MAX { Err(format!("{count} is not in 0..={MAX}")) } else { Ok(count) }
}

#[cfg(test)]
mod tests;
