//! PeerAuthentication: whether plaintext is accepted. Its struct is the model's own, which decides with it as it is.

use std::collections::BTreeMap;

use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::objects::labels::Labels;
use crate::objects::reading::Place;

/// Checks the PeerAuthentication that stands at `spec`; `ports` has what `portLevelMtls` says, by its keys. What is
/// returned along with errors serves only to know what it is about: a selector that cannot be read stands for the whole
/// namespace.
pub(super) fn checked(
    selector: Option<Labels>,
    mode: MtlsMode,
    ports: Option<Vec<(String, MtlsMode)>>,
    spec: &Place<'_>,
) -> PeerAuthentication {
    let selector = selector.filter(|_| !spec.field("selector").has_errors()).unwrap_or_default();
    let list = spec.field("portLevelMtls");
    if ports.is_some() && selector.is_empty() {
        list.error("needs a selector with labels: ports are those of particular workloads");
    }
    if ports.as_ref().is_some_and(Vec::is_empty) && !list.has_errors() {
        list.error("must not be empty: name a port, or remove it");
    }
    let mut modes = BTreeMap::new();
    for (key, mode) in ports.unwrap_or_default() {
        match key.parse::<u16>() {
            Ok(port) if port > 0 => {
                modes.insert(port, mode);
            }
            _ => list.entry(&key).error(format!("{key:?} is not a port: use 1 to 65535")),
        }
    }
    PeerAuthentication { selector, mode, ports: modes }
}
