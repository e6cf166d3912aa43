//! `loadBalancer` of a traffic policy (`istio.networking.v1.LoadBalancerSettings`).

use super::{locality, values};
use crate::model::balance::Warmup;
use crate::model::http::destination::{Algorithm, HashCookie, HashKey, LoadBalancer};
use crate::objects::reading::Fields;

/// Reads the block.
pub(super) fn read(mut fields: Fields<'_>) -> LoadBalancer {
    let simple = [
        ("UNSPECIFIED", Algorithm::LeastRequest),
        ("LEAST_CONN", Algorithm::LeastRequest),
        ("LEAST_REQUEST", Algorithm::LeastRequest),
        ("ROUND_ROBIN", Algorithm::RoundRobin),
        ("RANDOM", Algorithm::Random),
        ("PASSTHROUGH", Algorithm::Passthrough),
    ];
    let words: Vec<(&str, usize)> = simple.iter().enumerate().map(|(at, (word, _))| (*word, at)).collect();
    let chosen = fields.word("simple", &words).map(|at| simple[at].1.clone());
    let hash = fields.fields("consistentHash").map(consistent_hash);
    if chosen.is_some() && hash.is_some() {
        fields.error("consistentHash", "a load balancer is simple or consistentHash, not both");
    }
    let hash = hash.flatten().map(Algorithm::ConsistentHash);
    let older = values::duration(&mut fields, "warmupDurationSecs");
    let older = older.map(|duration| Warmup { duration, minimum_percent: 10.0, aggression: 1.0 });
    let found = LoadBalancer {
        algorithm: hash.or(chosen).unwrap_or_default(),
        warmup: fields.fields("warmup").and_then(warmup).or(older),
        locality: fields.fields("localityLbSetting").map(locality::read),
    };
    if found.warmup.is_some() && !matches!(found.algorithm, Algorithm::LeastRequest | Algorithm::RoundRobin) {
        fields.notice("warmup", "has no effect: only LEAST_REQUEST and ROUND_ROBIN warm endpoints up");
    }
    fields.without_effect("zoneAwareLbSetting", "has no effect: use localityLbSetting");
    fields.finish();
    found
}

fn warmup(mut fields: Fields<'_>) -> Option<Warmup> {
    let duration = values::duration(&mut fields, "duration");
    if duration.is_none() && fields.get("duration").is_none() {
        fields.error("duration", "a warm-up needs its length");
    }
    let minimum_percent = fields.decimal("minimumPercent").unwrap_or(10.0);
    if !(0.0..=100.0).contains(&minimum_percent) {
        fields.error("minimumPercent", format!("{minimum_percent} is no percentage: use 0 to 100"));
    }
    let aggression = fields.decimal("aggression").unwrap_or(1.0);
    if aggression < 1.0 {
        fields.error("aggression", "must be at least 1");
    }
    fields.finish();
    Some(Warmup { duration: duration?, minimum_percent, aggression })
}

fn consistent_hash(mut fields: Fields<'_>) -> Option<HashKey> {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let keys = [
        text(fields.text("httpHeaderName")).map(|name| HashKey::Header(name.to_ascii_lowercase().into())),
        fields.fields("httpCookie").map(|cookie| HashKey::Cookie(self::cookie(cookie))),
        fields.flag("useSourceIp").filter(|is_used| *is_used).map(|_| HashKey::SourceIp),
        text(fields.text("httpQueryParameterName")).map(|name| HashKey::QueryParameter(name.into())),
    ];
    let names = "httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName";
    if keys.iter().flatten().count() != 1 && !fields.place().has_errors() {
        let place = fields.place();
        place.error(format!("a consistent hash needs exactly one of {names}"));
    }
    for name in ["ringHash", "maglev", "minimumRingSize"] {
        fields.without_effect(name, "the size of the table has no effect");
    }
    fields.finish();
    keys.into_iter().flatten().next()
}

fn cookie(mut fields: Fields<'_>) -> HashCookie {
    let report = fields.report();
    let attribute = |mut fields: Fields<'_>| {
        let [name, value] = ["name", "value"].map(|field| fields.text(field).unwrap_or_default().into());
        fields.finish();
        (name, value)
    };
    let found = HashCookie {
        name: fields.text("name").unwrap_or_default().into(),
        path: fields.text("path").unwrap_or_default().into(),
        ttl: values::duration(&mut fields, "ttl"),
        attributes: fields.items("attributes").iter().filter_map(|item| item.fields(report).map(attribute)).collect(),
    };
    if found.name.is_empty() {
        fields.error("name", "the name of the cookie is needed");
    }
    fields.finish();
    found
}
