//! What compiled objects hand to the routing model, before anything is decided between them.

use std::sync::Arc;

use super::destination::{ConnectionPool, LoadBalancer, OutlierDetection, RetryBudget, UpstreamTls};
use super::policies::RetryPolicy;
use super::proxy_headers::ProxyHeaders;
use super::route::{Origin, Route, Semantics};
use super::scope::SidecarScope;
use super::visibility::{ExportTo, HostPattern};
use crate::model::authentication::AuthenticationConfig;
use crate::model::peer_authentication::Labels;
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::telemetry::config::TelemetryConfig;

/// Everything that decides about requests.
#[derive(Debug, Clone, Default)]
pub struct HttpObjects {
    /// Oldest first, then by name, then by namespace. Shared, so that a change of one object copies no other.
    pub routes: Vec<Arc<RouteObject>>,
    /// In the same order.
    pub destination_rules: Vec<Arc<DestinationRuleObject>>,
    /// In the same order.
    pub scopes: Vec<SidecarScope>,
    pub root_namespace: Arc<str>,
    /// Where a rule of a VirtualService says nothing, and for services without any rule. `None`: no retries.
    pub default_retry: Option<RetryPolicy>,
    /// `MeshConfig.defaultTrafficPolicy` and `connectTimeout`: the blocks that a DestinationRule leaves out.
    pub default_policy: TrafficPolicy,
    pub path_normalization: PathNormalization,
    /// What is told of requests, and of connections without any.
    pub telemetry: Arc<TelemetryConfig>,
    /// How many requests pods are asked.
    pub rate_limits: Arc<RateLimitConfig>,
    /// Whose tokens count for requests.
    pub authentication: Arc<AuthenticationConfig>,
    pub proxy_headers: ProxyHeaders,
}

/// A VirtualService with its delegates, or an HTTPRoute or GRPCRoute towards one of its parents.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteObject {
    /// `rule` does not count.
    pub origin: Origin,
    pub semantics: Semantics,
    pub hosts: Vec<HostPattern>,
    /// Of a route of the Gateway API: the namespace of the parent service. Its routes are for all clients where it is the
    /// route's own namespace (producer), else for clients of the route's namespace (consumer). `None`: the namespace of
    /// whatever service has the host.
    pub parent_namespace: Option<Arc<str>>,
    /// Of a route of the Gateway API: the parent's port, where the reference has one. Routes of objects that agree in
    /// namespace, host and port are merged in the order of the Gateway API.
    pub parent_port: Option<u16>,
    /// Does not count for routes of the Gateway API.
    pub exported_to: ExportTo,
    /// In the order of the object's rules and matches. Routes that no pod can use (only for gateways) are left out.
    pub routes: Vec<Arc<Route>>,
}

/// A DestinationRule.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRuleObject {
    pub origin: Origin,
    pub host: HostPattern,
    pub exported_to: ExportTo,
    /// Only for these pods, which are of its own namespace.
    pub selector: Option<Labels>,
    pub policy: Option<PortPolicies>,
    pub subsets: Vec<SubsetObject>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SubsetObject {
    pub name: Arc<str>,
    pub labels: Labels,
    pub policy: Option<PortPolicies>,
}

/// A `trafficPolicy` with its `portLevelSettings`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PortPolicies {
    pub policy: TrafficPolicy,
    /// By port of the service.
    pub ports: Vec<(u16, TrafficPolicy)>,
}

/// The blocks of a `trafficPolicy`. What is `None` is not in the object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrafficPolicy {
    pub load_balancer: Option<LoadBalancer>,
    pub pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<UpstreamTls>,
    pub retry_budget: Option<RetryBudget>,
}

/// `MeshConfig.pathNormalization`. What the routes match is what the upstream gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathNormalization {
    None,
    /// RFC 3986 §6: percent-encoded unreserved characters are decoded, `.` and `..` resolved, `\` is `/`.
    #[default]
    Base,
    /// Also, `//` becomes `/`.
    MergeSlashes,
    /// Also, `%2F` and `%5C` become `/` before that.
    DecodeAndMergeSlashes,
}
