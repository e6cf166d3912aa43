//! What of an object about requests has no effect, or another one than its author expects, because of the other objects and of
//! the services that there are. For people; nothing is decided with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::http::destination::UpstreamTls;
use crate::model::http::objects::{DestinationRuleObject, RouteObject};
use crate::model::http::pattern::TextMatch;
use crate::model::http::route::{Action, Cluster, OriginKind, Target};
use crate::model::http::visibility::HostPattern;
use crate::model::telemetry::objects::TelemetrySpec;
use crate::model::telemetry::providers::{ProviderKind, TelemetryDefaults};
use crate::objects::{DestinationRule, HttpMatch, HttpRule, TrafficPolicy, VirtualService};

/// The full names of the services that there are.
pub type Hostnames = BTreeSet<Arc<str>>;

/// What of a VirtualService has no effect whatever else there is; `rules` are its own with those of its delegates.
pub(super) fn of_virtual_service(service: &VirtualService, rules: &[HttpRule], mut note: impl FnMut(String)) {
    if !service.hosts.is_empty() && !service.is_for_mesh() {
        note("spec.gateways: the object has no effect: it is for gateways only, and mesh is not among them".to_owned());
    }
    let takes_all = |rule: &HttpRule| rule.matches.is_empty() || rule.matches.iter().any(is_met_by_all);
    if let Some(last) = rules.iter().position(takes_all).filter(|last| last + 1 < rules.len()) {
        note(format!("spec.http[{}]: no request reaches the rules behind it: it matches every one", last));
    }
}

/// What of a Telemetry object names providers that are of no use.
pub(super) fn of_telemetry(spec: &TelemetrySpec, defaults: &TelemetryDefaults, mut note: impl FnMut(String)) {
    type Use = fn(&ProviderKind) -> bool;
    let mut check = |list: &str, at: usize, names: &[Arc<str>], wanted: &str, is_of_use: Use| {
        for name in names {
            let reason = match defaults.provider(name) {
                Some(kind) if is_of_use(kind) => continue,
                Some(ProviderKind::Unsupported(kind)) => format!("the provider {name:?} is not supported ({kind})"),
                Some(_) => format!("the provider {name:?} is none of {wanted}"),
                None => format!("MeshConfig's extensionProviders have no {name:?}"),
            };
            note(format!("spec.{list}[{at}].providers: {reason}: nothing goes there"));
        }
    };
    for (at, entry) in spec.access_logging.iter().enumerate() {
        let is_log: Use = |kind| matches!(kind, ProviderKind::File(_));
        check("accessLogging", at, &entry.providers, "access logs", is_log);
    }
    for (at, rule) in spec.metrics.iter().enumerate() {
        check("metrics", at, &rule.providers, "metrics", |kind| *kind == ProviderKind::Prometheus);
    }
    for (at, rule) in spec.tracing.iter().enumerate() {
        check("tracing", at, &rule.providers, "spans", |kind| matches!(kind, ProviderKind::Spans(_)));
    }
}

fn is_met_by_all(one: &HttpMatch) -> bool {
    let every_path = match &one.uri {
        None | Some(TextMatch::Present) => true,
        Some(TextMatch::Prefix(prefix)) => &**prefix == "/",
        _ => false,
    };
    every_path
        && HttpMatch { uri: None, name: String::new(), ignore_uri_case: false, ..one.clone() } == HttpMatch::default()
}

/// What of a route object names services or subsets that there are none of.
pub(super) fn of_routes(object: &RouteObject, rules: &[Arc<DestinationRuleObject>], known: &Hostnames) -> Vec<String> {
    let is_route = object.origin.kind != OriginKind::VirtualService;
    let mut notes = BTreeSet::new();
    for host in object.hosts.iter().filter(|host| !is_known(host, known)) {
        let host = host.text();
        notes.insert(if is_route {
            format!("spec.parentRefs: there is no service {host}")
        } else {
            format!("spec.hosts: there is no service {host}: the rules have no effect for it")
        });
    }
    for route in &object.routes {
        let Action::Forward(forward) = &route.rule.action else { continue };
        let rule = route.rule.origin.rule;
        let field = if is_route { format!("spec.rules[{rule}]") } else { format!("spec.http[{rule}]") };
        let targets = forward.destinations.iter().filter_map(|destination| match &destination.target {
            Target::Cluster(cluster) => Some(cluster),
            Target::Invalid { .. } => None,
        });
        let mirrors = forward.mirrors.iter().map(|mirror| &mirror.target);
        notes.extend(
            targets
                .chain(mirrors)
                .filter_map(|cluster| missing(cluster, rules, known))
                .map(|why| format!("{field}: {why}")),
        );
    }
    notes.into_iter().collect()
}

fn missing(cluster: &Cluster, rules: &[Arc<DestinationRuleObject>], known: &Hostnames) -> Option<String> {
    if !known.contains(&*cluster.hostname) {
        return Some(format!("there is no service {}: requests to it fail", cluster.hostname));
    }
    let subset = cluster.subset.as_ref()?;
    let mut defined = rules.iter().filter(|rule| rule.host.covers(&cluster.hostname)).flat_map(|rule| &rule.subsets);
    let is_defined = defined.any(|known| known.name == *subset);
    (!is_defined)
        .then(|| format!("no DestinationRule for {} has a subset {subset}: requests to it fail", cluster.hostname))
}

/// What of a DestinationRule is about no service.
pub(super) fn of_destination_rule(rule: &DestinationRuleObject, known: &Hostnames) -> Vec<String> {
    let is_about_none = !is_known(&rule.host, known);
    is_about_none.then(|| format!("spec.host: there is no service {}", rule.host.text())).into_iter().collect()
}

/// The settings for TLS of its own in a DestinationRule, by the fields that hold them.
pub(super) fn own_tls(rule: &DestinationRule) -> Vec<(String, UpstreamTls)> {
    let mut found = Vec::new();
    let mut add = |path: String, policy: &TrafficPolicy| {
        let own = policy.tls.iter().filter(|tls| tls.is_own() && !tls.is_unsupported);
        found.extend(own.map(|tls| (format!("{path}.tls"), tls.clone())));
        for (at, (_, of_port)) in policy.ports.iter().enumerate() {
            let own = of_port.tls.iter().filter(|tls| tls.is_own() && !tls.is_unsupported);
            found.extend(own.map(|tls| (format!("{path}.portLevelSettings[{at}].tls"), tls.clone())));
        }
    };
    rule.traffic_policy.iter().for_each(|policy| add("spec.trafficPolicy".to_owned(), policy));
    for (at, subset) in rule.subsets.iter().enumerate() {
        subset.traffic_policy.iter().for_each(|policy| add(format!("spec.subsets[{at}].trafficPolicy"), policy));
    }
    found
}

fn is_known(host: &HostPattern, known: &Hostnames) -> bool {
    if host.is_wildcard() { known.iter().any(|name| host.covers(name)) } else { known.contains(host.text()) }
}
