//! Who the peer is: chain, validity, SPIFFE id and trust domain of its certificate.

use crate::model::identity::Identity;

/// Why a peer's certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    #[error("it presented no certificate")]
    NoCertificate,
    #[error("it expired or is not valid yet")]
    Expired,
    #[error("it is not signed by a trusted root")]
    UnknownIssuer,
    #[error("it carries no SPIFFE id of Istio's form")]
    NoIdentity,
    #[error("trust domain of {0} is not trusted")]
    WrongTrustDomain(Identity),
    #[error("it carries {found}, expected {expected}")]
    WrongIdentity { found: Identity, expected: String },
    #[error("{0}")]
    Other(String),
}

impl PeerRefused {
    /// The value of the metric's `reason` label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NoIdentity => "no_identity",
            Self::WrongTrustDomain(_) => "wrong_trust_domain",
            Self::WrongIdentity { .. } => "wrong_identity",
            Self::Other(_) => "other",
        }
    }
}
