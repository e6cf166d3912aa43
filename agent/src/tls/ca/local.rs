//! A CA whose key is in this process, and what it signs. The caller keeps the key's file.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::issuer::{IssueError, Issuer, SignError, Signing};
use super::request::{read_request, uri_name};
use crate::model::identity::Identity;
use crate::tls::pem::{self, InvalidPem};
use crate::tls::provider::provider;

/// Longest life of a workload certificate, whatever is asked for.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest life of a workload certificate, whatever is asked for.
pub const MIN_LIFETIME: Duration = Duration::from_secs(5);
/// How far clocks of the mesh may be apart: certificates are valid from this long ago, as istiod's are.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Why a CA key and its certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("CA certificate")]
    Certificate(#[source] InvalidPem),
    #[error("CA key cannot be read")]
    Key,
    #[error("CA certificate cannot be used")]
    Rcgen(#[source] rcgen::Error),
    #[error("CA certificate is malformed")]
    Malformed,
    #[error("CA certificate does not allow signing")]
    NotCa,
    #[error("CA certificate is not for this key")]
    Mismatch,
}

/// A CA key with its certificate.
#[derive(Debug)]
pub struct LocalCa {
    issuer: rcgen::Issuer<'static, KeyPair>,
    not_after: SystemTime,
    /// Certificates between leaf and root that peers need; empty if the CA is a root itself.
    intermediates: Vec<String>,
    /// One text, possibly several roots.
    root_pem: String,
}

impl LocalCa {
    /// Takes a CA into use. `certificate_pem` starts with the CA's own certificate; without `root_pem` that is the
    /// root, with it the CA is an intermediate below one of those roots (or one of them).
    ///
    /// # Errors
    /// See [`CaError`].
    pub fn new(certificate_pem: &str, key_pem: &str, root_pem: Option<&str>) -> Result<Self, CaError> {
        let mut chain = pem::certificate_blocks(certificate_pem);
        let own = chain.first().ok_or(CaError::Certificate(InvalidPem::NoCertificate))?.clone();
        let der = pem::certificate(&own).map_err(CaError::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| CaError::Malformed)?;
        if !parsed.is_ca() {
            return Err(CaError::NotCa);
        }
        // rcgen's message may quote what it read.
        let key = KeyPair::from_pem(key_pem).map_err(|_| CaError::Key)?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(CaError::Mismatch);
        }
        let roots = match root_pem {
            Some(text) => pem::certificate_blocks(text),
            None => vec![own.clone()],
        };
        if roots.is_empty() {
            return Err(CaError::Certificate(InvalidPem::NoCertificate));
        }
        chain.retain(|certificate| !roots.contains(certificate));
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        Ok(Self {
            issuer: rcgen::Issuer::from_ca_cert_der(&der, key).map_err(CaError::Rcgen)?,
            not_after: UNIX_EPOCH + Duration::from_secs(not_after),
            intermediates: chain,
            root_pem: roots.concat(),
        })
    }

    /// The roots that peers must trust to accept what is signed here.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Signs a request for this identity: leaf, intermediates if any, and last the roots. The life asked for is kept
    /// between [`MIN_LIFETIME`] and [`MAX_LIFETIME`]; none (zero) means the longest.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(&self, csr_pem: &str, identity: &Identity, lifetime: Duration) -> Result<Vec<String>, SignError> {
        self.sign_at(SystemTime::now(), csr_pem, identity, lifetime)
    }

    pub(in crate::tls) fn sign_at(
        &self,
        now: SystemTime,
        csr_pem: &str,
        identity: &Identity,
        lifetime: Duration,
    ) -> Result<Vec<String>, SignError> {
        let key = read_request(csr_pem, identity)?;
        let lifetime = if lifetime.is_zero() { MAX_LIFETIME } else { lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME) };
        let mut params = self.leaf(now, lifetime)?;
        params.subject_alt_names = vec![uri_name(identity).map_err(SignError::Name)?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(SignError::Signing)?;
        Ok(self.chain(leaf.pem()))
    }

    /// A certificate and key for a server with these DNS names and addresses, as (chain without root, key), both PEM.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn server_certificate(&self, names: &[String], lifetime: Duration) -> Result<(String, String), SignError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError::Signing)?;
        let mut params = self.leaf(SystemTime::now(), lifetime)?;
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(SignError::Signing)?;
        let mut chain = leaf.pem();
        chain.extend(self.intermediates.iter().map(String::as_str));
        Ok((chain, key.serialize_pem()))
    }

    /// What all leaves have in common. A leaf never outlives its CA.
    fn leaf(&self, now: SystemTime, lifetime: Duration) -> Result<CertificateParams, SignError> {
        let not_after = (now + lifetime).min(self.not_after);
        if not_after <= now {
            return Err(SignError::CaExpired);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(random_serial()?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now - CLOCK_SKEW, not_after);
        Ok(params)
    }

    fn chain(&self, leaf: String) -> Vec<String> {
        let mut chain = vec![leaf];
        chain.extend(self.intermediates.iter().cloned());
        chain.push(self.root_pem.clone());
        chain
    }
}

impl Issuer for LocalCa {
    fn sign<'a>(&'a self, csr_pem: &'a str, identity: &'a Identity, lifetime: Duration) -> Signing<'a> {
        Box::pin(async move { LocalCa::sign(self, csr_pem, identity, lifetime).map_err(IssueError::Signing) })
    }
}

fn server_name(name: &str) -> Result<SanType, SignError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    Ok(SanType::DnsName(name.try_into().map_err(SignError::Name)?))
}

/// Sets when a certificate is valid, in whole seconds.
pub fn set_validity(params: &mut CertificateParams, not_before: SystemTime, not_after: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time: SystemTime| Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    params.not_before = epoch + seconds(not_before);
    params.not_after = epoch + seconds(not_after);
}

/// 127 random bits: positive, and unique without counting.
///
/// # Errors
/// When the system gives no randomness.
pub fn random_serial() -> Result<SerialNumber, SignError> {
    let mut bytes = [0; 16];
    provider().secure_random.fill(&mut bytes).map_err(|_| SignError::Randomness)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}
