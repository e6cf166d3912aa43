//! From encoded resources to the model. Every field is checked here, so that nothing inside ever meets a malformed one;
//! an error names the field. What a bad resource means for the mesh is decided by the caller, not here.

mod authorization;
mod fields;
mod malformed;
mod object;
mod resource;
mod service;
#[cfg(test)]
mod tests;
mod workload;

pub(super) use authorization::{authorization, denying};
pub(super) use malformed::Flaw;
pub use malformed::Malformed;
pub(super) use object::{denying_policy, envelope, peer_object, policy_object, spec, strict_peer};
pub use resource::address;
pub(super) use resource::settings;
