//! Checks of names, hosts and ports, with Istio's rules. Every error says what is allowed.

use super::fields::Item;
use super::problem::Report;

const MAX_NAME: usize = 253;
/// Longest part of a name, and longest label, in bytes.
pub(in crate::objects) const MAX_LABEL: usize = 63;

/// A DNS label in lower case, such as a namespace or a port's name.
pub(in crate::objects) fn label(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= MAX_LABEL && !text.is_empty() && text.bytes().all(allowed) && has_alphanumeric_ends(text) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a valid name: use at most {MAX_LABEL} of a-z, 0-9 and -, with a letter or digit at both ends"
    ))
}

/// A Kubernetes object name: labels joined by dots.
pub(in crate::objects) fn object_name(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let part = |part: &str| !part.is_empty() && part.bytes().all(allowed) && has_alphanumeric_ends(part);
    if text.len() <= MAX_NAME && text.split('.').all(part) {
        return Ok(());
    }
    Err(format!("{text:?} is not a valid name: use at most {MAX_NAME} of a-z, 0-9, - and dots between them"))
}

/// A fully qualified domain name, any case, a dot at the end allowed.
pub(in crate::objects) fn fqdn(text: &str) -> Result<(), String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || name.len() > 255 {
        return Err(format!("{text:?} is not a host name: use 1 to 255 characters"));
    }
    name.split('.').try_for_each(host_label)
}

/// A host of a ServiceEntry: a domain name, perhaps with a star at its beginning.
pub(in crate::objects) fn wildcard_host(text: &str) -> Result<(), String> {
    if text == "*" {
        return Err("invalid host *: name the hosts, such as *.example.com".to_owned());
    }
    let (first, rest) = text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let starless = first.strip_prefix('*').unwrap_or(first);
    let starless = if starless.len() < first.len() { starless.strip_prefix('-').unwrap_or(starless) } else { starless };
    if first != "*" {
        host_label(starless)?;
    }
    rest.map_or(Ok(()), fqdn)
}

/// True for `*a.example.com`: a star followed by more of its label.
pub(in crate::objects) fn is_partial_wildcard(host: &str) -> bool {
    host.starts_with('*') && !host.starts_with("*.")
}

fn host_label(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.len() <= MAX_LABEL && !text.is_empty() && text.bytes().all(allowed) && has_alphanumeric_ends(text) {
        return Ok(());
    }
    Err(format!(
        "host name has an invalid part {text:?}: use letters, digits and -, and a star only as the very first character"
    ))
}

/// True if a letter or digit stands at both ends.
pub(in crate::objects) fn has_alphanumeric_ends(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// A port number, 1 to 65535.
pub(in crate::objects) fn port(item: &Item<'_>, report: &Report) -> Option<u16> {
    item.number(1..=65_535, report).and_then(|number| u16::try_from(number).ok())
}
