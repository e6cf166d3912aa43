//! Which endpoint of a service serves the next connection.
//!
//! Health, the port, the modes STRICT and FAILOVER with their scopes, and capacity weights decide. A change of one
//! endpoint and a pick both cost O(log n). What a pick needs is built the first time a source of a certain place asks
//! for a port, and kept up to date from then on: an agent's sources all live on one node, so such views are few.

mod endpoints;
#[cfg(test)]
mod tests;
mod view;
mod weights;

pub(super) use endpoints::{ByUid, Endpoints};
pub(super) use view::Asked;
