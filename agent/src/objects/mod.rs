//! Istio and Kubernetes objects as users write them, read from YAML files (`load`) or from the protobuf messages of ADS
//! (`protobuf`) into one checked struct per kind; errors name file, document, field path and reason.
//!
//! Every field is honoured, or known and reported as without effect, or an error: a field that is silently ignored may
//! have been meant to restrict something. One folder per API group; what reads any object is in `reading`.

mod gateway_api;
mod kind;
mod kubernetes;
mod labels;
mod load;
mod loaded;
mod metadata;
mod networking;
pub mod protobuf;
mod read;
mod reading;
mod security;
mod store;

#[cfg(test)]
mod tests;

pub use gateway_api::{AllowedNamespaces, Gateway, WaypointAddress};
pub use kind::Kind;
pub use kubernetes::{IpFamily, KubernetesPort, Pod, Service, TargetPort};
pub use labels::Labels;
pub use load::load;
pub use loaded::Loaded;
pub use metadata::Metadata;
pub use networking::{
    CaCertificate, EntryVisibility, MeshConfig, Resolution, ServiceEntry, ServiceEntryPort, WorkloadAddress,
    WorkloadEntry,
};
pub use reading::Problem;
pub use security::{
    AuthorizationPolicy, Condition, MtlsMode, Operation, PeerAuthentication, PolicyAction, PolicyTarget, Rule,
    ServiceAccountName, Source, Values,
};
pub use store::{Object, Objects, RejectedPolicy};
