//! Istio and Kubernetes objects as users write them, read from YAML files (`load`) or from the protobuf messages of ADS
//! (`protobuf`) into one checked struct per kind; errors name file, document, field path and reason.
//!
//! Every field is honoured, or known and reported as without effect, or an error: a field that is silently ignored may
//! have been meant to restrict something. One folder per API group; what reads any object is in `reading`.

mod gateway_api {
    //! The kinds of `gateway.networking.k8s.io`: Gateway as a waypoint, and routes as they are attached to services.

    mod filters;
    pub(super) mod gateway;
    pub(super) mod grpc_route;
    pub(super) mod http_route;
    mod parent_hosts;
    mod route;

    pub use gateway::{AllowedNamespaces, Gateway, WaypointAddress};
    pub use parent_hosts::{PARENT_HOSTS, ParentHosts, hosts_of_parents};
    pub use route::{Backend, BackendMirror, GatewayRoute, GatewayRule, ServiceRef};
}

mod http_object;
mod kind;

mod kubernetes {
    //! Kubernetes' own kinds. Namespaces and Nodes count by their metadata alone.

    pub(super) mod endpoint_slice;
    pub(super) mod pod;
    pub(super) mod service;

    pub use endpoint_slice::{EndpointSlice, SERVICE_NAME_LABEL};
    pub use pod::Pod;
    pub use service::{IpFamily, KubernetesPort, Service, TargetPort};
}

mod labels;
mod load;
mod loaded;
mod metadata;

mod networking {
    //! The kinds of `networking.istio.io`: where requests go and how, services and workloads outside of Kubernetes' own
    //! objects, and Istio's MeshConfig.

    mod ca_certificates;
    mod connection_pool;
    mod destination;
    pub(super) mod destination_rule;
    mod http_actions;
    mod http_match;
    mod http_rule;
    mod load_balancer;
    mod locality;
    pub(super) mod mesh_config;
    mod mesh_traffic_policy;
    pub(super) mod protobuf;
    pub(super) mod proxy_config;
    pub(super) mod retries;
    mod service_entry;
    pub(super) mod service_entry_yaml;
    pub(super) mod sidecar;
    mod traffic_policy;
    pub(super) mod values;
    pub(super) mod virtual_service;
    pub(super) mod workload_entry;

    pub use ca_certificates::CaCertificate;
    pub use connection_pool::{ConnectionPool, H2Upgrade};
    pub use destination::{Destination, RouteDestination};
    pub use destination_rule::{DestinationRule, Subset};
    pub use http_actions::{Mirror, Rewrite};
    pub use http_match::HttpMatch;
    pub use http_rule::HttpRule;
    pub use mesh_config::{EntryVisibility, HttpDefaults, MeshConfig};
    pub use mesh_traffic_policy::MeshTrafficPolicy;
    pub use retries::{Retries, RetryConditions};
    pub use service_entry::{Resolution, ServiceEntry, ServiceEntryPort};
    pub use sidecar::{EgressHost, EgressListener, Sidecar};
    pub use traffic_policy::TrafficPolicy;
    pub use values::{ExportTo, HeaderChanges, HeaderOperations};
    pub use virtual_service::{MESH_GATEWAY, ROUTE_PARENTS, VirtualService, has_gateway_semantics};
    pub use workload_entry::{WorkloadAddress, WorkloadEntry};
}

pub mod protobuf;
mod read;

mod reading {
    //! What reads any object, whatever its kind: YAML to a tree of values, a map field by field, names and their rules, and
    //! what is found wrong.

    pub mod base64;
    mod fields;
    pub(super) mod names;
    mod place;
    mod problem;
    pub(super) mod yaml;

    pub(super) use fields::{Fields, Item};
    pub(super) use place::{Place, Text};
    pub(super) use problem::Report;
    pub use problem::{Problem, SourceLocation, UnknownValue};
}

mod security {
    //! The kinds of `security.istio.io`: who may connect to what, whether plaintext is accepted, and whose tokens count for requests.

    mod authorization_policy;
    mod condition;
    mod peer_authentication;
    pub(super) mod protobuf;
    pub(super) mod request_authentication;
    mod rule;
    mod unmatchable;
    mod values;
    pub(super) mod yaml;

    pub use authorization_policy::{AuthorizationPolicy, PolicyAction};
    pub use condition::Condition;
    pub use request_authentication::RequestAuthentication;
    pub use rule::{Operation, Rule, Source};
    pub use values::ServiceAccountName;

    pub use crate::model::authorization::Values;
    pub use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
    pub use crate::model::policy_object::PolicyTarget;
}

mod store;

mod telemetry {
    //! The kind of `telemetry.istio.io`, and MeshConfig's providers: what is told of requests and connections, and to whom.
    //! Structs are the model's own.

    pub(super) mod authorizers;
    mod metrics;
    pub(super) mod providers;
    pub(super) mod resource;
    mod selection;
    pub(super) mod tracing;
}

#[cfg(test)]
mod tests;

mod weir {
    //! The kind of `weir.dev`: how many requests pods are asked.

    mod global_limit;
    mod limit;
    pub(super) mod rate_limit;
    mod response;

    pub use limit::Limit;
    pub use rate_limit::{LimitTarget, RateLimit};
}

pub use gateway_api::{
    AllowedNamespaces, Backend, BackendMirror, Gateway, GatewayRoute, GatewayRule, PARENT_HOSTS, ParentHosts,
    ServiceRef, WaypointAddress, hosts_of_parents,
};
pub use http_object::{HttpObject, WrittenHttpObject};
pub use kind::Kind;
pub use kubernetes::{EndpointSlice, IpFamily, KubernetesPort, Pod, SERVICE_NAME_LABEL, Service, TargetPort};
pub use labels::Labels;
pub use load::load;
pub use loaded::Loaded;
pub use metadata::Metadata;
pub use networking::{
    CaCertificate, ConnectionPool, Destination, DestinationRule, EgressHost, EgressListener, EntryVisibility, ExportTo,
    H2Upgrade, HeaderOperations, HttpDefaults, HttpMatch, HttpRule, MESH_GATEWAY, MeshConfig, MeshTrafficPolicy,
    Mirror, ROUTE_PARENTS, Resolution, Retries, RetryConditions, Rewrite, RouteDestination, ServiceEntry,
    ServiceEntryPort, Sidecar, Subset, TrafficPolicy, VirtualService, WorkloadAddress, WorkloadEntry,
    has_gateway_semantics,
};
pub use reading::{Problem, base64};
pub use security::{
    AuthorizationPolicy, Condition, MtlsMode, Operation, PeerAuthentication, PolicyAction, PolicyTarget, Rule,
    ServiceAccountName, Source, Values,
};
pub use store::{Object, Objects, RejectedPolicy};
pub use weir::{Limit, LimitTarget, RateLimit};
