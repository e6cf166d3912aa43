//! The changes that a mesh is built from.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::authorization::Authorization;
use crate::model::identity::{DEFAULT_TRUST_DOMAIN, TrustDomain};
use crate::model::peer_authentication::Labels;
use crate::model::policy_object::{PeerObject, PolicyObject};
use crate::model::service::Service;
use crate::model::workload::Workload;

/// One change of the mesh. Updates of one batch may come in any order; each costs what it touches, never the whole.
#[derive(Debug, Clone)]
pub enum MeshUpdate {
    Workload(Box<Workload>),
    Service(Box<Service>),
    /// A workload's uid or a service's `namespace/hostname`: removals name no kind.
    RemoveAddress(Arc<str>),
    /// What Kubernetes says of the labels of a workload's pod, by the workload's uid; none: nothing any more.
    PodLabels(Arc<str>, Labels),
    Authorization(Box<Authorization>),
    /// `namespace/name`.
    RemoveAuthorization(Arc<str>),
    /// A policy as its author wrote it.
    PolicyObject(Box<PolicyObject>),
    /// `namespace/name`.
    RemovePolicyObject(Arc<str>),
    PeerObject(Box<PeerObject>),
    /// `namespace/name`.
    RemovePeerObject(Arc<str>),
    Settings(MeshSettings),
    /// Whether some `Sidecar` has an `outboundTrafficPolicy`, so that it is not the same for all pods.
    SidecarsDecideOutbound(bool),
}

/// What MeshConfig says about the whole mesh, and where this agent is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    pub trust_domain: TrustDomain,
    pub trust_domain_aliases: Vec<TrustDomain>,
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// The form of the access log of requests, where it is to be that of Istio's sidecars.
    pub access_log: Option<IstioAccessLog>,
    pub root_namespace: Arc<str>,
    /// Root certificates whose workloads count as this mesh's own, as PEM, one each.
    pub ca_certificates: Vec<Arc<str>>,
    /// The Istio network that this node's pods are in; the agent's own, MeshConfig does not say.
    pub network: Arc<str>,
}

impl Default for MeshSettings {
    /// MeshConfig's own defaults.
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::new(DEFAULT_TRUST_DOMAIN),
            trust_domain_aliases: Vec::new(),
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            access_log: None,
            root_namespace: "istio-system".into(),
            ca_certificates: Vec::new(),
            network: "".into(),
        }
    }
}

/// MeshConfig's `accessLogEncoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AccessLogEncoding {
    #[default]
    Text,
    Json,
}

/// Access lines as Istio's sidecars write them: where MeshConfig's `accessLogFile` names a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IstioAccessLog {
    /// `accessLogFormat`: a text with Envoy's command operators, or a JSON object of such texts. Empty: Istio's default.
    pub format: Arc<str>,
    pub encoding: AccessLogEncoding,
}

/// What to do with a destination that the mesh does not know (MeshConfig `outboundTrafficPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutboundTrafficPolicy {
    /// Pass it through untouched.
    #[default]
    AllowAny,
    RegistryOnly,
}

/// The addresses that changes were about.
#[derive(Debug, PartialEq, Eq)]
pub enum Touched {
    All,
    /// In no order; an address may be in it twice.
    Addresses(Vec<IpAddr>),
}

impl Default for Touched {
    fn default() -> Self {
        Self::Addresses(Vec::new())
    }
}

impl Touched {
    pub(super) fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        if let Self::Addresses(touched) = self {
            touched.extend(addresses);
        }
    }
}
