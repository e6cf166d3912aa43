//! Who signs workload certificates: the [`Issuer`] trait, and an issuer with a CA key in this process ([`local`]). The one that
//! asks a CA over gRPC is `control_channel::GrpcIssuer`.

mod issuer;
pub mod local;
pub(crate) mod request;
#[cfg(test)]
mod tests;

pub use issuer::{IssueError, Issuer, SignError, Signing};
