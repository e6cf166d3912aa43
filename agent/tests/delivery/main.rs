//! From files to the agents' meshes: control plane and agents over real connections.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking; nobody depends on it")]

mod certificates;
mod files;
mod kit;
mod partial;
mod refusals;
mod routes;
mod streams;
