//! Telemetry (`istio.telemetry.v1alpha1.Telemetry`).

use std::sync::Arc;

use super::selection::{providers, sides};
use super::{metrics, tracing};
use crate::model::telemetry::Expression;
use crate::model::telemetry::objects::{AccessLogging, TelemetrySpec};
use crate::objects::labels;
use crate::objects::reading::Fields;

/// Reads and checks `spec`.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> TelemetrySpec {
    let report = fields.report();
    let selector = fields.fields("selector").map(|mut selector| {
        let labels = labels::read_selector(&mut selector, "matchLabels");
        selector.finish();
        labels
    });
    let is_for_waypoints = ["targetRef", "targetRefs"].into_iter().fold(false, |found, name| {
        let is_set = fields.get(name).is_some();
        if is_set {
            fields.notice(name, "is a gateway's or waypoint's business: the object counts for no pod");
        }
        found || is_set
    });
    let spec = TelemetrySpec {
        selector: selector.unwrap_or_default(),
        is_for_waypoints,
        access_logging: fields
            .items("accessLogging")
            .iter()
            .filter_map(|item| Some(access_logging(item.fields(report)?)))
            .collect(),
        metrics: metrics::read(&mut fields),
        tracing: fields.items("tracing").iter().filter_map(|item| Some(tracing::read(item.fields(report)?))).collect(),
    };
    fields.finish();
    spec
}

fn access_logging(mut fields: Fields<'_>) -> AccessLogging {
    let found = AccessLogging {
        sides: sides(&mut fields),
        providers: providers(&mut fields),
        is_disabled: fields.flag("disabled").unwrap_or(false),
        filter: fields.fields("filter").and_then(filter),
    };
    fields.finish();
    found
}

fn filter(mut fields: Fields<'_>) -> Option<Arc<Expression>> {
    let source = fields.text("expression").filter(|source| !source.is_empty());
    let compiled = source.and_then(|source| {
        Expression::filter(&source).inspect_err(|error| fields.error("expression", error.to_string())).ok()
    });
    fields.finish();
    compiled.map(Arc::new)
}
