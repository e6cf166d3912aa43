//! The mTLS handshake of HBONE, both sides: TLS 1.3, ALPN `h2`, certificates on both sides, no SNI.

use tokio::net::TcpStream;

use super::certificates::WorkloadCertificate;
use crate::model::identity::{Identity, TrustDomain};

/// The trust domains whose identities this mesh accepts: its own and its aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedDomains(pub Vec<TrustDomain>);

/// An encrypted connection to an HBONE peer, and who the peer proved to be.
#[derive(Debug)]
pub struct Secured<S> {
    pub stream: S,
    pub peer: Identity,
}

/// Why a handshake failed, in the words that the log and the metrics use.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("peer's certificate is refused: {0}")]
    PeerRefused(super::verify::PeerRefused),
    #[error("TLS: {0}")]
    Tls(#[source] std::io::Error),
    #[error("peer did not finish the handshake in time")]
    Timeout,
}

/// Handshakes as the client. The peer must carry one of the expected identities.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn connect(
    _own: &WorkloadCertificate,
    _tcp: TcpStream,
    _expected: &[Identity],
    _trusted: &TrustedDomains,
) -> Result<Secured<tokio_rustls::client::TlsStream<TcpStream>>, HandshakeError> {
    unimplemented!()
}

/// Handshakes as the server. The peer must carry an identity of a trusted domain.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn accept(
    _own: &WorkloadCertificate,
    _tcp: TcpStream,
    _trusted: &TrustedDomains,
) -> Result<Secured<tokio_rustls::server::TlsStream<TcpStream>>, HandshakeError> {
    unimplemented!()
}
