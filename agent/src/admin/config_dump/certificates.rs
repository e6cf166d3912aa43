//! Workload certificates in ztunnel's form. What this is made from holds no private key.

use serde::Serialize;

use crate::telemetry::utc_time::rfc3339_seconds;
use crate::tls::CertificateInfo;
use crate::tls::certificates::CertificateStatus;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdentityView<'a> {
    identity: String,
    state: String,
    cert_chain: Vec<CertificateView<'a>>,
    root_certs: Vec<CertificateView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateView<'a> {
    pem: &'a str,
    /// Decimal.
    serial_number: String,
    valid_from: String,
    expiration_time: String,
}

/// All identities, sorted.
pub(super) fn identities<'a>(
    statuses: &'a [CertificateStatus],
    describe: &dyn Fn(&str) -> Option<CertificateInfo>,
) -> Vec<IdentityView<'a>> {
    let mut identities: Vec<_> = statuses.iter().map(|status| IdentityView::new(status, describe)).collect();
    identities.sort_by(|a, b| a.identity.cmp(&b.identity));
    identities
}

impl<'a> IdentityView<'a> {
    fn new(status: &'a CertificateStatus, describe: &dyn Fn(&str) -> Option<CertificateInfo>) -> Self {
        let view = |pem| CertificateView::new(pem, describe(pem));
        let mut cert_chain: Vec<_> = status.chain_pem.iter().map(|pem| view(pem)).collect();
        if let Some(leaf) = cert_chain.first_mut() {
            leaf.serial_number.clone_from(&status.serial);
            leaf.valid_from = status.not_before.map(rfc3339_seconds).unwrap_or_default();
            leaf.expiration_time = status.not_after.map(rfc3339_seconds).unwrap_or_default();
        }
        Self {
            identity: status.identity.to_string(),
            state: state(status),
            cert_chain,
            root_certs: status.root_pem.iter().map(|pem| view(pem)).collect(),
        }
    }
}

/// A certificate that could not be renewed stays in use until it expires.
fn state(status: &CertificateStatus) -> String {
    match (&status.last_error, status.chain_pem.is_empty()) {
        (_, false) => "Available".to_owned(),
        (Some(error), true) => format!("Unavailable: {error}"),
        (None, true) => "Initializing".to_owned(),
    }
}

impl<'a> CertificateView<'a> {
    fn new(pem: &'a str, info: Option<CertificateInfo>) -> Self {
        let Some(info) = info else {
            return Self {
                pem,
                serial_number: String::new(),
                valid_from: String::new(),
                expiration_time: String::new(),
            };
        };
        Self {
            pem,
            serial_number: info.serial,
            valid_from: rfc3339_seconds(info.not_before),
            expiration_time: rfc3339_seconds(info.not_after),
        }
    }
}
