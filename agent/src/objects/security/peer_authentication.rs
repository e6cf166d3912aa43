//! PeerAuthentication: whether plaintext is accepted.

use std::collections::BTreeMap;

use super::authorization_policy::read_selector;
pub use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::objects::reading::Fields;

const MODES: [(&str, MtlsMode); 4] = [
    ("UNSET", MtlsMode::Unset),
    ("DISABLE", MtlsMode::Disable),
    ("PERMISSIVE", MtlsMode::Permissive),
    ("STRICT", MtlsMode::Strict),
];

/// Reads and checks `spec`. What is returned along with errors serves only to tell what the policy is about.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> PeerAuthentication {
    let report = fields.report();
    let errors = report.errors();
    let mut selector = read_selector(&mut fields).unwrap_or_default();
    if report.errors() > errors {
        selector.clear();
    }
    let mode = fields.fields("mtls").map(read_mode).unwrap_or_default();
    let mut ports = BTreeMap::new();
    let entries = fields.entries("portLevelMtls");
    if entries.is_some() && selector.is_empty() {
        fields.error("portLevelMtls", "needs a selector with labels: ports are those of particular workloads");
    }
    if entries.as_ref().is_some_and(Vec::is_empty) {
        fields.error("portLevelMtls", "must not be empty: name a port, or remove it");
    }
    for (key, item) in entries.unwrap_or_default() {
        let port = key.parse::<u16>().ok().filter(|port| *port > 0);
        if port.is_none() {
            item.error(report, format!("{key:?} is not a port: use 1 to 65535"));
        }
        let mode = item.fields(report).map(read_mode);
        if let (Some(port), Some(mode)) = (port, mode) {
            ports.insert(port, mode);
        }
    }
    fields.finish();
    PeerAuthentication { selector, mode, ports }
}

fn read_mode(mut fields: Fields<'_>) -> MtlsMode {
    let mode = fields.word("mode", &MODES).unwrap_or_default();
    fields.finish();
    mode
}
