//! What a certificate says about itself, for those who only show it.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Serial number and validity of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Decimal.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// Reads the first certificate of a PEM text; `None` if there is none that can be read.
#[must_use]
pub fn of(pem: &str) -> Option<Facts> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let time = |at: x509_parser::time::ASN1Time| {
        u64::try_from(at.timestamp()).ok().map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    };
    let validity = certificate.validity();
    Some(Facts {
        serial: certificate.serial.to_string(),
        not_before: time(validity.not_before)?,
        not_after: time(validity.not_after)?,
    })
}
