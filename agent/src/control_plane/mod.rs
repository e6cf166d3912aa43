//! `weir control-plane`: reads Istio objects from files, translates them into the workload API as istiod does, and serves them
//! by delta ADS, with a CA beside it. Also, without the server, the configuration of an agent that reads its own files.
//!
//! [`FileSource`] reads the objects and publishes a [`Snapshot`] whenever they change ([`translate`]). `discovery` sends
//! snapshots to agents, `certificate_service` signs certificates with the CA of [`authority`], and `node_tokens` says
//! which node a request comes from. `server` puts these together.

pub mod authority;
mod authorizers;
mod certificate_service;
mod config;
mod counters;

mod discovery {
    //! The delta discovery service. `service` runs one task per agent; `stream` decides without I/O what an agent is
    //! sent and in which order, with a `subscription` per type.

    mod service;
    mod stream;
    mod subscription;
    #[cfg(test)]
    mod tests;

    pub(super) use service::DiscoveryService;
}

mod file_source;
mod fingerprint;
mod node_tokens;
mod server;
mod snapshot;
mod telemetry_defaults;

pub mod translate {
    //! Istio objects to the workload API, as istiod does it: pure functions, but for the allocated addresses.
    //! `translation` lists where Weir differs from istiod.

    mod authorization;
    mod context;
    mod endpoint_slice;
    mod fields;
    mod kubernetes_service;
    mod labels;
    mod peer_authentication;
    mod pod;
    mod policies;
    mod service;
    mod translation;
    mod vips;
    mod waypoint;
    mod workload;

    #[cfg(test)]
    mod tests;

    pub use context::Options;
    pub use translation::{Resources, translate};
    pub use vips::VipAllocations;
}

pub use config::ControlPlaneConfig;
pub use counters::Counters;
pub use file_source::{FileSource, FileSourceOptions, VIRTUAL_ADDRESSES_NAME};
pub use server::{ControlPlane, run};
pub use snapshot::Snapshot;
