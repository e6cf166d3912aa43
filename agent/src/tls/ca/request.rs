//! Keys and certificate signing requests (PKCS #10): made for a workload, and read by the CA in this process.

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use super::issuer::SignError;
use crate::model::identity::Identity;

/// A new ECDSA P-256 key and the request for a certificate over it: empty subject, the identity as critical URI name.
///
/// # Errors
/// When the identity cannot be written in a certificate (not ASCII), or the system gives no randomness.
pub(crate) fn new_request(identity: &Identity) -> Result<(KeyPair, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri_name(identity)?];
    let csr = params.serialize_request(&key)?.pem()?;
    Ok((key, csr))
}

/// The identity as a certificate carries it.
pub(super) fn uri_name(identity: &Identity) -> Result<SanType, rcgen::Error> {
    Ok(SanType::URI(Ia5String::try_from(identity.to_string())?))
}

/// The public key of a request that may be signed for this identity: it proves possession of the key, the key is
/// ECDSA P-256, and it asks for no other name and for no power to sign.
pub(super) fn read_request(csr_pem: &str, identity: &Identity) -> Result<SubjectPublicKeyInfo, SignError> {
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes()).map_err(SignError::Pem)?;
    let (_, raw) = X509CertificationRequest::from_der(&der).map_err(|_| SignError::Malformed)?;
    let key = &raw.certification_request_info.subject_pki;
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
        return Err(SignError::KeyAlgorithm(key.algorithm.algorithm.to_id_string()));
    }
    let request = CertificateSigningRequestParams::from_der(&der).map_err(SignError::Request)?;
    if request.params.is_ca != IsCa::NoCa && request.params.is_ca != IsCa::ExplicitNoCa {
        return Err(SignError::WantsToSign);
    }
    let own = uri_name(identity).map_err(SignError::Name)?;
    if let Some(foreign) = request.params.subject_alt_names.iter().find(|name| **name != own) {
        return Err(SignError::ForeignName { found: format!("{foreign:?}"), identity: identity.clone() });
    }
    SubjectPublicKeyInfo::from_der(key.raw).map_err(SignError::Request)
}
