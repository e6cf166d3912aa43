//! The places that a request may go to: the cluster, the DestinationRule and what it says, and the endpoints.

use super::asker::Asker;
use super::endpoints::{self, Place};
use super::explanation::{AnswerLine, DestinationLine};
use super::rules::object_lines;
use crate::model::address::OriginalDst;
use crate::model::balance::{Distribution, LocalityRule};
use crate::model::http::destination::{Algorithm, ConnectionPool, DestinationPolicy, HashKey};
use crate::model::http::hash_key::RequestHash;
use crate::model::http::head::RequestHead;
use crate::model::http::plan::{Plan, Planner};
use crate::model::http::reply::{LocalReply, Reason};
use crate::model::http::route::{Cluster, Destination, Target};
use crate::model::http::standing::Standing;
use crate::model::resolve::Unresolved;

/// The line of a destination that a request is planned to. `sent`: the request as its endpoint gets it.
pub(super) fn planned(
    asker: &Asker<'_>,
    dialled: OriginalDst,
    plan: &Plan,
    head: &RequestHead,
    sent: &RequestHead,
) -> DestinationLine {
    let asker = &Asker { request: Some(sent), ..*asker };
    let policy = &*plan.policy;
    let mut line = DestinationLine {
        name: plan.service.to_string(),
        port: plan.port,
        weight: 1,
        total_weight: 1,
        subset: subset_of(plan),
        destination_rule: policy.origin.as_ref().map(ToString::to_string),
        policy: policy_lines(policy),
        ..DestinationLine::default()
    };
    let rules = asker.config.destination_rules(asker.view(), &plan.service);
    line.other_rules = object_lines(&rules);
    line.other_rules.retain(|rule| !rule.counts);
    let hash = hash_of(asker, policy, head);
    let place = Place { service: &plan.service, port: plan.port, dialled, policy: Some(policy), hash };
    line.answer = endpoints::add(asker, place, &mut line).map(|unresolved| no_endpoint(&line, &unresolved));
    line
}

/// What decides about the endpoint in the place of chance. A cookie that is made for a client is drawn by chance.
fn hash_of(asker: &Asker<'_>, policy: &DestinationPolicy, head: &RequestHead) -> Option<u64> {
    let Algorithm::ConsistentHash(key) = &policy.load_balancer.algorithm else { return None };
    let own = *asker.source.addresses.first()?;
    match key.hash(head, own, 0) {
        RequestHash::Known(hash) => Some(hash),
        RequestHash::NewCookie { .. } | RequestHash::Absent => None,
    }
}

fn subset_of(plan: &Plan) -> Option<String> {
    match &plan.destination()?.target {
        Target::Cluster(cluster) => cluster.subset.as_deref().map(str::to_owned),
        Target::Invalid { .. } => None,
    }
}

/// The line of a destination that no request can be planned to.
pub(super) fn unplanned(planner: &Planner<'_>, destination: &Destination, reason: Reason) -> DestinationLine {
    let reply = LocalReply::new(reason, false);
    let (name, port, because) = match &destination.target {
        Target::Invalid { .. } => {
            let because = "the reference is not valid, or the service that it names is not there";
            ("an invalid reference".to_owned(), 0, because.to_owned())
        }
        Target::Cluster(cluster) => {
            let port = cluster.port.unwrap_or(planner.dialled_port);
            (cluster.hostname.to_string(), port, why_unplanned(planner, cluster))
        }
    };
    let subset = match &destination.target {
        Target::Cluster(cluster) => cluster.subset.as_deref().map(str::to_owned),
        Target::Invalid { .. } => None,
    };
    let answer = Some(AnswerLine { status: reply.status, because });
    DestinationLine { name, port, weight: 1, total_weight: 1, subset, answer, ..DestinationLine::default() }
}

fn why_unplanned(planner: &Planner<'_>, cluster: &Cluster) -> String {
    let namespace = planner.source.namespace;
    let Some(service) = planner.mesh.service_by_hostname(&cluster.hostname, namespace) else {
        return format!("namespace {namespace} sees no service {}", cluster.hostname);
    };
    let Some((key, port)) = planner.service_of(cluster) else {
        let ports: Vec<String> = service.ports.iter().map(|port| port.service_port.to_string()).collect();
        return format!("service {} has no such port; it has {}", service.key, ports.join(", "));
    };
    if planner.policy(&key, port, cluster.subset.as_deref()).is_some() {
        return "its DestinationRule asks for TLS that this agent cannot do".to_owned();
    }
    let subset = cluster.subset.as_deref().unwrap_or_default();
    let rules = planner.config.destination_rules(planner.source, &key);
    match rules.iter().find(|rule| rule.standing == Standing::Counts) {
        Some(rule) => format!("{} has no subset {subset}", rule.origins[0]),
        None => format!("no DestinationRule counts for {key}, so there is no subset {subset}"),
    }
}

