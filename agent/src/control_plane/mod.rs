//! The role `weir control-plane`: Istio objects to the workload API as istiod does it, served as delta ADS, with a CA.
//! [`FileSource`] alone is the delivery of an agent that reads its own files.

mod ads;
mod agent_stream;
mod auth;
pub mod authority;
mod ca_service;
mod changes;
mod config;
mod counters;
mod files;
mod server;
mod snapshot;
pub mod translate;

pub use auth::TokensError;
pub use config::ControlPlaneConfig;
pub use counters::{CounterValues, Counters};
pub use files::{FileSource, FileSourceError, FileSourceOptions};
pub use server::{ControlPlane, ControlPlaneError, run};
pub use snapshot::Snapshot;
