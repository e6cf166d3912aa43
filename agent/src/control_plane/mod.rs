//! `weir control-plane`: reads Istio objects from files, translates them into the workload API as istiod does, and serves them
//! by delta ADS, with a CA beside it. Also, without the server, the configuration of an agent that reads its own files.
//!
//! [`FileSource`] reads the objects and publishes a [`Snapshot`] whenever they change ([`translate`]). `discovery` sends
//! snapshots to agents, `certificate_service` signs certificates with the CA of [`authority`], and `node_tokens` says
//! which node a request comes from. `server` puts these together.

pub mod authority;
mod certificate_service;
mod config;
mod counters;
mod discovery;
mod file_source;
mod fingerprint;
mod node_tokens;
mod server;
mod snapshot;
pub mod translate;

pub use config::ControlPlaneConfig;
pub use counters::Counters;
pub use file_source::{FileSource, FileSourceOptions};
pub use server::{ControlPlane, run};
pub use snapshot::Snapshot;
