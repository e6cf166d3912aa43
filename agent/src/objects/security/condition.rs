//! The items of `when` in a rule of an AuthorizationPolicy, read and checked with Istio's rules.

use ipnet::IpNet;

use super::values::{Values, ip_block, pattern, port, texts};
use crate::objects::reading::{Fields, Item};

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

/// Reads the items of `when`.
pub(super) fn read_conditions(fields: &mut Fields<'_>) -> Vec<Condition> {
    let report = fields.report();
    let mut found = Vec::new();
    for item in fields.items("when") {
        let Some(mut condition) = item.fields(report) else { continue };
        found.extend(read_condition(&mut condition));
        condition.finish();
    }
    found
}

fn read_condition(fields: &mut Fields<'_>) -> Option<Condition> {
    let report = fields.report();
    let key = fields.text("key").unwrap_or_default();
    let (values, not_values) = (texts(fields, "values"), texts(fields, "notValues"));
    if values.is_empty() && not_values.is_empty() {
        fields.error("values", "a condition needs values or notValues");
    }
    let blocks = |items: &[Item<'_>]| items.iter().filter_map(|item| ip_block(item, report)).collect::<Vec<_>>();
    let strings =
        |items: &[Item<'_>]| items.iter().filter_map(|item| pattern(item, report).map(str::to_owned)).collect();
    let numbers = |items: &[Item<'_>]| items.iter().filter_map(|item| port(item, report)).collect::<Vec<_>>();
    Some(match key.as_str() {
        "source.ip" => Condition::SourceIp(Values { values: blocks(&values), not_values: blocks(&not_values) }),
        "destination.ip" => {
            Condition::DestinationIp(Values { values: blocks(&values), not_values: blocks(&not_values) })
        }
        "destination.port" => {
            Condition::DestinationPort(Values { values: numbers(&values), not_values: numbers(&not_values) })
        }
        "source.namespace" => {
            Condition::SourceNamespace(Values { values: strings(&values), not_values: strings(&not_values) })
        }
        "source.principal" => {
            Condition::SourcePrincipal(Values { values: strings(&values), not_values: strings(&not_values) })
        }
        _ => {
            if let Err(reason) = check_http_key(&key) {
                fields.error("key", reason);
                return None;
            }
            if key == "remote.ip" {
                blocks(&values);
                blocks(&not_values);
            }
            Condition::Http(key)
        }
    })
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
