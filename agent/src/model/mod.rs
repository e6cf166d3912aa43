//! What the mesh is, and every decision about it. Pure: no tokio, no I/O, no wire types; time and randomness are parameters.
//!
//! The shape is that of Istio's workload API: workloads and services, joined by ports, and L4 authorization policies.

pub mod address;
pub mod authorization;
pub mod balance;
pub mod identity;
pub mod mesh;
pub mod naming;
pub mod peer_authentication;
pub mod pod;
pub mod policy_object;
pub mod resolve;
#[cfg(test)]
mod sample;
pub mod service;
pub mod serving;
pub mod shared;
pub mod workload;
