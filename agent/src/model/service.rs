//! A service: a name and virtual addresses over endpoints.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::address::{NetworkAddress, is_allocated};

/// What a service is known by: its namespace and hostname. Printed `namespace/hostname`, its resource name on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    pub namespace: Arc<str>,
    pub hostname: Arc<str>,
}

impl ServiceKey {
    #[must_use]
    pub fn new(namespace: &str, hostname: &str) -> Self {
        Self { namespace: namespace.into(), hostname: hostname.into() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// `istio.workload.Service`, decoded and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub key: ServiceKey,
    pub name: Arc<str>,
    /// Virtual addresses; a block where the service stands for a whole range.
    pub vips: Vec<Vip>,
    pub ports: Vec<ServicePort>,
    /// SPIFFE ids its endpoints may carry besides the ones their workloads name.
    pub subject_alt_names: Vec<Arc<str>>,
    pub waypoint: Option<GatewayAddress>,
    pub load_balancing: Option<LoadBalancing>,
    /// Among objects of one hostname over all namespaces, the one that wins where the namespace does not decide.
    pub canonical: bool,
    pub visibility: Visibility,
    pub ip_families: IpFamilies,
    pub ingress_use_waypoint: bool,
    /// Connections of one client go to one endpoint (Kubernetes' `sessionAffinity: ClientIP`).
    pub client_ip_affinity: bool,
}

/// Name of the extension of `istio.workload.Service` that says [`Service::client_ip_affinity`]. It has no content. istiod's
/// workload API does not carry the affinity of a Service.
pub const CLIENT_IP_AFFINITY_EXTENSION: &str = "weir.dev/client-ip-affinity";

impl Service {
    /// Whether it is a Service of Kubernetes, by its name. Those have addresses at which kube-proxy answers, or whoever does its
    /// work, and may have endpoints that no control plane of the mesh knows.
    #[must_use]
    pub fn is_kubernetes(&self) -> bool {
        let rest = self.key.hostname.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('.'));
        rest.and_then(|rest| rest.strip_prefix(&*self.key.namespace)).is_some_and(|rest| rest.starts_with(".svc."))
    }

    /// Whether nobody dials an address of its own, unless DNS of the mesh says that one: a host of a ServiceEntry without addresses.
    /// Its clients look the host up elsewhere, and only their requests say which host they are for.
    #[must_use]
    pub fn is_known_by_host(&self) -> bool {
        let is_dialled = |vip: &Vip| vip.single().is_none_or(|ip| !is_allocated(ip));
        !self.is_kubernetes() && self.waypoint.is_none() && !self.vips.iter().any(is_dialled)
    }

    /// Whether connections go to the address that was dialled (`resolution: NONE`).
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        self.load_balancing.as_ref().is_some_and(|balancing| balancing.mode == BalancingMode::Passthrough)
    }
}

/// A virtual address of a service, within one network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vip {
    pub network: Arc<str>,
    pub block: IpNet,
}

impl Vip {
    /// The single address this VIP is; `None` for a block.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        (self.block.prefix_len() == self.block.max_prefix_len()).then(|| self.block.addr())
    }
}

/// One port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub service_port: u16,
    /// 0 where each endpoint names its own (a named target port).
    pub target_port: u16,
    pub app_protocol: AppProtocol,
}

/// The port an endpoint serves one service port on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortMapping {
    pub service_port: u16,
    pub target_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AppProtocol {
    #[default]
    Unknown,
    Http11,
    Http2,
    Grpc,
    Tcp,
    Tls,
}

/// As people write it.
impl fmt::Display for AppProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "nothing",
            Self::Http11 => "HTTP",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

impl AppProtocol {
    /// Whether a port that declares it carries requests of HTTP.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http11 | Self::Http2 | Self::Grpc)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpFamilies {
    #[default]
    Automatic,
    Ipv4Only,
    Ipv6Only,
    Dual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Visibility {
    #[default]
    Public,
    /// Only clients of the service's own namespace see it.
    Namespace,
}

/// How endpoints are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LoadBalancing {
    /// What an endpoint should share with the source, most important first.
    pub routing_preference: Vec<Scope>,
    pub mode: BalancingMode,
    /// True: unhealthy endpoints count too.
    pub allow_unhealthy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BalancingMode {
    /// All endpoints alike.
    #[default]
    Unspecified,
    /// Only endpoints that share every scope.
    Strict,
    /// Endpoints that share more scopes first, others when there are none.
    Failover,
    /// No choice: the original destination itself.
    Passthrough,
}

/// A waypoint or network gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    pub destination: GatewayDestination,
    pub hbone_mtls_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GatewayDestination {
    Hostname(ServiceKey),
    Address(NetworkAddress),
}
