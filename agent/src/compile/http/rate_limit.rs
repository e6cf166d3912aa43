//! RateLimit to the limits that are decided with.

use std::sync::Arc;

use super::effects::Hostnames;
use super::settings::HttpSettings;
use crate::compile::policy::groups_of;
use crate::model::rate_limit::objects::{LimitRule, LimitTarget, Measure, RateLimitObject};
use crate::model::service::ServiceKey;
use crate::objects::{self, Limit, Metadata, RateLimit};

/// The object with full names.
pub(super) fn rate_limit(settings: &HttpSettings, metadata: &Metadata, written: &RateLimit) -> RateLimitObject {
    let Metadata { namespace, name, .. } = metadata;
    let service =
        |name: &String| ServiceKey::new(namespace, &format!("{name}.{namespace}.svc.{}", settings.cluster_domain));
    RateLimitObject {
        key: format!("{namespace}/{name}").into(),
        namespace: namespace.as_str().into(),
        target: match &written.target {
            objects::LimitTarget::Namespace => LimitTarget::Namespace,
            objects::LimitTarget::Selector(labels) => LimitTarget::Selector(labels.clone()),
            objects::LimitTarget::Services(names) => LimitTarget::Services(names.iter().map(service).collect()),
        },
        limits: written.limits.iter().map(limit).map(Arc::new).collect(),
        dry_run: written.dry_run,
        response: written.response.clone(),
    }
}

fn limit(Limit { name, rules, measure }: &Limit) -> LimitRule {
    LimitRule {
        name: name.as_str().into(),
        groups: rules.iter().enumerate().flat_map(|(at, rule)| groups_of(at, rule)).collect(),
        measure: measure.clone(),
    }
}

/// What of an object has no effect; `known` are the services that there are.
pub(super) fn notes(object: &RateLimitObject, known: &Hostnames) -> Vec<String> {
    let mut notes = Vec::new();
    if let LimitTarget::Services(services) = &object.target {
        let missing = services.iter().enumerate().filter(|(_, service)| !known.contains(&*service.hostname));
        notes.extend(
            missing.map(|(at, service)| format!("spec.targetRefs[{at}]: there is no service {}", service.hostname)),
        );
    }
    for (at, limit) in object.limits.iter().enumerate() {
        let Measure::Global(global) = &limit.measure else { continue };
        let host = global.service.split_once('/').map_or(&*global.service, |(_, host)| host);
        if !known.contains(host) {
            let effect = if global.fail_open { "requests pass" } else { "requests are refused" };
            notes.push(format!("spec.limits[{at}].global.service: there is no service {host}: {effect}"));
        }
    }
    notes
}
