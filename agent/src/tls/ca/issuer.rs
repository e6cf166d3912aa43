//! What an issuer of workload certificates is, and why it issues none.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use crate::model::identity::Identity;

/// The future answer of an [`Issuer`]: PEM texts, leaf first; the last one holds the roots.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, IssueError>> + Send + 'a>>;

/// Something that turns a signing request into a certificate.
pub trait Issuer: fmt::Debug + Send + Sync {
    /// Asks for a certificate of this identity. The answer is not trusted by the caller: key, identity and chain of
    /// what comes back are checked there.
    fn sign<'a>(&'a self, csr_pem: &'a str, identity: &'a Identity, lifetime: Duration) -> Signing<'a>;
}

/// Why a CA gave no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No connection to the CA came to be: whoever asks now gets no answer.
    #[error("{0}")]
    Unreachable(String),
    /// The CA did not do it this time. It says nothing about the identity, and nothing about requests for others.
    #[error("{0}")]
    Unavailable(String),
    /// The CA refuses, or cannot be asked as this agent is set up.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Signing(#[from] SignError),
}

/// Why a CA in this process does not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("request is not PEM: {0:?}")]
    Pem(rustls_pki_types::pem::Error),
    #[error("request is malformed")]
    Malformed,
    #[error("request is malformed or its signature is wrong")]
    Request(#[source] rcgen::Error),
    #[error("request's key must be ECDSA P-256, it is {0}")]
    KeyAlgorithm(String),
    #[error("request asks for the right to sign")]
    WantsToSign,
    #[error("request asks for {found}, only {identity} is granted")]
    ForeignName { found: String, identity: Identity },
    #[error("name cannot be written in a certificate")]
    Name(#[source] rcgen::Error),
    #[error("CA certificate has expired")]
    CaExpired,
    #[error("no randomness for a serial number")]
    Randomness,
    #[error("signing failed")]
    Signing(#[source] rcgen::Error),
}
