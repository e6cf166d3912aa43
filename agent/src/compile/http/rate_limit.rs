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

/// What a RateLimit names that there is none of, each as `field: reason`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MissingReferences {
    /// Services that it is about.
    pub targets: Vec<String>,
    /// There is none of the Services that it is about.
    pub is_about_nobody: bool,
    /// Rate limit services that it asks.
    pub services: Vec<String>,
}

/// What of an object has no effect; `known` are the services that there are.
pub(super) fn notes(object: &RateLimitObject, known: &Hostnames) -> Vec<String> {
    let MissingReferences { targets, services, .. } = missing(object, |host| known.contains(host));
    targets.into_iter().chain(services).collect()
}

/// What an object names that there is none of; `is_known` says of a hostname whether there is a service.
pub(super) fn missing(object: &RateLimitObject, is_known: impl Fn(&str) -> bool) -> MissingReferences {
    let mut missing = MissingReferences::default();
    if let LimitTarget::Services(services) = &object.target {
        let unknown = services.iter().enumerate().filter(|(_, service)| !is_known(&service.hostname));
        missing.targets = unknown
            .map(|(at, service)| format!("spec.targetRefs[{at}]: there is no service {}", service.hostname))
            .collect();
        missing.is_about_nobody = missing.targets.len() == services.len();
    }
    for (at, limit) in object.limits.iter().enumerate() {
        let Measure::Global(global) = &limit.measure else { continue };
        let host = global.service.split_once('/').map_or(&*global.service, |(_, host)| host);
        if !is_known(host) {
            let effect = if global.fail_open { "requests pass" } else { "requests are refused" };
            missing.services.push(format!("spec.limits[{at}].global.service: there is no service {host}: {effect}"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::objects::{HttpObject, Loaded, MeshConfig};

    fn object(spec: &str) -> RateLimitObject {
        let text = format!(
            "{{apiVersion: weir.dev/v1alpha1, kind: RateLimit, metadata: {{name: a, namespace: shop}}, spec: {{{spec}}}}}"
        );
        let mut loaded = Loaded::default();
        loaded.read_text(Path::new("a.yaml"), &text);
        assert_eq!(loaded.problems, []);
        let (_, object) = loaded.objects.http_objects().next().expect("it was read");
        let HttpObject::RateLimit(written) = &object.spec.object else { panic!("it is a RateLimit") };
        rate_limit(&HttpSettings::new("cluster.local", &MeshConfig::default()), object.metadata, written)
    }

    #[test]
    fn what_an_object_names_and_there_is_none_of() {
        const LOCAL: &str = "limits: [{name: a, local: {requests: 1, per: second}}]";
        let to = |names: &[&str]| {
            let targets: Vec<_> = names.iter().map(|name| format!("{{kind: Service, name: {name}}}")).collect();
            format!("targetRefs: [{}], {LOCAL}", targets.join(", "))
        };
        let global = "limits: [{name: a, global: {service: limiter, port: 8081, domain: d, descriptors: [{entries: [{key: k, value: v}]}]}}]";
        for (spec, targets, is_about_nobody, services) in [
            (LOCAL.to_owned(), 0, false, 0),
            (to(&["orders"]), 0, false, 0),
            (to(&["nobody"]), 1, true, 0),
            (to(&["nobody", "orders"]), 1, false, 0),
            (to(&["nobody", "no-one"]), 2, true, 0),
            (global.to_owned(), 0, false, 1),
        ] {
            let found = missing(&object(&spec), |host| host == "orders.shop.svc.cluster.local");
            let counts = (found.targets.len(), found.is_about_nobody, found.services.len());
            assert_eq!(counts, (targets, is_about_nobody, services), "{spec}: {found:?}");
        }
    }
}
