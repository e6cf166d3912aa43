//! The values in a rule of an AuthorizationPolicy, each checked with Istio's rules.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::authorization::{PathMatch, RequestPrincipalMatch, StringMatch, Values, can_be_a_name};
use crate::objects::reading::Text;

impl<'t> Values<Text<'t>> {
    /// Each value after its check; one that is not valid is reported and left out.
    pub(super) fn checked<T>(&self, check: impl Fn(&Text<'t>) -> Option<T>) -> Values<T> {
        let all = |texts: &[Text<'t>]| texts.iter().filter(|text| is_not_empty(text)).filter_map(&check).collect();
        Values { values: all(&self.values), not_values: all(&self.not_values) }
    }
}

/// No value may be empty.
pub(super) fn is_not_empty(text: &Text<'_>) -> bool {
    if text.text.is_empty() {
        text.place.error("empty value: remove it");
    }
    !text.text.is_empty()
}

/// A string with Istio's stars, such as a principal or a namespace. Whom it can match is checked with the whole policy, which says
/// how much depends on it.
pub(super) fn pattern(Text { text, .. }: &Text<'_>) -> Option<String> {
    Some((*text).to_owned())
}

/// A string with Istio's stars that a part of a request is compared with.
pub(super) fn text_match(Text { text, .. }: &Text<'_>) -> Option<StringMatch> {
    Some(StringMatch::written(text))
}

/// A path, or a template of paths.
pub(super) fn path(Text { text, place }: &Text<'_>) -> Option<PathMatch> {
    PathMatch::written(text).map_err(|wrong| place.error(format!("{text:?} cannot be enforced: {wrong}"))).ok()
}

/// Issuer and subject of a token.
pub(super) fn request_principal(Text { text, .. }: &Text<'_>) -> Option<RequestPrincipalMatch> {
    Some(RequestPrincipalMatch::written(text))
}

/// An IP block; an address is a block of one.
pub(super) fn ip_block(Text { text, place }: &Text<'_>) -> Option<IpNet> {
    let block = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    if block.is_none() {
        place.error(format!("bad IP address or CIDR block {text:?}"));
    }
    block
}

/// A port, written as a string. Whether a connection can have it is checked with the whole policy.
pub(super) fn port(Text { text, place }: &Text<'_>) -> Option<u16> {
    let port = text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    if port.is_none() {
        place.error(format!("bad port {text:?}: use 1 to 65535"));
    }
    port
}

/// A trust domain, perhaps with a star at its end.
pub(super) fn trust_domain(Text { text, place }: &Text<'_>) -> Option<String> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.contains('*') {
        place.error(format!("{text:?} cannot be enforced: a star is allowed at the end only"));
        return None;
    }
    if *text != "*" && !can_be_a_name(name) {
        place.error(format!("{text:?} is not a trust domain: it must not contain /, : or white space"));
        return None;
    }
    Some((*text).to_owned())
}

/// A service account; without a namespace it is one of the policy's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountName {
    pub namespace: String,
    pub name: String,
}

impl ServiceAccountName {
    /// Reads `name` or `namespace/name`.
    pub(super) fn of(Text { text, place }: &Text<'_>, policy_namespace: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/').unwrap_or((policy_namespace, text));
        let wrong = if text.contains('*') {
            "wildcard is not allowed here: use principals".to_owned()
        } else if text.len() > 320 {
            "must not exceed 320 characters".to_owned()
        } else if !can_be_a_name(namespace) || !can_be_a_name(name) {
            format!("{text:?} is not a service account: write name or namespace/name")
        } else {
            return Some(Self { namespace: namespace.to_owned(), name: name.to_owned() });
        };
        place.error(wrong);
        None
    }
}
