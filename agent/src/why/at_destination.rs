//! What the agent of a destination would do with a request, as far as it is known here: the objects that are mesh-wide are known to every
//! agent, the labels of a pod and the decisions about it to that of its node.

use std::net::SocketAddr;

use super::asker::{Asker, AtDestination, as_written};
use super::explanation::EndpointLine;
use crate::model::authentication::{AuthenticationObject, JwtRule, SelectedPod};
use crate::model::authorization::AccessRequest;
use crate::model::policy_object::PolicyTarget;
use crate::model::rate_limit::objects::{LimitTarget, RateLimitObject};
use crate::model::resolve::{Transport, Upstream};

/// What is said of objects that may be about a pod of another node.
const OF_ITS_LABELS: &str = "and those that select its labels, which its node knows";

/// Adds it to the line of an endpoint, which has this address.
pub(super) fn tell(asker: &Asker<'_>, upstream: &Upstream, address: Option<SocketAddr>, line: &mut EndpointLine) {
    let (Some(workload), Some(destination)) = (&upstream.workload, address) else {
        "none of the mesh's: no policy is asked".clone_into(&mut line.authorization);
        return;
    };
    let over_hbone = matches!(upstream.transport, Transport::Hbone { .. });
    let own = asker.source.addresses.iter();
    let source_ip = own.clone().find(|ip| ip.is_ipv4() == destination.is_ipv4()).or_else(|| own.clone().next());
    let request = AccessRequest {
        source: over_hbone.then(|| asker.identity.clone()),
        source_ip: source_ip.copied().unwrap_or(destination.ip()),
        destination,
    };
    let AtDestination { decided, token, authorizers } = (asker.at_destination)(workload, &request, asker.request);
    line.authorization = match decided {
        None if workload.node.is_empty() => "decided at the destination".to_owned(),
        None => format!("decided on node {}", workload.node),
        Some(Err(denied)) => format!("refused: {denied}"),
        Some(Ok(permit)) => match permit.policy() {
            Some(policy) => format!("allowed by policy {policy}{}", as_written(asker.mesh, policy)),
            None => "allowed: no ALLOW policy is in force".to_owned(),
        },
    };
    (line.token, line.authorizers) = (token, authorizers);
    if asker.request.is_some() {
        line.tokens = tokens(asker, upstream);
    }
    line.limits = limits(asker, upstream, destination);
}

/// Whose tokens count at the destination, and where they are looked for.
fn tokens(asker: &Asker<'_>, upstream: &Upstream) -> Vec<String> {
    let Some(workload) = &upstream.workload else { return Vec::new() };
    let known = (asker.labels_of)(workload);
    let labels = known.clone().unwrap_or_default();
    let pod = SelectedPod { namespace: &workload.namespace, labels: &labels, workload: Some(workload) };
    let mut lines = Vec::new();
    let config = asker.config.authentication();
    for object in config.about(pod) {
        let key = object.key();
        if let Some(reason) = &object.invalid {
            lines.push(format!("RequestAuthentication {key} cannot be understood ({reason})"));
        }
        let told = |rule: &JwtRule| format!("of {} in {} (RequestAuthentication {key})", rule.issuer, rule.places);
        lines.extend(object.rules.iter().map(|rule| told(rule)));
    }
    let may_select = |object: &AuthenticationObject| {
        let is_near = object.namespace == workload.namespace || object.namespace == config.root_namespace;
        is_near && matches!(object.target, PolicyTarget::Selector(_)) && !object.is_about(&config.root_namespace, pod)
    };
    if known.is_none() && config.objects.iter().any(|object| may_select(object)) {
        lines.push(OF_ITS_LABELS.to_owned());
    }
    lines
}

/// The rate limits at the destination's port.
fn limits(asker: &Asker<'_>, upstream: &Upstream, destination: SocketAddr) -> Vec<String> {
    let config = asker.config.rate_limits();
    let Some(workload) = &upstream.workload else { return Vec::new() };
    let known = (asker.labels_of)(workload);
    let labels = known.clone().unwrap_or_default();
    let counting = config.counting(&workload.namespace, &labels, &workload.services);
    let at_port = counting.iter().filter(|limit| limit.counts_at(destination.port()));
    let mut lines: Vec<String> = at_port.map(ToString::to_string).collect();
    let may_select = |object: &RateLimitObject| {
        matches!(object.target, LimitTarget::Selector(_))
            && (object.namespace == workload.namespace || object.namespace == config.root_namespace)
    };
    if known.is_none() && config.objects.iter().any(|object| may_select(object)) {
        lines.push(OF_ITS_LABELS.to_owned());
    }
    lines
}
