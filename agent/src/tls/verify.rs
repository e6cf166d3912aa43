//! Who the peer is: chain, validity, SPIFFE id and trust domain of its certificate.
//! Names and addresses play no part: a peer is its certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::revocation_lists;
use super::trust::{Revocation, Trust};
use crate::model::identity::{Identity, TrustDomain};

/// Why a peer's certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    #[error("it presented no certificate")]
    NoCertificate,
    #[error("it expired or is not valid yet")]
    Expired,
    #[error("it is revoked")]
    Revoked,
    #[error("revocation lists cannot be read, so it may be revoked")]
    RevocationUnknown,
    #[error("it is not signed by a trusted root")]
    UnknownIssuer,
    #[error("it carries no SPIFFE id of Istio's form, or more than one URI")]
    NoIdentity,
    #[error("trust domain of {0} is not trusted")]
    WrongTrustDomain(Identity),
    #[error("it carries {found}, expected {expected}")]
    WrongIdentity { found: Identity, expected: String },
    #[error("it may not be used for this side of a TLS connection")]
    WrongPurpose,
    #[error("peer did not prove that it holds the key")]
    KeyNotProven,
    #[error("it is malformed: {0}")]
    Malformed(webpki::Error),
}

impl PeerRefused {
    /// The value of the metric's `reason` label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NoIdentity => "no_identity",
            Self::WrongTrustDomain(_) => "wrong_trust_domain",
            Self::WrongIdentity { .. } => "wrong_identity",
            Self::WrongPurpose => "wrong_purpose",
            Self::KeyNotProven => "key_not_proven",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether the certificate is revoked, or nobody knows that it is not.
    pub(super) fn is_about_revocation(&self) -> bool {
        matches!(self, Self::Revoked | Self::RevocationUnknown)
    }

    fn from_webpki(error: webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { .. }
            | webpki::Error::CertNotValidYet { .. }
            | webpki::Error::InvalidCertValidity => Self::Expired,
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Self::UnknownIssuer,
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::WrongPurpose,
            webpki::Error::CertRevoked => Self::Revoked,
            // A list that its issuer did not sign, or that cannot be applied: it says nothing that can be relied on.
            webpki::Error::InvalidCrlSignatureForPublicKey
            | webpki::Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | webpki::Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | webpki::Error::IssuerNotCrlSigner
            | webpki::Error::UnknownRevocationStatus => Self::RevocationUnknown,
            other => Self::Malformed(other),
        }
    }

    /// As rustls carries it. Plain variants where they exist, so that the peer gets an alert that says why.
    fn into_rustls(self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::Expired => CertificateError::Expired,
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::Revoked => CertificateError::Revoked,
            typed => CertificateError::Other(OtherError(Arc::new(typed))),
        })
    }

    /// The reason inside a failed handshake's error; `None` when it failed for something else than the certificate.
    pub(super) fn from_rustls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::NoCertificatesPresented => Some(Self::NoCertificate),
            rustls::Error::InvalidCertificate(CertificateError::Expired) => Some(Self::Expired),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(Self::UnknownIssuer),
            rustls::Error::InvalidCertificate(CertificateError::Revoked) => Some(Self::Revoked),
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(typed))) => {
                typed.downcast_ref::<Self>().cloned()
            }
            // The chain was judged by us before: what is left is the signature over the handshake.
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                Some(Self::KeyNotProven)
            }
            _ => None,
        }
    }
}

/// The trust domains whose identities this mesh accepts: its own first, then its aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedDomains(pub Vec<TrustDomain>);

impl TrustedDomains {
    fn trusts(&self, identity: &Identity) -> bool {
        self.0.contains(&identity.trust_domain)
    }

    /// Trust domain aliases name one mesh: identities of trusted domains are the same if namespace and service account are.
    #[must_use]
    pub fn same(&self, one: &Identity, other: &Identity) -> bool {
        one == other
            || (one.namespace == other.namespace
                && one.service_account == other.service_account
                && self.trusts(one)
                && self.trusts(other))
    }
}

/// The SPIFFE id of a certificate: its one and only URI name.
///
/// # Errors
/// [`PeerRefused::NoIdentity`] if it has none, several, or one that is not of Istio's form.
pub(super) fn identity_of(leaf: &CertificateDer<'_>) -> Result<Identity, PeerRefused> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| PeerRefused::Malformed(webpki::Error::BadDer))?;
    let names = parsed.subject_alternative_name().map_err(|_| PeerRefused::NoIdentity)?;
    let mut uri = None;
    for name in names.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::URI(text) if uri.is_none() => uri = Some(*text),
            // A second URI, or a name that cannot be read and might be one.
            GeneralName::URI(_) | GeneralName::Invalid(..) => return Err(PeerRefused::NoIdentity),
            _ => {}
        }
    }
    uri.and_then(|text| text.parse().ok()).ok_or(PeerRefused::NoIdentity)
}

/// What both sides check of a peer's certificate.
#[derive(Debug)]
pub(super) struct PeerChecks {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) trusted: TrustedDomains,
    /// Revocation lists count as they are at each check.
    pub(super) trust: Trust,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl PeerChecks {
    /// Chain up to a root at that time, purpose, revocation, identity, trust domain; the identity if all of it holds.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<Identity, PeerRefused> {
        let parsed = EndEntityCert::try_from(leaf).map_err(PeerRefused::from_webpki)?;
        let revocation = self.trust.revocation();
        let lists = match &*revocation {
            Revocation::None => Vec::new(),
            Revocation::Lists(lists) => lists.by_reference(),
            Revocation::Unknown => return Err(PeerRefused::RevocationUnknown),
        };
        let revocation = revocation_lists::options(&lists);
        parsed
            .verify_for_usage(self.algorithms.all, &self.roots.roots, intermediates, now, usage, revocation, None)
            .map_err(PeerRefused::from_webpki)?;
        let identity = identity_of(leaf)?;
        if self.trusted.trusts(&identity) { Ok(identity) } else { Err(PeerRefused::WrongTrustDomain(identity)) }
    }
}

/// What both verifiers have in common: the signature over the handshake is checked by the crypto provider, and TLS 1.2,
/// which is never negotiated, is refused. `$checks` is the field with the [`PeerChecks`].
macro_rules! verify_handshake_signatures {
    ($checks:tt) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(PeerRefused::KeyNotProven.into_rustls())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, cert, signature, &self.$checks.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.$checks.algorithms.supported_schemes()
        }
    };
}

/// The client's view: the server must carry one of the expected identities.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) checks: PeerChecks,
    pub(super) expected: Vec<Identity>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found =
            self.checks.check(leaf, intermediates, now, KeyUsage::server_auth()).map_err(PeerRefused::into_rustls)?;
        if self.expected.iter().any(|expected| self.checks.trusted.same(&found, expected)) {
            return Ok(ServerCertVerified::assertion());
        }
        let expected: Vec<_> = self.expected.iter().map(Identity::to_string).collect();
        let expected = if expected.is_empty() { "nobody".to_owned() } else { expected.join(" or ") };
        Err(PeerRefused::WrongIdentity { found, expected }.into_rustls())
    }

    verify_handshake_signatures!(checks);
}

/// The server's view: a client must carry an identity of a trusted domain.
#[derive(Debug)]
pub(super) struct ClientVerifier(pub(super) PeerChecks);

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.0.check(leaf, intermediates, now, KeyUsage::client_auth()) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refused) => Err(refused.into_rustls()),
        }
    }

    verify_handshake_signatures!(0);
}

#[cfg(test)]
mod tests;
