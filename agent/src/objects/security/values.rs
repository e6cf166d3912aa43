//! The lists of values in a rule of an AuthorizationPolicy, read and checked with Istio's rules. Knows nothing of what
//! the values are compared with.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::objects::reading::{Fields, Item, Report};

/// Any of `values` must hold, if there are any, and none of `not_values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values<T> {
    pub values: Vec<T>,
    pub not_values: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { values: Vec::new(), not_values: Vec::new() }
    }
}

impl<T> Values<T> {
    /// True if nothing is asked.
    #[must_use]
    pub fn is_both_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }
}

/// The strings of a list, none of which may be empty; what is no string is reported and left out.
pub(super) fn texts<'n>(fields: &mut Fields<'n>, name: &'static str) -> Vec<Item<'n>> {
    let report = fields.report();
    let is_text = |item: &Item<'_>| match item.text(report) {
        Some("") => {
            item.error(report, "empty value: remove it");
            true
        }
        other => other.is_some(),
    };
    fields.items(name).into_iter().filter(is_text).collect()
}

/// Strings with Istio's stars. A star elsewhere than at one end is a plain character: its author meant something else.
pub(super) fn patterns(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let report = fields.report();
    let items = texts(fields, name);
    items.iter().filter_map(|item| Some(pattern(item, report)?.to_owned())).collect()
}

/// One such string.
pub(super) fn pattern<'n>(item: &Item<'n>, report: &Report) -> Option<&'n str> {
    let text = item.text(report)?;
    let inner = text.strip_prefix('*').unwrap_or_else(|| text.strip_suffix('*').unwrap_or(text));
    if inner.contains('*') {
        report.notice(
            &item.path,
            item.node.line,
            format!("only one star, at one end, is a wildcard: {text:?} is compared as it is"),
        );
    }
    if text.starts_with("spiffe://") {
        report.notice(&item.path, item.node.line, "never matches: write the identity without spiffe://");
    }
    Some(text)
}

/// IP blocks; an address is a block of one.
pub(super) fn ip_blocks(fields: &mut Fields<'_>, name: &'static str) -> Vec<IpNet> {
    let report = fields.report();
    let items = texts(fields, name);
    items.iter().filter_map(|item| ip_block(item, report)).collect()
}

/// One IP block.
pub(super) fn ip_block(item: &Item<'_>, report: &Report) -> Option<IpNet> {
    let text = item.text(report)?;
    let block = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    if block.is_none() {
        item.error(report, format!("bad IP address or CIDR block {text:?}"));
    }
    block
}

/// Ports, written as strings.
pub(super) fn ports(fields: &mut Fields<'_>, name: &'static str) -> Vec<u16> {
    let report = fields.report();
    let items = texts(fields, name);
    items.iter().filter_map(|item| port(item, report)).collect()
}

/// One port.
pub(super) fn port(item: &Item<'_>, report: &Report) -> Option<u16> {
    let text = item.text(report)?;
    let port = text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    if port.is_none() {
        item.error(report, format!("bad port {text:?}: use 0 to 65535"));
    }
    port
}
