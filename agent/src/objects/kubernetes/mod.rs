//! Kubernetes' own kinds. Namespaces and Nodes count by their metadata alone.

pub(super) mod pod;
pub(super) mod service;

pub use pod::Pod;
pub use service::{IpFamily, KubernetesPort, Service, TargetPort};
