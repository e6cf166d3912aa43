//! The mTLS handshake of HBONE, both sides: TLS 1.3, ALPN `h2`, certificates on both sides, no SNI, no resumption.
//!
//! There is no time limit here: the caller bounds the handshake and reports the expiry as [`HandshakeError::Timeout`].
//! In TLS 1.3 a client is done before the server has judged the client's certificate: a refusal by the server reaches
//! the client as an alert in its first record.

mod exchange;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate_info::CertificateInfo;
use super::provider::ALPN;
use super::records::{RecordError, RecordLayer};
use super::trust::{LivePeer, PeerRole, Shown};
pub use super::verify::TrustedDomains;
use super::verify::{PeerRefused, identity_of};
use super::workload_certificate::WorkloadCertificate;
use crate::model::identity::Identity;

/// A connection to an HBONE peer with the keys agreed on, and who the peer proved to be: its own name, aliases not
/// mapped.
#[derive(Debug)]
pub struct Secured<S> {
    pub stream: S,
    pub records: RecordLayer,
    /// What came with the end of the handshake, still sealed: read before the stream.
    pub received: Vec<u8>,
    pub peer: Identity,
    /// When the certificate expires that the peer has shown.
    pub peer_expires: SystemTime,
    /// SHA-256 of that certificate, in DER.
    pub peer_hash: CertificateHash,
    /// Tells when the peer would no longer be accepted.
    pub live: LivePeer,
}

/// SHA-256 of a certificate in DER.
pub type CertificateHash = [u8; SHA256_OUTPUT_LEN];

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

    fn from_rustls(error: rustls::Error) -> Self {
        Self::from_io(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn from_records(error: RecordError) -> Self {
        Self::Tls(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Handshakes as the client. The peer must carry one of the expected identities; with none expected, no peer is right.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    own: &WorkloadCertificate,
    mut stream: S,
    expected: &[Identity],
    trusted: &TrustedDomains,
) -> Result<Secured<S>, HandshakeError> {
    // A name must be given; this one is never sent, and nothing is compared with it.
    let no_name = ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let version = own.trust.version();
    let config = own.client_config(expected, trusted);
    let mut side = UnbufferedClientConnection::new(config, no_name).map_err(HandshakeError::from_rustls)?;
    let received = exchange::complete(&mut stream, &mut side).await.map_err(HandshakeError::from_io)?;
    let (peer, peer_expires, peer_hash) = peer_of(&side)?;
    let live = own.trust.track(shown(own, &side, PeerRole::Server), version);
    let (secrets, kernel) = side.dangerous_into_kernel_connection().map_err(HandshakeError::from_rustls)?;
    let records = RecordLayer::client(secrets, kernel).map_err(HandshakeError::from_records)?;
    Ok(Secured { stream, records, received, peer, peer_expires, peer_hash, live })
}

/// Handshakes as the server. The peer must carry an identity of a trusted domain.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    own: &WorkloadCertificate,
    mut stream: S,
    trusted: &TrustedDomains,
) -> Result<Secured<S>, HandshakeError> {
    let version = own.trust.version();
    let config = own.server_config(trusted);
    let mut side = UnbufferedServerConnection::new(config).map_err(HandshakeError::from_rustls)?;
    let received = exchange::complete(&mut stream, &mut side).await.map_err(HandshakeError::from_io)?;
    let (peer, peer_expires, peer_hash) = peer_of(&side)?;
    let live = own.trust.track(shown(own, &side, PeerRole::Client), version);
    let (secrets, kernel) = side.dangerous_into_kernel_connection().map_err(HandshakeError::from_rustls)?;
    let records = RecordLayer::server(secrets, kernel).map_err(HandshakeError::from_records)?;
    Ok(Secured { stream, records, received, peer, peer_expires, peer_hash, live })
}

/// What the peer of a finished handshake has shown.
fn shown(own: &WorkloadCertificate, connection: &rustls::CommonState, role: PeerRole) -> Shown {
    let chain = connection.peer_certificates().unwrap_or_default();
    Shown { own: own.identity.clone(), role, chain: chain.iter().map(|one| one.clone().into_owned()).collect() }
}

/// The verified peer of a finished handshake, when its certificate expires, and the certificate's hash. A peer that offered no
/// protocol at all ends here.
fn peer_of(connection: &rustls::CommonState) -> Result<(Identity, SystemTime, CertificateHash), HandshakeError> {
    if connection.alpn_protocol() != Some(ALPN) {
        let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::NoApplicationProtocol);
        return Err(HandshakeError::Tls(error));
    }
    let leaf: &CertificateDer<'_> = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .ok_or(HandshakeError::PeerRefused(PeerRefused::NoCertificate))?;
    let identity = identity_of(leaf).map_err(HandshakeError::PeerRefused)?;
    let malformed = |_| HandshakeError::PeerRefused(PeerRefused::Malformed(webpki::Error::BadDer));
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(malformed)?;
    Ok((identity, CertificateInfo::new(&parsed).not_after, hash_of(leaf)))
}

/// SHA-256 of a certificate.
pub(super) fn hash_of(certificate: &CertificateDer<'_>) -> CertificateHash {
    let mut hash = CertificateHash::default();
    hash.copy_from_slice(digest(&SHA256, certificate).as_ref());
    hash
}
