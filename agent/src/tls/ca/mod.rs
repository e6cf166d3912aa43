//! Who signs workload certificates: a CA over gRPC, or a CA key in this process.

pub mod grpc;
pub mod local;
pub(super) mod request;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use local::SignError;

use crate::model::identity::Identity;

/// The answer of an [`Issuer`] to come: PEM texts, leaf first; the last one holds the roots.
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
    #[error("cannot read the token {path}")]
    Token { path: PathBuf, source: io::Error },
    #[error("token {path} is empty or not printable")]
    TokenText { path: PathBuf },
    #[error("cluster id {0:?} cannot be sent in a header")]
    ClusterId(String),
    #[error("certificate authority answered {code:?}: {message}")]
    Rpc { code: tonic::Code, message: String },
    #[error(transparent)]
    Signing(#[from] SignError),
}
