//! The data path of enrolled pods: outbound connections, inbound ones, and how their bytes move.
//!
//! It resolves destinations in the mesh, asks policy for permits, and moves bytes; it decides nothing about policy by
//! itself. HBONE, which most of its connections travel on, has a room of its own.

mod budget;
mod certificates;
pub mod connector;
mod hbone_probes;
mod inbound;
mod listener;
mod node;
mod origin;
mod outbound;
mod pod;
mod revocation;
mod serve;
mod splice;
pub mod workers;

pub use self::node::{NodeInfo, Proxy, ProxyParts, Timeouts};
pub use crate::hbone::PoolOptions;
