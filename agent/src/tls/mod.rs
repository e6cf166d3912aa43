//! TLS: workload certificates and who issues them, the mTLS handshake between peers, and the records after it.
//!
//! Nothing here connects, resolves names or knows the mesh: a peer is known by its certificate alone. Only this room names
//! the crypto library. The channel to a control plane or CA is `control_channel`; what it needs of TLS is in [`server_auth`].
//! Servers outside of the mesh are known by the names of their certificates ([`origination`]).

pub mod ca {
    //! Who signs workload certificates: the [`Issuer`] trait, and an issuer with a CA key in this process ([`local`]).
    //! The one that asks a CA over gRPC is `control_channel::GrpcIssuer`.

    mod issuer;
    pub mod local;
    pub(crate) mod request;
    #[cfg(test)]
    mod tests;

    pub use issuer::{IssueError, Issuer, SignError, Signing};
}

mod certificate_info;

pub mod certificates {
    //! The workload certificates of this node, one per identity: fetched from a CA when first needed and renewed at
    //! half of their life, or read from files that somebody else renews.
    //!
    //! [`Certificates`] (`cache`) has one `slot` per identity, where connections read the certificate and wait for it.
    //! `rotation` is the task that fills a slot, by the times of `schedule`; `store` keeps keys over a restart,
    //! `ready_files` reads certificates that somebody else renews, [`trust_bundle`] says which other roots are
    //! trusted, and [`revocation`] which certificates are revoked.

    mod cache;
    mod options;
    mod ready_files;
    pub mod revocation;
    mod rotation;
    mod schedule;
    mod slot;
    mod store;
    #[cfg(test)]
    mod tests;
    pub mod trust_bundle;

    pub use cache::Certificates;
    pub use options::{CertificateEvent, CertificateOptions, CertificateSource, CertificateStatus, NoCertificate};
    pub use ready_files::ready_roots;
    pub use store::is_key_file;
}

mod destination_verifier;
pub mod handshake;
pub mod origination;
pub(crate) mod pem;
pub(crate) mod provider;
pub mod records;
mod revocation_lists;
pub mod server_auth;
#[cfg(test)]
pub(crate) mod test_mesh;
pub mod trust;
pub mod verify;
pub mod vouching;
mod workload_certificate;

pub use certificate_info::CertificateInfo;
pub use workload_certificate::WorkloadCertificate;
