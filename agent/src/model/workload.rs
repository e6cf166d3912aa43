//! A workload: anything with an identity and an address in the mesh.

use std::net::IpAddr;
use std::sync::Arc;

use super::identity::{DEFAULT_TRUST_DOMAIN, Identity, TrustDomain};
use super::peer_authentication::Labels;
use super::service::GatewayAddress;
use super::serving::Serving;
use super::shared::Shared;

/// The labels that the workload API says in fields of its own, and that subsets are mostly made of.
pub const VERSION_LABEL: &str = "version";
pub const APP_LABEL: &str = "app";

/// Labels of a workload that objects ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KnownLabels {
    /// Those that came with the workload.
    pub sent: Labels,
    /// Those that Kubernetes says of its pod.
    pub of_pod: Labels,
}

/// `istio.workload.Workload`, decoded and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Unique over all clusters: `<cluster>/<group>/<kind>/<namespace>/<name>[/<section>]`.
    pub uid: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub trust_domain: TrustDomain,
    /// Never empty: the wire's empty service account has become `default`.
    pub service_account: Arc<str>,
    pub addresses: Vec<IpAddr>,
    /// Set where a workload has a name to look up in place of addresses.
    pub hostname: Arc<str>,
    pub network: Arc<str>,
    pub cluster_id: Arc<str>,
    pub node: Arc<str>,
    pub protocol: TunnelProtocol,
    /// The workload terminates HBONE itself: its own proxy listens on 15008.
    pub native_tunnel: bool,
    pub network_mode: NetworkMode,
    pub workload_name: Arc<str>,
    pub workload_type: WorkloadType,
    pub canonical_name: Arc<str>,
    pub canonical_revision: Arc<str>,
    pub locality: Shared<Locality>,
    /// Labels that objects ask for; see [`Self::label`].
    pub labels: Shared<KnownLabels>,
    pub status: HealthStatus,
    /// Share of a service's connections relative to other endpoints; 1 unless set.
    pub capacity: u32,
    pub waypoint: Option<Shared<GatewayAddress>>,
    pub network_gateway: Option<Shared<GatewayAddress>>,
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Selector policies in force, by `<namespace>/<name>`. A name without a policy denies (fail closed).
    pub authorization_policies: Vec<Arc<str>>,
    /// The services this workload is an endpoint of, with the port it serves each of their ports on.
    pub services: Shared<Serving>,
}

impl Workload {
    /// Whether it has all of these labels, as far as labels are known here.
    #[must_use]
    pub fn carries(&self, labels: &Labels) -> bool {
        labels.iter().all(|(name, value)| match self.known_label(name) {
            Some(own) => own == value,
            None => !value.is_empty() && self.label(name) == value,
        })
    }

    /// A label that came as such: `weir control-plane` sends those that objects ask for, and so does Kubernetes.
    fn known_label(&self, name: &str) -> Option<&String> {
        self.labels.sent.get(name).or_else(|| self.labels.of_pod.get(name))
    }

    /// The value of a label; empty where it has none, or none that is known here. Of labels that did not come as such the workload
    /// API says two, `version`, its canonical revision, and `app`, its canonical name, and what
    /// Kubernetes and Istio say in labels about where it is.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        if let Some(value) = self.known_label(name) {
            return value;
        }
        match name {
            VERSION_LABEL => &self.canonical_revision,
            APP_LABEL => &self.canonical_name,
            "topology.kubernetes.io/region" => &self.locality.region,
            "topology.kubernetes.io/zone" => &self.locality.zone,
            "topology.istio.io/subzone" => &self.locality.subzone,
            "topology.istio.io/network" => &self.network,
            "topology.istio.io/cluster" => &self.cluster_id,
            "kubernetes.io/hostname" => &self.node,
            _ => "",
        }
    }

    /// Whether a label is known of every workload, in fields of its own.
    #[must_use]
    pub fn says(label: &str) -> bool {
        matches!(
            label,
            VERSION_LABEL
                | APP_LABEL
                | "topology.kubernetes.io/region"
                | "topology.kubernetes.io/zone"
                | "topology.istio.io/subzone"
                | "topology.istio.io/network"
                | "topology.istio.io/cluster"
                | "kubernetes.io/hostname"
        )
    }

    /// A workload of which nothing else is known: healthy, reached over plain TCP, without addresses, services or policies.
    #[must_use]
    pub fn new(uid: &str, namespace: &str, name: &str) -> Self {
        Self {
            uid: uid.into(),
            name: name.into(),
            namespace: namespace.into(),
            trust_domain: TrustDomain::new(DEFAULT_TRUST_DOMAIN),
            service_account: "default".into(),
            addresses: Vec::new(),
            hostname: "".into(),
            network: "".into(),
            cluster_id: "".into(),
            node: "".into(),
            protocol: TunnelProtocol::None,
            native_tunnel: false,
            network_mode: NetworkMode::Standard,
            workload_name: "".into(),
            workload_type: WorkloadType::Deployment,
            canonical_name: "".into(),
            canonical_revision: "".into(),
            locality: Locality::default().into(),
            labels: KnownLabels::default().into(),
            status: HealthStatus::Healthy,
            capacity: 1,
            waypoint: None,
            network_gateway: None,
            application_tunnel: None,
            authorization_policies: Vec::new(),
            services: Serving::default().into(),
        }
    }

    /// The SPIFFE identity this workload's traffic carries.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            trust_domain: self.trust_domain.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
        }
    }

    /// A pod of a cluster, as its `uid` says.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.uid.split('/').nth(2) == Some("Pod")
    }
}

/// How to reach a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TunnelProtocol {
    /// Plain TCP.
    #[default]
    None,
    /// HTTP/2 CONNECT over mTLS on port 15008.
    Hbone,
}

/// Whether a workload has its own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NetworkMode {
    #[default]
    Standard,
    /// It shares its node's addresses, so an address says nothing about which workload it is.
    HostNetwork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WorkloadType {
    #[default]
    Deployment,
    CronJob,
    Pod,
    Job,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HealthStatus {
    #[default]
    Healthy,
    Unhealthy,
    /// It ends, and serves until it has: used where no endpoint is healthy, as by kube-proxy.
    Terminating,
}

/// Name of the extension of `istio.workload.Workload` that says of an unhealthy workload that it is
/// [`HealthStatus::Terminating`]. It has no content. istiod's workload API does not tell such workloads from others that are
/// unhealthy.
pub const TERMINATING_EXTENSION: &str = "weir.dev/serves-while-terminating";

/// Name of the extension of `istio.workload.Workload` with the labels that objects ask for, which istiod's workload API does not
/// carry: a `google.protobuf.Struct` whose fields are the labels.
pub const LABELS_EXTENSION: &str = "weir.dev/labels";

/// Where a workload runs; empty parts are unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Locality {
    pub region: Arc<str>,
    pub zone: Arc<str>,
    pub subzone: Arc<str>,
}

/// How a proxy in front of the application (a waypoint) wants the connection handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApplicationTunnel {
    /// True: PROXY protocol v2 precedes the bytes.
    pub proxy_protocol: bool,
    /// Port of that proxy; 0 means the connection's own port.
    pub port: u16,
}
