//! The items of `when` in a rule of an AuthorizationPolicy, checked with Istio's rules.

use ipnet::IpNet;

use super::values::{Values, ip_block, is_not_empty, pattern, port};
use crate::objects::reading::{Place, Text};

/// One item of `when`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    SourceIp(Values<IpNet>),
    SourceNamespace(Values<String>),
    SourcePrincipal(Values<String>),
    DestinationIp(Values<IpNet>),
    DestinationPort(Values<u16>),
    /// Its key: only an HTTP proxy can see it.
    Http(String),
}

impl Condition {
    /// Checks the item of `when` that stands at `place`; `None` without a key that could be asked for.
    pub(super) fn checked(key: &str, values: &Values<Text<'_>>, place: &Place<'_>) -> Option<Self> {
        if values.is_both_empty() && !place.field("values").has_errors() && !place.field("notValues").has_errors() {
            place.field("values").error("a condition needs values or notValues");
        }
        Some(match key {
            "source.ip" => Self::SourceIp(values.checked(ip_block)),
            "destination.ip" => Self::DestinationIp(values.checked(ip_block)),
            "destination.port" => Self::DestinationPort(values.checked(port)),
            "source.namespace" => Self::SourceNamespace(values.checked(pattern)),
            "source.principal" => Self::SourcePrincipal(values.checked(pattern)),
            _ => {
                if let Err(reason) = check_http_key(key) {
                    place.field("key").error(reason);
                    return None;
                }
                if key == "remote.ip" {
                    values.checked(ip_block);
                } else {
                    values.checked(|text| is_not_empty(text).then_some(()));
                }
                Self::Http(key.to_owned())
            }
        })
    }
}

fn check_http_key(key: &str) -> Result<(), String> {
    const PLAIN: [&str; 7] = [
        "remote.ip",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "connection.sni",
    ];
    const WITH_NAME: [&str; 3] = ["request.headers", "request.auth.claims", "experimental.envoy.filters."];
    if PLAIN.contains(&key) {
        return Ok(());
    }
    if WITH_NAME.iter().any(|prefix| key.starts_with(prefix)) {
        let named = key.strip_suffix(']').and_then(|key| key.split_once('[')).is_some_and(|(_, name)| !name.is_empty());
        return if named {
            Ok(())
        } else {
            Err(format!("bad key {key:?}: it needs a name in brackets, such as {key}[x]"))
        };
    }
    Err(match key {
        "" => "a condition needs a key".to_owned(),
        "destination.namespace" => format!("{key} is replaced by the policy's own namespace"),
        "destination.name" | "destination.user" => format!("{key} is not supported: use the selector"),
        _ if key.starts_with("destination.labels") => format!("{key} is replaced by the selector"),
        _ => format!(
            "unknown attribute {key:?}: use one of source.ip, source.namespace, source.principal, destination.ip, destination.port"
        ),
    })
}
