//! An item of `limits` of a RateLimit: which requests it is about, and what it bounds.

use std::time::Duration;

use super::global_limit;
use crate::model::rate_limit::Rate;
use crate::model::rate_limit::objects::{CountedBy, GlobalLimit, Measure};
use crate::objects::metadata::Metadata;
use crate::objects::networking::values::parse_duration;
use crate::objects::reading::{Fields, names};
use crate::objects::security::Rule;
use crate::objects::security::yaml::bounding_rules;

/// The most that a number of requests may be.
const MAX_REQUESTS: i128 = 1_000_000;
/// The longest period.
const MAX_PERIOD: Duration = Duration::from_secs(86_400);
/// The shortest time between two requests of a rate: below, the pace would not be even.
const MIN_INTERVAL: Duration = Duration::from_micros(1);
/// The longest time in which a burst comes back.
const MAX_REFILL: Duration = Duration::from_secs(30 * 86_400);

/// A limit, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub name: String,
    /// It is about the requests that any of them matches; about all without one.
    pub rules: Vec<Rule>,
    pub measure: Measure,
}

/// Reads a limit; `None` where it does not say what it bounds, which is an error.
pub(super) fn read(mut fields: Fields<'_>, metadata: &Metadata) -> Option<Limit> {
    let name = fields.text("name").unwrap_or_default();
    if let Err(reason) = names::label(&name) {
        fields.error("name", if name.is_empty() { "a limit needs a name".to_owned() } else { reason });
    }
    if fields.any("match").is_some() && fields.items("match").is_empty() {
        fields.error("match", "must not be empty: remove it to count every request, or add a rule");
    }
    let rules = bounding_rules(&mut fields, "match", metadata);
    let local = fields.fields("local").map(rate);
    let concurrency = fields.fields("concurrency").map(concurrency);
    let global = fields.fields("global").map(|fields| global_limit::read(fields, metadata));
    let global = global.map(|global: Option<GlobalLimit>| global.map(|global| Measure::Global(Box::new(global))));
    let mut measures = [local, concurrency, global].into_iter().flatten();
    let measure = measures.next();
    if measure.is_none() || measures.next().is_some() {
        fields.error("local", "a limit has exactly one of local, concurrency and global");
    }
    fields.finish();
    Some(Limit { name, rules, measure: measure.flatten()? })
}

fn rate(mut fields: Fields<'_>) -> Option<Measure> {
    let (requests, by) = (requests(&mut fields), by(&mut fields));
    let period = period(&mut fields);
    let burst = fields.number::<u32>("burst", 1..=MAX_REQUESTS);
    let (Some(requests), Some(period)) = (requests, period) else {
        fields.finish();
        return None;
    };
    let burst = burst.unwrap_or(requests);
    let interval = period / requests;
    if interval < MIN_INTERVAL {
        fields.error("requests", "more than 1000000 requests in a second cannot be counted: use fewer, or no limit");
    }
    if interval.checked_mul(burst).is_none_or(|refill| refill > MAX_REFILL) {
        fields.error("burst", "takes longer than 30 days to come back: use a smaller one");
    }
    fields.finish();
    Some(Measure::Rate { rate: Rate { requests, period, burst }, by })
}

fn concurrency(mut fields: Fields<'_>) -> Option<Measure> {
    let (most, by) = (requests(&mut fields), by(&mut fields));
    fields.finish();
    Some(Measure::Concurrency { most: most?, by })
}

fn requests(fields: &mut Fields<'_>) -> Option<u32> {
    if fields.get("requests").is_none() {
        fields.error("requests", "is needed: how many requests");
        return None;
    }
    fields.number::<u32>("requests", 1..=MAX_REQUESTS)
}

fn by(fields: &mut Fields<'_>) -> CountedBy {
    let words = [("pod", CountedBy::Pod), ("node", CountedBy::Node), ("source", CountedBy::Source)];
    fields.word("by", &words).unwrap_or_default()
}

fn period(fields: &mut Fields<'_>) -> Option<Duration> {
    let Some(text) = fields.text("per") else {
        fields.error("per", "is needed: second, minute, hour, or a duration such as 10s");
        return None;
    };
    let found = match text.as_str() {
        "second" => Some(Duration::from_secs(1)),
        "minute" => Some(Duration::from_secs(60)),
        "hour" => Some(Duration::from_secs(3600)),
        other => parse_duration(other).filter(|period| !period.is_zero() && *period <= MAX_PERIOD),
    };
    if found.is_none() {
        fields.error("per", format!("{text:?} is no period: use second, minute, hour, or a duration up to 24h"));
    }
    found
}
