//! What fails around an agent, and what that does to connections: the network and other nodes, the node's clock, the
//! certificate authority, the node's disk and descriptors, a successor that says nothing.

use crate::harness::Case;

mod certificate_authority;
mod clock;
mod connections;
mod network;
mod resources;
mod standstill;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [network::CASES, certificate_authority::CASES, resources::CASES, standstill::CASES, clock::CASES].concat()
}
