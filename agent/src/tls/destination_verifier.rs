//! Who the server of a destination outside of the mesh is: its chain ends in a root of the DestinationRule, or of the system, and its
//! certificate has one of the names that the rule lists; where it lists none, the name that was asked for. Where the rule has
//! revocation lists (`caCrl`), they revoke none of its certificates, as Envoy looks: every issuer of the chain has a list, and it is
//! not overdue.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::provider;
use super::revocation_lists::{self, RevocationLists};
use crate::model::http::destination::UpstreamTls;

/// See the module.
#[derive(Debug)]
pub(super) struct DestinationVerifier {
    roots: RootCertStore,
    revoked: Option<RevocationLists>,
    names: Vec<Box<str>>,
    /// `insecureSkipVerify`: any certificate will do.
    skips: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// No name of the certificate is one that the rule lists.
#[derive(Debug, thiserror::Error)]
#[error("it has none of the subjectAltNames {0:?}")]
struct NoListedName(Vec<Box<str>>);

impl DestinationVerifier {
    pub(super) fn new(roots: RootCertStore, revoked: Option<RevocationLists>, settings: &UpstreamTls) -> Self {
        Self {
            roots,
            revoked,
            names: settings.subject_alt_names.clone(),
            skips: settings.skips_verification,
            algorithms: provider::destination_provider().signature_verification_algorithms,
        }
    }

    fn verify_not_revoked(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(revoked) = &self.revoked else { return Ok(()) };
        let (lists, usage) = (revoked.by_reference(), KeyUsage::server_auth());
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let (roots, options) = (&self.roots.roots, revocation_lists::strict_options(&lists));
        let checked =
            parsed.verify_for_usage(self.algorithms.all, roots, intermediates, now, usage, options, None).map(|_| ());
        checked.map_err(|error| match error {
            webpki::Error::CertRevoked => CertificateError::Revoked.into(),
            webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
            error => CertificateError::Other(OtherError(Arc::new(error))).into(),
        })
    }

    fn verify_name(&self, leaf: &CertificateDer<'_>, asked_for: &ServerName<'_>) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        if self.names.is_empty() {
            return verify_server_name(&parsed, asked_for);
        }
        let is_host =
            |name: &str| ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
        if self.names.iter().any(|name| is_host(name) || has_text_name(leaf, name)) {
            return Ok(());
        }
        let error = OtherError(Arc::new(NoListedName(self.names.clone())));
        Err(Error::InvalidCertificate(CertificateError::Other(error)))
    }
}

/// Whether a certificate has a URI or an e-mail address as one of its names.
fn has_text_name(leaf: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::URI(text) | GeneralName::RFC822Name(text) => *text == wanted,
        _ => false,
    })
}

impl ServerCertVerifier for DestinationVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.skips {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
            self.verify_not_revoked(end_entity, intermediates, now)?;
            self.verify_name(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
