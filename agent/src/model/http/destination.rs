//! How the endpoints of a service are used: what Istio's `DestinationRule` says, after its layers are one.

use std::sync::Arc;
use std::time::Duration;

use super::route::Origin;
use crate::model::balance::{Distribution, FailoverLabel, LocalityPreference, Warmup};
use crate::model::peer_authentication::Labels;

/// The traffic policy for one port, and one subset or none, of a service. Absent limits are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DestinationPolicy {
    /// The DestinationRule it comes from.
    pub origin: Option<Origin>,
    /// Labels that the endpoints of the subset have; `None` outside of subsets.
    pub subset: Option<Labels>,
    pub load_balancer: LoadBalancer,
    /// What the locality settings of the rule and of the mesh come to; `None`: as the service says.
    pub locality: Option<Arc<LocalityPreference>>,
    pub pool: ConnectionPool,
    pub outlier_detection: Option<OutlierDetection>,
    /// `None`: mTLS wherever the endpoint offers it.
    pub tls: Option<Arc<UpstreamTls>>,
    /// Takes the place of `pool.max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadBalancer {
    pub algorithm: Algorithm,
    pub warmup: Option<Warmup>,
    pub locality: Option<LocalitySetting>,
}

/// `localityLbSetting`, of a rule or of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalitySetting {
    pub enabled: bool,
    pub distribute: Vec<Distribution>,
    /// From which region to which other one.
    pub failover: Vec<(Arc<str>, Arc<str>)>,
    pub failover_priority: Vec<FailoverLabel>,
}

impl Default for LocalitySetting {
    /// Istio's default.
    fn default() -> Self {
        Self { enabled: true, distribute: Vec::new(), failover: Vec::new(), failover_priority: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The less loaded of two endpoints that chance picks.
    #[default]
    LeastRequest,
    RoundRobin,
    Random,
    /// To the address that the client dialled.
    Passthrough,
    ConsistentHash(HashKey),
}

/// What of a request decides its endpoint. Where a request does not have it, chance decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The value of a field, whose name is in lower case.
    Header(Box<str>),
    Cookie(HashCookie),
    /// The client's address.
    SourceIp,
    /// The value of a parameter of the query.
    QueryParameter(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashCookie {
    pub name: Box<str>,
    pub path: Box<str>,
    /// How long a cookie that is made for a client lasts; zero: until its session ends. `None`: none is made.
    pub ttl: Option<Duration>,
    /// Further attributes, such as `SameSite` and its value.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// Limits of the connections and requests of one agent to one destination. `u32::MAX` stands for no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionPool {
    pub max_connections: u32,
    pub connect_timeout: Duration,
    pub max_connection_duration: Option<Duration>,
    /// Of connections to endpoints that are reached without HBONE.
    pub tcp_keepalive: TcpKeepalive,
    /// How long connections without requests are kept; `None` for as long as they last.
    pub idle_timeout: Option<Duration>,
    pub max_pending_requests: u32,
    /// Requests at one time, of HTTP/1.1 and HTTP/2.
    pub max_requests: u32,
    /// 1 for no keep-alive; `u32::MAX` for no limit.
    pub max_requests_per_connection: u32,
    /// Retries at one time.
    pub max_retries: u32,
    pub max_concurrent_streams: u32,
    pub http2_keepalive: Option<Http2Keepalive>,
    pub protocol: UpstreamProtocol,
}

/// How long connections without requests are kept where no DestinationRule says so. Istio keeps them for an hour: here a pod's
/// connections are bounded.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

impl Default for ConnectionPool {
    /// Istio's defaults, but for the idle timeout.
    fn default() -> Self {
        Self {
            max_connections: u32::MAX,
            connect_timeout: Duration::from_secs(10),
            max_connection_duration: None,
            tcp_keepalive: TcpKeepalive::default(),
            idle_timeout: Some(DEFAULT_IDLE_TIMEOUT),
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_requests_per_connection: u32::MAX,
            max_retries: u32::MAX,
            max_concurrent_streams: u32::MAX,
            http2_keepalive: None,
            protocol: UpstreamProtocol::OfPort,
        }
    }
}

/// When the kernel asks a silent peer whether it is there (`SO_KEEPALIVE`, tcp(7)). What is `None` is as elsewhere in the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpKeepalive {
    /// Probes without an answer after which the peer counts as dead.
    pub probes: Option<u32>,
    /// How long a connection is silent before the first probe.
    pub time: Option<Duration>,
    /// How far apart probes are.
    pub interval: Option<Duration>,
}

impl TcpKeepalive {
    /// Field by field, what this one leaves out as `other` has it.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            probes: self.probes.or(other.probes),
            time: self.time.or(other.time),
            interval: self.interval.or(other.interval),
        }
    }
}

/// When a server of HTTP/2 is asked whether it is there, by PING (RFC 9113 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// How far apart PINGs are.
    pub interval: Duration,
    /// How long an answer may take before the connection is given up.
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// As the service's port declares it.
    #[default]
    OfPort,
    /// HTTP/2 (`h2UpgradePolicy: UPGRADE`).
    Http2,
    /// HTTP/2 where the port declares HTTP (MeshConfig's `h2UpgradePolicy: UPGRADE`).
    Http2OfPort,
    /// The version that the client uses (`useClientProtocol`).
    OfClient,
}

/// Retries at one time as a share of the requests at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    pub percent: f64,
    pub min_concurrency: u32,
    /// Requests that have begun within this time count beside those at one time; zero for none.
    pub interval: Duration,
}

/// When an endpoint is not used for a while because of its answers (Envoy's outlier detection).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 0 switches it off.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504; 0 switches it off.
    pub consecutive_gateway_errors: u32,
    /// Failures to connect and resets count apart from answers.
    pub splits_local_origin: bool,
    /// Where they are split; 0 switches it off.
    pub consecutive_local_origin_failures: u32,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_percent: u8,
    /// With fewer healthy endpoints than this, all are used; 0 for never.
    pub min_health_percent: u8,
}

impl Default for OutlierDetection {
    /// As Envoy does under a block of Istio's that says nothing (`outlierDetection: {}`).
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_errors: 0,
            splits_local_origin: false,
            consecutive_local_origin_failures: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
        }
    }
}

/// What a client of this destination does about TLS (`trafficPolicy.tls`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UpstreamTls {
    pub mode: TlsMode,
    /// Empty: the host of the request.
    pub sni: Box<str>,
    /// Of which the server's certificate must have one; empty: the name that is asked for.
    pub subject_alt_names: Vec<Box<str>>,
    /// Paths of files in the agent's own file system.
    pub client_certificate: Box<str>,
    pub private_key: Box<str>,
    /// Empty, or `system`: the roots that the system trusts.
    pub ca_certificates: Box<str>,
    /// Revocation lists; empty: none.
    pub ca_crl: Box<str>,
    pub skips_verification: bool,
    /// It asks for what is not supported, and would be less safe without it: nothing is sent.
    pub is_unsupported: bool,
}

impl UpstreamTls {
    /// Whether the destination is reached by TLS of its own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self.mode, TlsMode::Simple | TlsMode::Mutual)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlsMode {
    #[default]
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}
