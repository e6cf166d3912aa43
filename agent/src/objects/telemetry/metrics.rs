//! `metrics` of a Telemetry object.

use std::sync::Arc;

use super::selection::{mode, providers};
use crate::model::telemetry::Expression;
use crate::model::telemetry::objects::{Metric, MetricsOverride, MetricsRule, Sides, TagOverride};
use crate::objects::reading::{Fields, Item};

/// Tags of one override, at most.
const MAX_TAGS: usize = 50;

/// What is done to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Upsert,
    Remove,
}

/// Reads the list.
pub(super) fn read(fields: &mut Fields<'_>) -> Vec<MetricsRule> {
    let report = fields.report();
    fields.items("metrics").iter().filter_map(|item| Some(rule(item.fields(report)?))).collect()
}

fn rule(mut fields: Fields<'_>) -> MetricsRule {
    let report = fields.report();
    let providers = providers(&mut fields);
    let overrides = fields.items("overrides").iter().filter_map(|item| one(item.fields(report)?)).collect();
    fields.without_effect("reportingInterval", "has no effect: bytes are counted whenever the metrics are asked for");
    fields.finish();
    MetricsRule { providers, overrides }
}

/// `None` where it is about a metric that is not one of Istio's.
fn one(mut fields: Fields<'_>) -> Option<MetricsOverride> {
    let (metric, sides) = fields.fields("match").map_or((Some(None), Sides::Both), selector);
    let is_disabled = fields.flag("disabled");
    let report = fields.report();
    let entries = fields.entries("tagOverrides").unwrap_or_default();
    if entries.len() > MAX_TAGS {
        fields.error("tagOverrides", format!("has more than {MAX_TAGS} tags"));
    }
    let tag = |(name, item): (&str, Item<'_>)| {
        if !is_label(name) {
            item.error(report, format!("{name:?} is not the name of a label: use letters, digits and _"));
        }
        Some((Arc::from(name), tag_override(item.fields(report)?)?))
    };
    let tags = entries.into_iter().filter_map(tag).collect();
    fields.finish();
    Some(MetricsOverride { metric: metric?, sides, is_disabled, tags })
}

/// The metric (`Some(None)`: all of them), and the sides.
fn selector(mut fields: Fields<'_>) -> (Option<Option<Metric>>, Sides) {
    let custom = fields.text("customMetric");
    let words: Vec<(&str, Option<Metric>)> =
        [("ALL_METRICS", None)].into_iter().chain(Metric::ALL.map(|metric| (metric.name(), Some(metric)))).collect();
    let metric = fields.word("metric", &words);
    if custom.is_some() {
        fields.notice("customMetric", "has no effect: there are Istio's standard metrics only");
    }
    let sides = mode(&mut fields);
    fields.finish();
    (custom.is_none().then(|| metric.flatten()), sides)
}

fn tag_override(mut fields: Fields<'_>) -> Option<TagOverride> {
    let operations = [("UPSERT", Operation::Upsert), ("REMOVE", Operation::Remove)];
    let operation = fields.word("operation", &operations).unwrap_or(Operation::Upsert);
    let value = fields.text("value").filter(|value| !value.is_empty());
    let found = match (operation, value) {
        (Operation::Remove, _) => Some(TagOverride::Remove),
        (Operation::Upsert, Some(value)) => Expression::tag(&value)
            .inspect_err(|error| fields.error("value", error.to_string()))
            .ok()
            .map(|expression| TagOverride::Upsert(Arc::new(expression))),
        (Operation::Upsert, None) => {
            fields.error("value", "UPSERT needs an expression, such as request.host");
            None
        }
    };
    fields.finish();
    found
}

/// Whether Prometheus takes a name for a label. Those that begin with two underscores are its own, and `le` is that of histograms.
fn is_label(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_word)
        && !name.starts_with("__")
        && name != "le"
}
