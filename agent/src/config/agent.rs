//! The settings of `weir agent`, in groups. The groups are flattened: each setting is a flag and an environment variable of its
//! own. Settings that mean the same in ztunnel have ztunnel's environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use ipnet::IpNet;

use super::capture::CaptureConfig;
use super::cluster::{CniConfig, KubernetesConfig, NriConfig};
use super::istiod::IstiodConfig;
use super::limits::LimitsConfig;
use super::values::{MAX_SECONDS, collector, name, on_loopback, percent, trust_domain, worker_threads};

/// The cluster's name where nothing gives it one.
pub(super) const DEFAULT_CLUSTER_ID: &str = "Kubernetes";
/// How old an HBONE connection gets unless a setting says otherwise: as old as Istio's certificates, a day.
const DEFAULT_HBONE_MAX_AGE_SECONDS: u64 = 86_400;
/// The most that a setting may ask for: thirty days.
const MAX_HBONE_AGE_SECONDS: u64 = 30 * 86_400;
/// How long a drain may take unless a setting says otherwise.
pub(super) const DEFAULT_DRAIN_SECONDS: u64 = 300;

/// How long the keys of an issuer count until its provider is asked again, unless a setting says otherwise; as Istio has it.
const DEFAULT_REFRESH_SECONDS: u64 = 1200;

/// All settings of `weir agent`.
#[derive(Debug, Clone, Args)]
pub struct AgentConfig {
    #[command(flatten)]
    pub node: NodeConfig,
    #[command(flatten)]
    pub directories: DirectoryConfig,
    #[command(flatten)]
    pub mesh: MeshConfig,
    #[command(flatten)]
    pub files: FilesConfig,
    #[command(flatten)]
    pub istiod: IstiodConfig,
    #[command(flatten)]
    pub capture: CaptureConfig,
    #[command(flatten)]
    pub proxy: ProxyConfig,
    #[command(flatten)]
    pub tokens: TokensConfig,
    #[command(flatten)]
    pub limits: LimitsConfig,
    #[command(flatten)]
    pub kubernetes: KubernetesConfig,
    #[command(flatten)]
    pub cni: CniConfig,
    #[command(flatten)]
    pub nri: NriConfig,
    #[command(flatten)]
    pub endpoints: EndpointConfig,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub tracing: TracingConfig,
}

/// The node that the agent serves, and the agent's own pod.
#[derive(Debug, Clone, Args)]
pub struct NodeConfig {
    /// Name of this node, as the control plane knows it.
    #[arg(long, env = "NODE_NAME", default_value = "", value_parser = name)]
    pub node: String,
    /// Cluster this node belongs to.
    #[arg(long, env = "CLUSTER_ID", default_value = DEFAULT_CLUSTER_ID)]
    pub cluster_id: String,
    /// Istio network this node belongs to; empty is the default network.
    #[arg(long, env = "NETWORK", default_value = "")]
    pub network: String,
    /// Name of the agent's own pod; `weir-<node>` unless set.
    #[arg(long, env = "POD_NAME", default_value = "", value_parser = name)]
    pub pod_name: String,
    /// Namespace of the agent's own pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "istio-system", value_parser = name)]
    pub pod_namespace: String,
    /// Address of the agent's own pod.
    #[arg(long, env = "INSTANCE_IP")]
    pub instance_ip: Option<IpAddr>,
}

/// Directories on the node.
#[derive(Debug, Clone, Args)]
pub struct DirectoryConfig {
    /// Directory in a BPF file system where programs and maps are pinned.
    #[arg(long, env = "WEIR_BPF_DIR", default_value = "/sys/fs/bpf/weir")]
    pub bpf_dir: PathBuf,
    /// Directory of the agent's sockets and of workload certificates. Should be a tmpfs: private keys live here.
    #[arg(long, env = "WEIR_RUN_DIR", default_value = "/run/weir")]
    pub run_dir: PathBuf,
    /// Directory of what must outlive a reboot: the last good configuration and the list of enrolled pods.
    #[arg(long, env = "WEIR_STATE_DIR", default_value = "/var/lib/weir")]
    pub state_dir: PathBuf,
}

/// What the mesh is until the control plane's MeshConfig says otherwise.
#[derive(Debug, Clone, Args)]
pub struct MeshConfig {
    /// Trust domain of this mesh.
    #[arg(long, env = "TRUST_DOMAIN", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,
    /// Further trust domains whose identities count as this mesh's own (besides MeshConfig's trustDomainAliases).
    #[arg(long, env = "WEIR_TRUST_DOMAIN_ALIASES", value_delimiter = ',', value_parser = trust_domain)]
    pub trust_domain_aliases: Vec<String>,
    /// Destinations outside the mesh: pass them through or refuse them. MeshConfig's outboundTrafficPolicy overrides it.
    #[arg(long, env = "WEIR_OUTBOUND_TRAFFIC_POLICY", value_enum, default_value_t = OutboundPolicyArg::AllowAny)]
    pub outbound_traffic_policy: OutboundPolicyArg,
}

