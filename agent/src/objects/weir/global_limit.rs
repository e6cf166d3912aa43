//! `global` of a limit: what a rate limit service is asked (`envoy.service.ratelimit.v3.RateLimitService`).

use std::time::Duration;

use crate::model::rate_limit::descriptor::{Descriptor, Entry, EntryValue, RequestAttribute};
use crate::model::rate_limit::objects::GlobalLimit;
use crate::objects::metadata::Metadata;
use crate::objects::networking::values::{duration, field_name};
use crate::objects::reading::Fields;

/// Envoy's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(20);
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// Items of `descriptors`, and entries of one, at most.
const MAX_DESCRIPTORS: usize = 16;

/// Reads what is asked, and whom; `None` where that is not said, which is an error.
pub(super) fn read(mut fields: Fields<'_>, metadata: &Metadata) -> Option<GlobalLimit> {
    let report = fields.report();
    let service = fields.text("service").unwrap_or_default();
    if service.is_empty() || service.contains(char::is_whitespace) {
        fields.error("service", "is needed: the host of a service, or the name of one of this namespace");
    }
    let port = fields.number::<u16>("port", 1..=65_535);
    if fields.get("port").is_none() {
        fields.error("port", "is needed: the port of the service");
    }
    let domain = fields.text("domain").unwrap_or_default();
    if domain.is_empty() {
        fields.error("domain", "is needed: the domain of the rate limit service's configuration");
    }
    let timeout = duration(&mut fields, "timeout").unwrap_or(DEFAULT_TIMEOUT);
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        fields.error("timeout", format!("{timeout:?} is out of range: use 1ms to 10s"));
    }
    let items = fields.items("descriptors");
    if items.is_empty() || items.len() > MAX_DESCRIPTORS {
        fields.error("descriptors", format!("must have 1 to {MAX_DESCRIPTORS} items, each with entries"));
    }
    let descriptors = items.iter().filter_map(|item| Some(descriptor(item.fields(report)?))).collect();
    let fail_open = fields.flag("failOpen").unwrap_or(true);
    fields.finish();
    // A name without a dot is one of the object's namespace.
    let service = if service.contains('.') || service.contains('/') {
        service
    } else {
        format!("{service}.{}.svc.cluster.local", metadata.namespace)
    };
    Some(GlobalLimit { service: service.into(), port: port?, domain: domain.into(), timeout, fail_open, descriptors })
}

fn descriptor(mut fields: Fields<'_>) -> Descriptor {
    let report = fields.report();
    let items = fields.items("entries");
    if items.is_empty() || items.len() > MAX_DESCRIPTORS {
        fields.error("entries", format!("must have 1 to {MAX_DESCRIPTORS} items"));
    }
    fields.finish();
    Descriptor { entries: items.iter().filter_map(|item| entry(item.fields(report)?)).collect() }
}

fn entry(mut fields: Fields<'_>) -> Option<Entry> {
    let key = fields.text("key").filter(|key| !key.is_empty());
    if key.is_none() {
        fields.error("key", "an entry needs a key");
    }
    let default = fields.text("default").map(|text| text.as_str().into());
    let fixed = fields.text("value").filter(|value| !value.is_empty()).map(|value| EntryValue::Fixed(value.into()));
    let name = fields.text("header").map(|name| name.to_ascii_lowercase());
    if let Some(Err(reason)) = name.as_deref().map(field_name) {
        fields.error("header", reason);
    }
    if default.is_some() && name.is_none() {
        fields.error("default", "is for requests without a header: name one, or remove it");
    }
    let header = name.map(|name| EntryValue::Header { name: name.into(), default });
    let attribute = fields.word("attribute", &RequestAttribute::NAMES).map(EntryValue::Attribute);
    let mut values = [fixed, header, attribute].into_iter().flatten();
    let value = values.next();
    if values.next().is_some() || value.is_none() {
        fields.error("value", "an entry has exactly one of value, header and attribute");
    }
    fields.finish();
    Some(Entry { key: key?.into(), value: value? })
}
