//! Where an outbound connection goes: from a source workload and the address it asked for to an [`Upstream`].
//!
//! `destination` says which service or workload an address means, `endpoint` which endpoint serves the connection and over
//! which transport.

mod destination;
mod endpoint;
#[cfg(test)]
mod tests;
mod upstream;

pub use upstream::{Transport, Unresolved, Upstream};