/// Destinations outside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutboundPolicyArg {
    AllowAny,
    RegistryOnly,
}

/// The mesh and its certificates from files, without a control plane.
#[derive(Debug, Clone, Args)]
pub struct FilesConfig {
    /// Take the mesh from a file or directory of Istio objects in YAML, without any control plane.
    #[arg(long, env = "WEIR_CONFIG", conflicts_with = "xds_address")]
    pub config: Option<PathBuf>,
    /// Directory with `ca-cert.pem` and `ca-key.pem`: the agent issues workload certificates itself. Only with --config.
    #[arg(long, env = "WEIR_CA_DIR", requires = "config")]
    pub ca_dir: Option<PathBuf>,
    /// Directory with `root-cert.pem` and ready certificates, `<namespace>.<service account>.pem` (chain and key). Only with --config.
    #[arg(long, env = "WEIR_CERTIFICATES_DIR", requires = "config", conflicts_with = "ca_dir")]
    pub certificates_dir: Option<PathBuf>,
    /// File with certificate revocation lists (PEM, one per issuer), reread when it changes. Peers whose certificate, or one
    /// above it, is revoked are refused, and their open connections end. Where there is no such file, or it is empty, none is revoked.
    #[arg(long, env = "CRL_PATH")]
    pub crl: Option<PathBuf>,
}

/// The data plane: its threads, timeouts and connection pools.
#[derive(Debug, Clone, Args)]
pub struct ProxyConfig {
    /// Worker threads of the data plane, or a share of the cores such as 50%; 0 means one per core.
    #[arg(long, env = "ZTUNNEL_WORKER_THREADS", default_value_t = 0, value_parser = worker_threads)]
    pub worker_threads: usize,
    /// Seconds that live connections may take to end after the agent received a signal to stop.
    #[arg(long, env = "WEIR_DRAIN_SECONDS", default_value_t = DEFAULT_DRAIN_SECONDS, value_parser = clap::value_parser!(u64).range(0..=MAX_SECONDS))]
    pub drain_seconds: u64,
    /// Seconds that a thread of the data plane may stand still before the worker process is replaced.
    #[arg(long, env = "WEIR_HANG_SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub hang_seconds: u64,
    /// Seconds a TCP connect to an upstream may take.
    #[arg(long, env = "WEIR_CONNECT_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub connect_timeout_seconds: u64,
    /// Seconds a TLS and HTTP/2 handshake with a peer may take, on either side.
    #[arg(long, env = "WEIR_HANDSHAKE_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub handshake_timeout_seconds: u64,
    /// Seconds a peer may take to answer a CONNECT request.
    #[arg(long, env = "WEIR_REQUEST_TIMEOUT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub request_timeout_seconds: u64,
    /// Streams that share one HBONE connection before another is opened.
    #[arg(long, env = "POOL_MAX_STREAMS_PER_CONNECTION", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_max_streams: u32,
    /// Seconds after which an idle HBONE connection is closed. Of several idle ones to a peer, all but one go after ten seconds.
    #[arg(long, env = "WEIR_POOL_IDLE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub pool_idle_seconds: u64,
    /// Whether the first bytes that an application sends travel with the request for its tunnel (HBONE), which saves new connections a
    /// round trip. Where a peer's agent dies before it has answered, such a connection ends, as its bytes may have arrived;
    /// without them, another attempt is made.
    #[arg(long, env = "WEIR_OPTIMISTIC_DATA", default_value_t = true, action = ArgAction::Set)]
    pub optimistic_data: bool,
    /// Whether a request of HTTP travels as an HTTP/2 stream of its own between two agents that both have this on, where the destination's
    /// agent decides about each request (policies, tokens, rate limits): that one then needs not parse the request's bytes again. Without it,
    /// and towards all others, requests travel inside of CONNECT (HBONE).
    #[arg(long, env = "WEIR_NATIVE_REQUEST_STREAMS", default_value_t = true, action = ArgAction::Set)]
    pub native_request_streams: bool,
    /// How connections between two pods of this node travel, if the agent does not have to know more of them than policy says.
    #[arg(long, env = "WEIR_SAME_NODE", value_enum, default_value_t = SameNode::InProcess)]
    pub same_node: SameNode,
    /// Seconds after which an HBONE connection of a peer that carries nothing is ended in order (GOAWAY), refused requests not counted;
    /// a tenth of that while the pod, or the peer, holds more than half of what it may have inbound. More than peers themselves keep
    /// an idle connection: most of them close it first.
    #[arg(long, env = "WEIR_INBOUND_IDLE_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub inbound_idle_seconds: u64,
    /// Seconds after which an HBONE connection takes no further streams, so that both sides prove their identities again on
    /// another one; up to a tenth earlier. Its streams may then go on for as long as a drain may take.
    #[arg(long, env = "WEIR_HBONE_MAX_AGE_SECONDS", default_value_t = DEFAULT_HBONE_MAX_AGE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=MAX_HBONE_AGE_SECONDS))]
    pub hbone_max_age_seconds: u64,
    /// Seconds after which a plaintext connection is ended whose other end was found to be a pod that speaks HBONE: it was
    /// opened before the mesh said so. Unless set, such connections last as long as their applications want.
    #[arg(long, env = "WEIR_END_LATE_PLAINTEXT_AFTER_SECONDS", value_parser = clap::value_parser!(u64).range(0..=MAX_SECONDS))]
    pub end_late_plaintext_after_seconds: Option<u64>,
    /// Directory, with those below it, of the certificates and keys that DestinationRules may have shown to destinations
    /// (clientCertificate and privateKey with tls.mode MUTUAL). Files elsewhere are refused.
    #[arg(long, env = "WEIR_DESTINATION_TLS_DIR", default_value = "/etc/weir/tls")]
    pub destination_tls_dir: PathBuf,
}

