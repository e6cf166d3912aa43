//! The items of `when` in a rule of an AuthorizationPolicy, checked with Istio's rules.

use std::sync::Arc;

use ipnet::IpNet;

use super::values::{ServiceAccountName, ip_block, pattern, port, request_principal, text_match, trust_domain};
use crate::model::authorization::{HeaderName, RequestCondition, Values, is_token_byte};
use crate::objects::reading::{Place, Text};

/// One item of `when`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    SourceIp(Values<IpNet>),
    SourceNamespace(Values<String>),
    SourcePrincipal(Values<String>),
    SourceServiceAccount(Values<ServiceAccountName>),
    SourceTrustDomain(Values<String>),
    DestinationIp(Values<IpNet>),
    DestinationPort(Values<u16>),
    /// One that only an HTTP proxy can see.
    Request {
        key: String,
        condition: RequestCondition,
    },
}

impl Condition {
    /// Checks the item of `when` that stands at `place`, of a policy in `namespace`; `None` without a key that could be asked
    /// for.
    pub(super) fn checked(key: &str, values: &Values<Text<'_>>, namespace: &str, place: &Place<'_>) -> Option<Self> {
        if values.is_both_empty() && !place.field("values").has_errors() && !place.field("notValues").has_errors() {
            place.field("values").error("a condition needs values or notValues");
        }
        Some(match key {
            "source.ip" => Self::SourceIp(values.checked(ip_block)),
            "source.namespace" => Self::SourceNamespace(values.checked(pattern)),
            "source.principal" => Self::SourcePrincipal(values.checked(pattern)),
            "source.serviceAccount" => {
                Self::SourceServiceAccount(values.checked(|text| ServiceAccountName::of(text, namespace)))
            }
            "source.trustDomain" => Self::SourceTrustDomain(values.checked(trust_domain)),
            "destination.ip" => Self::DestinationIp(values.checked(ip_block)),
            "destination.port" => Self::DestinationPort(values.checked(port)),
            _ => match request_condition(key, values) {
                Ok(condition) => Self::Request { key: key.to_owned(), condition },
                Err(reason) => {
                    place.field("key").error(reason);
                    return None;
                }
            },
        })
    }
}

const HEADERS: &str = "request.headers";
const CLAIMS: &str = "request.auth.claims";
const ENVOY_FILTERS: &str = "experimental.envoy.filters.";

/// A condition that needs HTTP.
///
/// # Errors
/// What is wrong with its key.
fn request_condition(key: &str, values: &Values<Text<'_>>) -> Result<RequestCondition, String> {
    let claim = |path: &[&str]| RequestCondition::Claim {
        path: path.iter().map(|name| Arc::from(*name)).collect(),
        values: values.checked(text_match),
    };
    match key {
        "remote.ip" => return Ok(RequestCondition::RemoteIp(values.checked(ip_block))),
        "request.auth.principal" => return Ok(RequestCondition::RequestPrincipal(values.checked(request_principal))),
        "request.auth.audiences" => return Ok(claim(&["aud"])),
        "request.auth.presenter" => return Ok(claim(&["azp"])),
        "connection.sni" => {
            values.checked(text_match);
            return Ok(RequestCondition::Unseen);
        }
        _ => {}
    }
    if let Some(names) = key.strip_prefix(HEADERS) {
        let [name] = bracketed(key, names)?[..] else {
            return Err(format!("bad key {key:?}: it names one header, such as {HEADERS}[x-id]"));
        };
        check_header_name(name)?;
        return Ok(RequestCondition::Header { name: HeaderName::written(name), values: values.checked(text_match) });
    }
    if let Some(names) = key.strip_prefix(CLAIMS) {
        return Ok(claim(&bracketed(key, names)?));
    }
    if key.starts_with(ENVOY_FILTERS) {
        bracketed(key, key.find('[').map_or("", |at| &key[at..]))?;
        values.checked(text_match);
        return Ok(RequestCondition::Unseen);
    }
    Err(no_such_key(key))
}

/// The names in `[a][b]`.
fn bracketed<'k>(key: &str, names: &'k str) -> Result<Vec<&'k str>, String> {
    let inner = names.strip_prefix('[').and_then(|names| names.strip_suffix(']'));
    let names: Vec<&str> = inner.unwrap_or_default().split("][").collect();
    if names.iter().any(|name| name.is_empty() || name.contains(['[', ']'])) {
        return Err(format!("bad key {key:?}: it needs a name in brackets, such as {key}[x]"));
    }
    Ok(names)
}

/// A name is a token (RFC 9110 §5.6.2), or that of a pseudo-header.
fn check_header_name(name: &str) -> Result<(), String> {
    let is_pseudo = matches!(name.to_ascii_lowercase().as_str(), ":authority" | ":method" | ":path" | ":scheme");
    if is_pseudo || name.bytes().all(is_token_byte) { Ok(()) } else { Err(format!("{name:?} is no name of a header")) }
}

fn no_such_key(key: &str) -> String {
    match key {
        "" => "a condition needs a key".to_owned(),
        "destination.namespace" => format!("{key} is replaced by the policy's own namespace"),
        "destination.name" | "destination.user" => format!("{key} is not supported: use the selector"),
        _ if key.starts_with("destination.labels") => format!("{key} is replaced by the selector"),
        _ => format!(
            "unknown attribute {key:?}: use one of source.ip, source.namespace, source.principal, source.serviceAccount, \
             source.trustDomain, destination.ip, destination.port, remote.ip, {HEADERS}[x], request.auth.principal, \
             request.auth.audiences, request.auth.presenter, {CLAIMS}[x]"
        ),
    }
}