fn no_endpoint(line: &DestinationLine, unresolved: &Unresolved) -> AnswerLine {
    let reason = match unresolved {
        Unresolved::NoSuchPort(..) => Reason::NoCluster { status: 503 },
        Unresolved::RegistryOnly => Reason::Blocked,
        _ => Reason::NoHealthyEndpoint,
    };
    let known = line.endpoints.len() + line.outside_of_subset;
    let because = if known == 0 {
        "the service has no endpoint".to_owned()
    } else if line.endpoints.is_empty() {
        format!("the subset is empty: none of the {known} endpoints has its labels")
    } else {
        unresolved.to_string()
    };
    AnswerLine { status: LocalReply::new(reason, false).status, because }
}

/// How an endpoint is chosen, and limits that differ from the defaults.
fn policy_lines(policy: &DestinationPolicy) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(labels) = &policy.subset {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(format!("endpoints with {}", labels.join(", ")));
    }
    lines.push(balancing(&policy.load_balancer.algorithm));
    lines.extend(policy.locality.as_deref().map(|preference| places(&preference.rule)));
    if let Some(warmup) = policy.load_balancer.warmup {
        lines.push(format!("a new endpoint gets less than its share for {:?}", warmup.duration));
    }
    if let Some(detection) = &policy.outlier_detection {
        lines.push(format!(
            "an endpoint is ejected for {:?} after {} errors 5xx in a row, at most {} % of them",
            detection.base_ejection_time, detection.consecutive_5xx, detection.max_ejection_percent
        ));
    }
    lines.extend(limits(&policy.pool));
    if let Some(tls) = &policy.tls {
        lines.push(format!("TLS: {:?}", tls.mode).to_uppercase());
    }
    lines
}

fn balancing(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::LeastRequest => "balancing: the less loaded of two endpoints",
        Algorithm::RoundRobin => "balancing: round robin",
        Algorithm::Random => "balancing: random",
        Algorithm::Passthrough => "balancing: none, to the address that was dialled",
        Algorithm::ConsistentHash(key) => {
            return match key {
                HashKey::Header(name) => format!("balancing: by the field {name}"),
                HashKey::Cookie(cookie) => format!("balancing: by the cookie {}", cookie.name),
                HashKey::SourceIp => "balancing: by the address of the client".to_owned(),
                HashKey::QueryParameter(name) => format!("balancing: by the query parameter {name}"),
            };
        }
    }
    .to_owned()
}

/// Where endpoints should be.
fn places(rule: &LocalityRule) -> String {
    match rule {
        LocalityRule::Anywhere => "locality: any".to_owned(),
        LocalityRule::Failover(_) => "locality: the nearest endpoints that are left".to_owned(),
        LocalityRule::Labels(labels) => {
            let names: Vec<&str> = labels.iter().map(|label| &*label.name).collect();
            format!("locality: endpoints that agree with the client in most of the first of {}", names.join(", "))
        }
        LocalityRule::Distribute(all) => {
            let entry = |entry: &Distribution| {
                let shares: Vec<String> =
                    entry.to.iter().map(|(place, share)| format!("{share} % in {}", place.text())).collect();
                format!("of clients in {}: {}", entry.from.text(), shares.join(", "))
            };
            format!("locality: {}", all.iter().map(entry).collect::<Vec<_>>().join("; "))
        }
    }
}

fn limits(pool: &ConnectionPool) -> impl Iterator<Item = String> {
    let limits = [
        ("connections", pool.max_connections),
        ("waiting requests", pool.max_pending_requests),
        ("requests at one time", pool.max_requests),
        ("retries at one time", pool.max_retries),
    ];
    let set = limits.into_iter().filter(|(_, limit)| *limit != u32::MAX);
    set.map(|(what, limit)| format!("limit: {limit} {what}"))
}
