//! The kinds of objects that users write and a control plane passes on as they are. Must not know what they say.

/// A kind of object, as istiod serves it on a node proxy's stream.
///
/// ServiceEntry and WorkloadEntry are left out on purpose: asked for them on such a stream, istiod 1.31 crashes. What
/// they say comes as workloads and services anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    VirtualService,
    DestinationRule,
    Gateway,
    Sidecar,
    EnvoyFilter,
    ProxyConfig,
    Telemetry,
    WasmPlugin,
    HttpRoute,
    GrpcRoute,
    KubernetesGateway,
    RateLimit,
}

impl ObjectKind {
    pub const COUNT: usize = 15;

    /// All of them: policies first, in the order of [`Self::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::AuthorizationPolicy,
        Self::PeerAuthentication,
        Self::RequestAuthentication,
        Self::VirtualService,
        Self::DestinationRule,
        Self::Gateway,
        Self::Sidecar,
        Self::EnvoyFilter,
        Self::ProxyConfig,
        Self::Telemetry,
        Self::WasmPlugin,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::KubernetesGateway,
        Self::RateLimit,
    ];

    /// Those that say where requests go and how, how many there may be, whose tokens count for them, and what is told of them.
    pub const HTTP: [Self; 8] = [
        Self::RequestAuthentication,
        Self::VirtualService,
        Self::DestinationRule,
        Self::Sidecar,
        Self::Telemetry,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::RateLimit,
    ];

    /// Position in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What requests and responses on a stream call it: group, version and kind.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "security.istio.io/v1/AuthorizationPolicy",
            Self::PeerAuthentication => "security.istio.io/v1/PeerAuthentication",
            Self::RequestAuthentication => "security.istio.io/v1/RequestAuthentication",
            Self::VirtualService => "networking.istio.io/v1/VirtualService",
            Self::DestinationRule => "networking.istio.io/v1/DestinationRule",
            Self::Gateway => "networking.istio.io/v1/Gateway",
            Self::Sidecar => "networking.istio.io/v1/Sidecar",
            Self::EnvoyFilter => "networking.istio.io/v1/EnvoyFilter",
            Self::ProxyConfig => "networking.istio.io/v1/ProxyConfig",
            Self::Telemetry => "telemetry.istio.io/v1/Telemetry",
            Self::WasmPlugin => "extensions.istio.io/v1alpha1/WasmPlugin",
            Self::HttpRoute => "gateway.networking.k8s.io/v1/HTTPRoute",
            Self::GrpcRoute => "gateway.networking.k8s.io/v1/GRPCRoute",
            Self::KubernetesGateway => "gateway.networking.k8s.io/v1/Gateway",
            Self::RateLimit => "weir.dev/v1alpha1/RateLimit",
        }
    }

    /// A short name for logs, metrics and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "authorization_policy",
            Self::PeerAuthentication => "peer_authentication",
            Self::RequestAuthentication => "request_authentication",
            Self::VirtualService => "virtual_service",
            Self::DestinationRule => "destination_rule",
            Self::Gateway => "gateway",
            Self::Sidecar => "sidecar",
            Self::EnvoyFilter => "envoy_filter",
            Self::ProxyConfig => "proxy_config",
            Self::Telemetry => "telemetry",
            Self::WasmPlugin => "wasm_plugin",
            Self::HttpRoute => "http_route",
            Self::GrpcRoute => "grpc_route",
            Self::KubernetesGateway => "kubernetes_gateway",
            Self::RateLimit => "rate_limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_index() {
        for (at, kind) in ObjectKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), at);
        }
    }

    #[test]
    fn what_crashes_istiod_is_never_asked_for() {
        for kind in ObjectKind::ALL {
            assert!(!kind.type_url().ends_with("Entry"), "{}", kind.type_url());
        }
    }
}
