//! `tracing` of a Telemetry object, and the tags of spans that MeshConfig has in the same form.

use std::sync::Arc;

use super::selection::{providers, sides};
use crate::model::telemetry::objects::{CustomTag, CustomTagValue, TracingRule};
use crate::objects::reading::Fields;

/// Tags of one rule, at most.
pub(in crate::objects) const MAX_TAGS: usize = 50;

/// Reads an item of the list.
pub(super) fn read(mut fields: Fields<'_>) -> TracingRule {
    let found = TracingRule {
        sides: sides(&mut fields),
        providers: providers(&mut fields),
        sampling_percent: fields.decimal("randomSamplingPercentage"),
        disable_span_reporting: fields.flag("disableSpanReporting"),
        custom_tags: custom_tags(&mut fields),
        use_request_id_for_trace_sampling: fields.flag("useRequestIdForTraceSampling"),
        enable_istio_tags: fields.flag("enableIstioTags"),
        disable_context_propagation: fields.flag("disableContextPropagation"),
    };
    if found.sampling_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        fields.error("randomSamplingPercentage", "must be between 0 and 100");
    }
    if found.providers.len() > 1 {
        fields.notice("providers", "only the first provider of spans counts");
    }
    fields.finish();
    found
}

/// Reads `customTags`. `None` where there are none, which leaves those of the level above.
pub(in crate::objects) fn custom_tags(fields: &mut Fields<'_>) -> Option<Arc<[CustomTag]>> {
    let report = fields.report();
    let entries = fields.entries("customTags").filter(|entries| !entries.is_empty())?;
    if entries.len() > MAX_TAGS {
        fields.error("customTags", format!("has more than {MAX_TAGS} tags"));
    }
    let tag = |name: &str, fields: Fields<'_>| Some(CustomTag { name: name.into(), value: value(fields)? });
    Some(entries.into_iter().filter_map(|(name, item)| tag(name, item.fields(report)?)).collect())
}

fn value(mut fields: Fields<'_>) -> Option<CustomTagValue> {
    let literal = fields.fields("literal").map(|mut literal| {
        let value = literal.text("value").unwrap_or_default();
        literal.finish();
        CustomTagValue::Literal(value.into())
    });
    let header = fields.fields("header").map(|mut header| {
        let (name, default) = name_and_default(&mut header);
        header.finish();
        CustomTagValue::Header { name: name.to_ascii_lowercase().into(), default: default.into() }
    });
    let environment = fields.fields("environment").map(|mut environment| {
        let (_, default) = name_and_default(&mut environment);
        environment
            .notice("name", "has no effect: there is no proxy in the pod that had an environment; the default counts");
        environment.finish();
        CustomTagValue::Literal(default.into())
    });
    fields.without_effect("formatter", "has no effect yet: there is no such tag");
    let has_formatter = fields.get("formatter").is_some();
    let mut given = [literal, header, environment].into_iter().flatten();
    let (found, more) = (given.next(), given.next());
    if more.is_some() || (found.is_none() && !has_formatter && !fields.place().has_errors()) {
        fields.place().error("a tag needs one of literal, header and environment");
    }
    fields.finish();
    found
}

fn name_and_default(fields: &mut Fields<'_>) -> (String, String) {
    let name = fields.text("name").unwrap_or_default();
    if name.is_empty() {
        fields.error("name", "a name is needed");
    }
    (name, fields.text("defaultValue").unwrap_or_default())
}