/// How connections between two pods of one node travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SameNode {
    /// Over HBONE, as between two nodes: encrypted on the node, too.
    Hbone,
    /// Requests of HTTP stay within the agent: decided about and counted as over HBONE, without TLS and sockets between.
    /// Connections that carry other protocols go over HBONE.
    InProcess,
    /// Requests of HTTP stay within the agent. Connections that carry other protocols go from pod to pod without the agent, once it has
    /// permitted one: plaintext on the node, between two ends that the kernel attests.
    Direct,
}

impl SameNode {
    /// As the setting is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Hbone => "hbone",
            Self::InProcess => "in-process",
            Self::Direct => "direct",
        }
    }
}

/// How the keys of issuers are fetched.
#[derive(Debug, Clone, Args)]
pub struct TokensConfig {
    /// Blocks of addresses at which the keys of issuers (jwksUri) are fetched although they are private, link-local or loopback: those
    /// of a cluster's own providers. The agent asks from the node, on behalf of whoever may write a RequestAuthentication.
    #[arg(long, env = "WEIR_JWKS_ALLOW", value_delimiter = ',')]
    pub jwks_allow: Vec<IpNet>,
    /// File with the roots (PEM) for the certificates of servers at which keys are fetched, in place of those that the system trusts.
    #[arg(long, env = "WEIR_JWKS_ROOTS")]
    pub jwks_roots: Option<PathBuf>,
    /// Seconds after which the keys of an issuer are fetched again. A key that the issuer has withdrawn counts for so long at most, unless
    /// its server is away.
    #[arg(long, env = "WEIR_JWKS_REFRESH_SECONDS", default_value_t = DEFAULT_REFRESH_SECONDS, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub jwks_refresh_seconds: u64,
}

/// Where the agent's HTTP endpoints listen.
#[derive(Debug, Clone, Args)]
pub struct EndpointConfig {
    /// Admin endpoints (`/config_dump`, `/logging`). Loopback only.
    #[arg(long, env = "WEIR_ADMIN_ADDRESS", default_value = "127.0.0.1:15000", value_parser = on_loopback)]
    pub admin_address: SocketAddr,
    /// Metrics endpoint.
    #[arg(long, env = "WEIR_METRICS_ADDRESS", default_value = "[::]:15020")]
    pub metrics_address: SocketAddr,
    /// Readiness endpoint.
    #[arg(long, env = "WEIR_READINESS_ADDRESS", default_value = "[::]:15021")]
    pub readiness_address: SocketAddr,
}

/// The log, and the access log.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// Log filter, in tracing's syntax. What the Kubernetes client and the DNS resolver log, the agent logs in its own
    /// messages.
    #[arg(long, env = "RUST_LOG", default_value = "info,kube_client=off,hickory=off")]
    pub log: String,
    /// Form of log lines and of the access log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Spans of requests.
#[derive(Debug, Clone, Args)]
pub struct TracingConfig {
    /// Collector of OpenTelemetry that spans of requests are exported to over gRPC, in plaintext: `http://host:port`. Unless set,
    /// there are no spans, and contexts of traces pass as applications send them.
    #[arg(long, env = "WEIR_OTLP", value_parser = collector)]
    pub otlp: Option<String>,
    /// How many of a hundred requests are recorded, of those whose callers have not decided. Only with --otlp.
    #[arg(long, env = "WEIR_TRACE_SAMPLING_PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub trace_sampling_percent: f64,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
