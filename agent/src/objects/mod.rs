//! Istio and Kubernetes objects as users write them, read from YAML files (`load`) or from the protobuf messages of ADS
//! (`protobuf`) into one checked struct per kind; errors name file, document, field path and reason.
//!
//! Every field is honoured, or known and reported as without effect, or an error: a field that is silently ignored may
//! have been meant to restrict something. One folder per API group; what reads any object is in `reading`.

mod gateway_api;
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
    //! The kinds of `networking.istio.io`, services and workloads outside of Kubernetes' own objects, and Istio's
    //! MeshConfig.

    pub(super) mod mesh_config;
    pub(super) mod protobuf;
    mod service_entry;
    pub(super) mod service_entry_yaml;
    pub(super) mod workload_entry;

    pub use mesh_config::{CaCertificate, EntryVisibility, MeshConfig};
    pub use service_entry::{Resolution, ServiceEntry, ServiceEntryPort};
    pub use workload_entry::{WorkloadAddress, WorkloadEntry};
}

pub mod protobuf;
mod read;

mod reading {
    //! What reads any object, whatever its kind: YAML to a tree of values, a map field by field, names and their rules, and
    //! what is found wrong.

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
    //! The kinds of `security.istio.io`: who may connect to what, and whether plaintext is accepted.

    mod authorization_policy;
    mod condition;
    mod peer_authentication;
    pub(super) mod protobuf;
    mod rule;
    mod values;
    pub(super) mod yaml;

    pub use authorization_policy::{AuthorizationPolicy, PolicyAction};
    pub use condition::Condition;
    pub use rule::{Operation, Rule, Source};
    pub use values::{ServiceAccountName, Values};

    pub use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
    pub use crate::model::policy_object::PolicyTarget;
}

mod store;

#[cfg(test)]
mod tests;

pub use gateway_api::{AllowedNamespaces, Gateway, WaypointAddress};
pub use kind::Kind;
pub use kubernetes::{EndpointSlice, IpFamily, KubernetesPort, Pod, SERVICE_NAME_LABEL, Service, TargetPort};
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
