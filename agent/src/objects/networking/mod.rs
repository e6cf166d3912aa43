//! The kinds of `networking.istio.io`, services and workloads outside of Kubernetes' own objects, and Istio's MeshConfig.

pub(super) mod mesh_config;
pub(super) mod protobuf;
mod service_entry;
pub(super) mod service_entry_yaml;
pub(super) mod workload_entry;

pub use mesh_config::{CaCertificate, EntryVisibility, MeshConfig};
pub use service_entry::{Resolution, ServiceEntry, ServiceEntryPort};
pub use workload_entry::{WorkloadAddress, WorkloadEntry};
