//! The delta discovery service. `service` runs one task per agent; `stream` decides without I/O what an agent is sent and in
//! which order, with a `subscription` per type.

mod service;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;

pub(super) use service::DiscoveryService;
