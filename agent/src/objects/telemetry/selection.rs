//! Which providers and which sides a part of a Telemetry object is about.

use std::sync::Arc;

use crate::model::telemetry::objects::{Sides, WorkloadMode};
use crate::objects::reading::Fields;

/// Reads `providers`: names in lower case, as Istio compares them.
pub(super) fn providers(fields: &mut Fields<'_>) -> Vec<Arc<str>> {
    let report = fields.report();
    let mut names = Vec::new();
    for item in fields.items("providers") {
        let Some(mut provider) = item.fields(report) else { continue };
        match provider.text("name").filter(|name| !name.is_empty()) {
            Some(name) => names.push(Arc::from(name.to_lowercase())),
            None => provider.error("name", "a provider needs its name"),
        }
        provider.finish();
    }
    names
}

/// Reads `mode` of a `match` (`WorkloadMode`); where it is not set, both sides are meant.
pub(super) fn mode(fields: &mut Fields<'_>) -> Sides {
    let modes = [
        ("CLIENT_AND_SERVER", Sides::Both),
        ("CLIENT", Sides::Only(WorkloadMode::Client)),
        ("SERVER", Sides::Only(WorkloadMode::Server)),
    ];
    fields.word("mode", &modes).unwrap_or_default()
}

/// Reads a `match` that has nothing but its `mode`, as those of access logs and of spans.
///
/// Those of metrics have the metric beside it: see `metrics`.
pub(super) fn sides(fields: &mut Fields<'_>) -> Sides {
    let Some(mut found) = fields.fields("match") else { return Sides::Both };
    let sides = mode(&mut found);
    found.finish();
    sides
}
