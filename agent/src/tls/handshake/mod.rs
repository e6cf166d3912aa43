//! The mTLS handshake of HBONE, both sides: TLS 1.3, ALPN `h2`, certificates on both sides, no SNI, no resumption.
//!
//! It takes as long as the peer takes: the bound is the caller's, who maps its expiry to [`HandshakeError::Timeout`].
//! In TLS 1.3 a client is done before the server has judged the client's certificate: a refusal by the server reaches
//! the client as an error of its first read.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use super::verify::TrustedDomains;
use super::verify::{PeerRefused, identity_of};
use super::workload_certificate::{ALPN, WorkloadCertificate};
use crate::model::identity::Identity;

/// An encrypted connection to an HBONE peer, and who the peer proved to be: its own name, aliases not mapped.
#[derive(Debug)]
pub struct Secured<S> {
    pub stream: S,
    pub peer: Identity,
}

/// Why a handshake failed, in the words that the log and the metrics use.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("peer's certificate is refused: {0}")]
    PeerRefused(PeerRefused),
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("peer did not finish the handshake in time")]
    Timeout,
}

impl HandshakeError {
    fn from_io(error: io::Error) -> Self {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match rustls.and_then(PeerRefused::from_rustls) {
            Some(refused) => Self::PeerRefused(refused),
            None => Self::Tls(error),
        }
    }
}

/// Handshakes as the client. The peer must carry one of the expected identities; with none expected, no peer is right.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    own: &WorkloadCertificate,
    tcp: S,
    expected: &[Identity],
    trusted: &TrustedDomains,
) -> Result<Secured<client::TlsStream<S>>, HandshakeError> {
    let connector = TlsConnector::from(own.client_config(expected, trusted));
    // A name must be given; this one is never sent, and nothing is compared with it.
    let no_name = ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let stream = connector.connect(no_name, tcp).await.map_err(HandshakeError::from_io)?;
    let peer = peer_of(stream.get_ref().1)?;
    Ok(Secured { stream, peer })
}

/// Handshakes as the server. The peer must carry an identity of a trusted domain.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    own: &WorkloadCertificate,
    tcp: S,
    trusted: &TrustedDomains,
) -> Result<Secured<server::TlsStream<S>>, HandshakeError> {
    let acceptor = TlsAcceptor::from(own.server_config(trusted));
    let stream = acceptor.accept(tcp).await.map_err(HandshakeError::from_io)?;
    let peer = peer_of(stream.get_ref().1)?;
    Ok(Secured { stream, peer })
}

/// The verified peer of a finished handshake. A peer that offered no protocol at all ends here.
fn peer_of(connection: &rustls::CommonState) -> Result<Identity, HandshakeError> {
    if connection.alpn_protocol() != Some(ALPN) {
        let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::NoApplicationProtocol);
        return Err(HandshakeError::Tls(error));
    }
    let leaf: &CertificateDer<'_> = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .ok_or(HandshakeError::PeerRefused(PeerRefused::NoCertificate))?;
    identity_of(leaf).map_err(HandshakeError::PeerRefused)
}
