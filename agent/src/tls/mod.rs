//! TLS: workload certificates and who issues them, the mTLS handshake between peers, and the records after it.
//!
//! Nothing here connects, resolves names or knows the mesh: a peer is known by its certificate alone. Only this room names
//! the crypto library. The channel to a control plane or CA is `control_channel`; what it needs of TLS is in [`server_auth`].

pub mod ca;
mod certificate_info;
pub mod certificates;
pub mod handshake;
pub(crate) mod pem;
pub(crate) mod provider;
pub mod records;
pub mod server_auth;
#[cfg(test)]
pub(crate) mod test_mesh;
pub mod verify;
mod workload_certificate;

pub use certificate_info::CertificateInfo;
