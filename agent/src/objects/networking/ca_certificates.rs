//! `caCertificates` of MeshConfig: further root certificates, which peers may have theirs from.

use crate::objects::reading::{Fields, Item, Report, base64, names};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// An entry of `caCertificates` that holds certificates; bundles to be fetched from elsewhere are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    /// One certificate or several, in PEM.
    pub pem: String,
    /// The trust domains it is for; empty: all.
    pub trust_domains: Vec<String>,
}

/// Reads the list as it is written. An entry without certificates is an error: somebody relies on them.
pub(super) fn read(fields: &mut Fields<'_>) -> Vec<CaCertificate> {
    let report = fields.report();
    fields.items("caCertificates").iter().filter_map(|item| read_entry(item, report)).collect()
}

fn read_entry(item: &Item<'_>, report: &Report) -> Option<CaCertificate> {
    let mut fields = item.fields(report)?;
    let trust_domains = fields.texts("trustDomains");
    for (at, domain) in trust_domains.iter().enumerate() {
        if let Err(reason) = names::fqdn(domain) {
            fields.error(&format!("trustDomains[{at}]"), reason);
        }
    }
    fields.without_effect("spiffeBundleUrl", "has no effect: bundles are not fetched, put their certificates into pem");
    // For whom a control plane signs by the Kubernetes API.
    fields.skip("certSigners");
    let pem = fields.text("pem");
    if let Some(pem) = &pem
        && let Err(reason) = check_pem(pem)
    {
        fields.error("pem", reason);
    }
    fields.finish();
    pem.map(|pem| CaCertificate { pem, trust_domains })
}

/// Whether a text holds certificates in PEM, and nothing that is damaged.
fn check_pem(text: &str) -> Result<(), String> {
    let mut rest = text;
    let mut count = 0;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        count += 1;
        let (body, after) = after.split_once(END).ok_or(format!("certificate {count} in it has no end: {END}"))?;
        let digits: String = body.split_whitespace().collect();
        if digits.is_empty() || base64::decode(&digits).is_none() {
            return Err(format!("certificate {count} in it is not base64"));
        }
        rest = after;
    }
    if count == 0 { Err(format!("holds no certificate: {BEGIN} is missing")) } else { Ok(()) }
}
