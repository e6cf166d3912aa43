//! RateLimit (`weir.dev/v1alpha1`): how many requests pods are asked, and what clients are told beyond that.

use std::collections::BTreeSet;

use super::limit::{self, Limit};
use super::response;
use crate::model::rate_limit::objects::LimitResponse;
use crate::objects::labels::{self, Labels};
use crate::objects::metadata::Metadata;
use crate::objects::reading::{Fields, names};

/// Items of `limits`, at most; as in the schema that Kubernetes has.
const MAX_LIMITS: usize = 64;
/// Items of `targetRefs`, at most.
const MAX_TARGETS: usize = 16;

/// `spec` of a RateLimit, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub target: LimitTarget,
    pub limits: Vec<Limit>,
    pub dry_run: bool,
    pub response: LimitResponse,
}

/// Which pods a RateLimit is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitTarget {
    /// Those of its namespace; all of the mesh in the root namespace.
    Namespace,
    /// Those with these labels, never empty.
    Selector(Labels),
    /// Those behind these Services of its namespace, by name.
    Services(Vec<String>),
}

/// Reads and checks `spec`.
pub(in crate::objects) fn read(mut fields: Fields<'_>, metadata: &Metadata) -> RateLimit {
    let report = fields.report();
    let target = target(&mut fields);
    let items = fields.items("limits");
    if items.is_empty() && !fields.place().field("limits").has_errors() {
        fields.error("limits", "is needed: add a limit with a name and one of local, concurrency and global");
    }
    if items.len() > MAX_LIMITS {
        fields.error("limits", format!("may not have more than {MAX_LIMITS} items: use several objects"));
    }
    let limits: Vec<Limit> = items.iter().filter_map(|item| limit::read(item.fields(report)?, metadata)).collect();
    let mut known = BTreeSet::new();
    for (item, limit) in items.iter().zip(&limits) {
        if !known.insert(&limit.name) {
            item.place(report).field("name").error(format!("{:?} is the name of another limit, too", limit.name));
        }
    }
    let rate_limit = RateLimit {
        target,
        limits,
        dry_run: fields.flag("dryRun").unwrap_or(false),
        response: fields.fields("response").map(response::read).unwrap_or_default(),
    };
    fields.finish();
    rate_limit
}

fn target(fields: &mut Fields<'_>) -> LimitTarget {
    let report = fields.report();
    let selector = fields.fields("selector").map(|mut selector| {
        let labels = labels::read_selector(&mut selector, "matchLabels");
        labels::check_policy_selector(&labels, &selector.place());
        selector.finish();
        labels
    });
    let items = fields.items("targetRefs");
    if items.len() > MAX_TARGETS {
        fields.error("targetRefs", format!("may not have more than {MAX_TARGETS} items: use several objects"));
    }
    if selector.is_some() && !items.is_empty() {
        fields.error("selector", "only one of selector and targetRefs is allowed: remove one of the two");
    }
    let services: Vec<String> = items.iter().filter_map(|item| Some(service(item.fields(report)?))).collect();
    match selector {
        Some(labels) if !labels.is_empty() => LimitTarget::Selector(labels),
        _ if !items.is_empty() => LimitTarget::Services(services),
        _ => LimitTarget::Namespace,
    }
}

fn service(mut fields: Fields<'_>) -> String {
    let group = fields.text("group").unwrap_or_default();
    let kind = fields.text("kind").unwrap_or_default();
    let name = fields.text("name").unwrap_or_default();
    if !matches!((group.as_str(), kind.as_str()), ("" | "core", "Service")) {
        fields.error("kind", "must be Service, whose group is empty: for other pods use selector");
    }
    if let Err(reason) = names::object_name(&name) {
        fields.error("name", if name.is_empty() { "a target needs a name".to_owned() } else { reason });
    }
    fields.finish();
    name
}

#[cfg(test)]
mod tests;
