//! The kinds of objects: which are acted on, which are known, in which versions.

use std::fmt;

use crate::resources::ObjectKind;

/// A kind that is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    MeshConfig,
    Namespace,
    Node,
    Gateway,
    Service,
    EndpointSlice,
    Pod,
    ServiceEntry,
    WorkloadEntry,
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    VirtualService,
    DestinationRule,
    HttpRoute,
    GrpcRoute,
    Sidecar,
    Telemetry,
    RateLimit,
}

impl Kind {
    /// Those that say where requests go and how, how many there may be, whose tokens count for them, and what is told of them.
    const HTTP: [Self; 8] = [
        Self::VirtualService,
        Self::DestinationRule,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::Sidecar,
        Self::Telemetry,
        Self::RateLimit,
        Self::RequestAuthentication,
    ];

    /// True for kinds that live in no namespace.
    #[must_use]
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::MeshConfig | Self::Namespace | Self::Node)
    }

    /// What the kind is called where objects travel as they were written; `None` for kinds that do not.
    #[must_use]
    pub fn object_kind(self) -> Option<ObjectKind> {
        Some(match self {
            Self::VirtualService => ObjectKind::VirtualService,
            Self::DestinationRule => ObjectKind::DestinationRule,
            Self::HttpRoute => ObjectKind::HttpRoute,
            Self::GrpcRoute => ObjectKind::GrpcRoute,
            Self::Sidecar => ObjectKind::Sidecar,
            Self::Telemetry => ObjectKind::Telemetry,
            Self::RateLimit => ObjectKind::RateLimit,
            Self::RequestAuthentication => ObjectKind::RequestAuthentication,
            _ => return None,
        })
    }

    /// The kind that is about requests and travels under this name.
    #[must_use]
    pub fn of_http(kind: ObjectKind) -> Option<Self> {
        Self::HTTP.into_iter().find(|known| known.object_kind() == Some(kind))
    }

    /// True for kinds whose loss would open something: an invalid one must deny, not vanish.
    #[must_use]
    pub fn is_policy(self) -> bool {
        matches!(self, Self::AuthorizationPolicy | Self::PeerAuthentication | Self::RequestAuthentication)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MeshConfig => "MeshConfig",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Gateway => "Gateway",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::Sidecar => "Sidecar",
            Self::Telemetry => "Telemetry",
            Self::RateLimit => "RateLimit",
        })
    }
}

/// What an apiVersion and kind stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recognised {
    ActedOn(Kind),
    /// A kind that is acted on, in a version that is not; and why.
    WrongVersion(Kind, String),
    /// A ConfigMap, which may hold the mesh's configuration.
    ConfigMap,
    /// A list of objects, as `kubectl get -o yaml` prints it.
    List,
    /// A kind that is fine to have in a folder and has no effect yet.
    NotActedOn,
    Unknown(String),
}

const ISTIO_VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];
const NETWORKING: [&str; 4] = ["Gateway", "EnvoyFilter", "ProxyConfig", "WorkloadGroup"];
/// Groups whose objects a user's folder may hold next to the mesh's.
const OTHER_GROUPS: [&str; 11] = [
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "inference.networking.k8s.io",
    "extensions.istio.io",
    "apps",
    "batch",
    "policy",
    "autoscaling",
    "rbac.authorization.k8s.io",
    "networking.k8s.io",
    "discovery.k8s.io",
];
const CORE: [&str; 7] = [
    "Endpoints",
    "ServiceAccount",
    "Secret",
    "ReplicationController",
    "PersistentVolumeClaim",
    "LimitRange",
    "ResourceQuota",
];

/// Looks a kind up.
pub(super) fn recognise(api_version: &str, kind: &str) -> Recognised {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let acted_on = match (group, kind) {
        ("networking.istio.io", "ServiceEntry") => Kind::ServiceEntry,
        ("networking.istio.io", "WorkloadEntry") => Kind::WorkloadEntry,
        ("networking.istio.io", "VirtualService") => Kind::VirtualService,
        ("networking.istio.io", "DestinationRule") => Kind::DestinationRule,
        ("networking.istio.io", "Sidecar") => Kind::Sidecar,
        // A policy without apiVersion is a policy all the same: it must deny.
        ("security.istio.io", "AuthorizationPolicy") | ("", "AuthorizationPolicy") => Kind::AuthorizationPolicy,
        ("security.istio.io", "PeerAuthentication") | ("", "PeerAuthentication") => Kind::PeerAuthentication,
        ("security.istio.io", "RequestAuthentication") | ("", "RequestAuthentication") => Kind::RequestAuthentication,
        ("telemetry.istio.io", "Telemetry") if matches!(version, "v1" | "v1alpha1") => {
            return Recognised::ActedOn(Kind::Telemetry);
        }
        ("weir.dev", "RateLimit") => {
            if version == "v1alpha1" {
                return Recognised::ActedOn(Kind::RateLimit);
            }
            let reason = format!("unknown apiVersion {api_version:?} of {kind}: use weir.dev/v1alpha1");
            return Recognised::WrongVersion(Kind::RateLimit, reason);
        }
        ("mesh.istio.io", "MeshConfig") if version == "v1alpha1" => return Recognised::ActedOn(Kind::MeshConfig),
        ("gateway.networking.k8s.io", "Gateway") if matches!(version, "v1" | "v1beta1") => {
            return Recognised::ActedOn(Kind::Gateway);
        }
        ("gateway.networking.k8s.io", "HTTPRoute") if matches!(version, "v1" | "v1beta1") => {
            return Recognised::ActedOn(Kind::HttpRoute);
        }
        ("gateway.networking.k8s.io", "GRPCRoute") if version == "v1" => return Recognised::ActedOn(Kind::GrpcRoute),
        ("discovery.k8s.io", "EndpointSlice") if version == "v1" => return Recognised::ActedOn(Kind::EndpointSlice),
        ("", "Namespace") if version == "v1" => return Recognised::ActedOn(Kind::Namespace),
        ("", "Node") if version == "v1" => return Recognised::ActedOn(Kind::Node),
        ("", "Service") if version == "v1" => return Recognised::ActedOn(Kind::Service),
        ("", "Pod") if version == "v1" => return Recognised::ActedOn(Kind::Pod),
        ("", "ConfigMap") if version == "v1" => return Recognised::ConfigMap,
        ("", "List") if version == "v1" => return Recognised::List,
        _ => return recognise_other(group, version, kind),
    };
    if !group.is_empty() && ISTIO_VERSIONS.contains(&version) {
        return Recognised::ActedOn(acted_on);
    }
    let group = if acted_on.is_policy() { "security.istio.io" } else { "networking.istio.io" };
    Recognised::WrongVersion(acted_on, format!("unknown apiVersion {api_version:?} of {kind}: use {group}/v1"))
}

fn recognise_other(group: &str, version: &str, kind: &str) -> Recognised {
    let known = match group {
        "networking.istio.io" => NETWORKING.contains(&kind),
        "" => version == "v1" && CORE.contains(&kind),
        other => OTHER_GROUPS.contains(&other),
    };
    if known {
        return Recognised::NotActedOn;
    }
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Recognised::Unknown(format!("unknown kind {kind:?} of {api_version:?}: check the spelling, or move it elsewhere"))
}
