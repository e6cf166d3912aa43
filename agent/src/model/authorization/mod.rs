//! L4 authorization with Istio's semantics: what a policy is (`policy`), whether one matches a connection (`matching`), and
//! the decision over all policies in force (`decide`), which alone makes a [`Permit`].
//!
//! Which policies are in force for a workload is looked up in the index of `mesh::policies`.

mod decide;
mod matching;
mod policy;
mod request;
#[cfg(test)]
mod tests;

pub(super) use decide::decide;
pub use decide::{Denied, DryRun, Permit, Verdict};
pub use policy::{Action, Authorization, Clause, Group, Match, PolicyScope, ServiceAccountMatch, StringMatch};
pub(super) use request::InForce;
pub use request::{AccessRequest, Destination};
