//! The mesh: workloads, services and policies, indexed for the questions the proxy asks.
//!
//! Every index answers from what is known now, whatever the order of updates that led there. An update of a workload, a
//! service or an authorization policy costs what it touches: its own addresses, services and ports, never the size of the
//! mesh. Only PeerAuthentications, of which a mesh has few, are gathered anew with each one that changes.

mod claims;
mod interner;
mod policies;
mod policy_objects;
mod services;
mod shards;
mod store;
#[cfg(test)]
mod tests;
mod update;
mod workloads;

pub use policy_objects::Listing;
pub(super) use services::VipKind;
pub use store::Mesh;
pub use update::{MeshSettings, MeshUpdate, OutboundTrafficPolicy};
