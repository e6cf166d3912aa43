//! What operators are shown of a certificate: its serial number, and from when to when it is valid. A handshake keeps of its peer's
//! certificate when that expires.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Serial number and validity of a certificate (RFC 5280 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Decimal, as istioctl prints it.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text; `None` if there is none that can be read.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        Some(Self::new(&certificate))
    }

    /// Times before 1970 count as 1970.
    pub(super) fn new(certificate: &X509Certificate<'_>) -> Self {
        let time = |at: x509_parser::time::ASN1Time| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or_default())
        };
        let validity = certificate.validity();
        Self {
            serial: certificate.serial.to_string(),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
        }
    }
}
