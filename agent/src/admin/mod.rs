//! The agent's HTTP endpoints: metrics, readiness, and the admin interface on loopback. They read; all that they can
//! change is the log filter and whether the process goes on.

mod config_dump;
mod logging;
mod reserve;
mod response;
mod routes;
mod server;
mod sources;
pub mod status;

pub use self::server::{AdminAddresses, AdminError, AdminServers};
pub use self::sources::{AdminSources, CertificateFacts, PodEntry};
pub use self::status::ControlPlaneStatus;

#[cfg(test)]
mod fixture;
