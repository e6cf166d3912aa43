//! The endpoints of a destination: who may be chosen, who may not and why, and how each is reached.

use std::sync::Arc;

use super::asker::Asker;
use super::at_destination;
use super::explanation::{DestinationLine, EndpointLine};
use crate::model::address::OriginalDst;
use crate::model::balance::{Choice, Order};
use crate::model::http::destination::{Algorithm, DestinationPolicy};
use crate::model::resolve::{EndpointRequest, Transport, Unresolved, Upstream};
use crate::model::service::ServiceKey;
use crate::model::workload::{HealthStatus, Workload};

/// Endpoints that are told one by one.
const MAX_TOLD: usize = 50;

/// Where requests go: a port of a service, and which address was dialled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) service: &'a ServiceKey,
    pub(super) port: u16,
    pub(super) dialled: OriginalDst,
    /// `None` for TCP, of which a DestinationRule says nothing.
    pub(super) policy: Option<&'a DestinationPolicy>,
    /// Of the request, where it alone decides.
    pub(super) hash: Option<u64>,
}

/// Adds the endpoints of a place to its line. Returns why none may be chosen, where none may.
pub(super) fn add(asker: &Asker<'_>, place: Place<'_>, line: &mut DestinationLine) -> Option<Unresolved> {
    if place.policy.is_some_and(|policy| policy.load_balancer.algorithm == Algorithm::Passthrough) {
        let upstream = asker.mesh.resolve_dialled(asker.source, place.service, place.dialled);
        line.endpoints.extend(upstream.as_ref().ok().map(|upstream| told_of_upstream(asker, upstream)));
        return upstream.err();
    }
    let subset = place.policy.and_then(|policy| policy.subset.as_ref());
    let all: Vec<&Arc<Workload>> = asker.mesh.endpoints(place.service).collect();
    let mut of_subset: Vec<&Arc<Workload>> =
        all.iter().filter(|endpoint| subset.is_none_or(|labels| endpoint.carries(labels))).copied().collect();
    line.outside_of_subset = all.len() - of_subset.len();
    of_subset.sort_by_key(|endpoint| &endpoint.uid);
    let seen = |endpoint: &Workload| (asker.seen)(&endpoint.uid, place.service, place.port);
    let detection = place.policy.and_then(|policy| policy.outlier_detection);
    let are_ejected = all.iter().map(|endpoint| seen(endpoint).is_ejected);
    let ejections_count = detection.is_some_and(|detection| detection.ejections_count(are_ejected));
    let is_excluded = |endpoint: &Workload| {
        subset.is_some_and(|labels| !endpoint.carries(labels)) || (ejections_count && seen(endpoint).is_ejected)
    };
    let first = resolve(asker, place, &is_excluded, 0);
    let best = first.as_ref().ok().and_then(|upstream| upstream.workload.clone());
    for endpoint in of_subset.iter().take(MAX_TOLD) {
        let alone = resolve(asker, place, &|other| other.uid != endpoint.uid, 0);
        let mut told = told(asker, endpoint, &alone);
        let seen = seen(endpoint);
        (told.requests_under_way, told.is_ejected) = (seen.under_way, detection.is_some() && seen.is_ejected);
        told.because = match &alone {
            Err(unresolved) => Some(why_not(endpoint, place, unresolved)),
            Ok(upstream) if upstream.workload.is_none() => Some(why_not_serving(endpoint, place)),
            Ok(_) if told.is_ejected && ejections_count => {
                Some("it is ejected: it failed too often in a row".to_owned())
            }
            Ok(_) if place.hash.is_some() && best.as_ref().is_none_or(|best| best.uid != endpoint.uid) => {
                Some("the hash of the request chooses another".to_owned())
            }
            Ok(_) if !shares_rank(asker, place, endpoint, best.as_deref()) => {
                Some("others are preferred while they are there: by locality or health".to_owned())
            }
            Ok(_) => None,
        };
        told.is_candidate = told.because.is_none();
        line.endpoints.push(told);
    }
    line.more_endpoints = of_subset.len().saturating_sub(MAX_TOLD);
    if let Ok(upstream) = &first
        && upstream.workload.is_none()
    {
        line.endpoints.push(told_of_upstream(asker, upstream));
    }
    first.err()
}

fn resolve(
    asker: &Asker<'_>,
    place: Place<'_>,
    is_excluded: &dyn Fn(&Workload) -> bool,
    random: u64,
) -> Result<Upstream, Unresolved> {
    let Place { service, port, dialled, policy, hash } = place;
    let order = hash.map_or(Order::Chance, Order::Hash);
    let choice = Choice { order, preference: policy.and_then(|policy| policy.locality.as_ref()), warming: None };
    let request = EndpointRequest { service, port, dialled, choice };
    asker.mesh.resolve_request(asker.source, request, is_excluded, || random)
}

/// Whether an endpoint is as good as the best: of the two alone, some draw chooses it.
fn shares_rank(asker: &Asker<'_>, place: Place<'_>, endpoint: &Workload, best: Option<&Workload>) -> bool {
    let Some(best) = best else { return false };
    if best.uid == endpoint.uid {
        return true;
    }
    let is_excluded = |other: &Workload| other.uid != endpoint.uid && other.uid != best.uid;
    [0, u64::MAX].into_iter().any(|random| {
        let chosen = resolve(asker, place, &is_excluded, random).ok().and_then(|upstream| upstream.workload);
        chosen.is_some_and(|chosen| chosen.uid == endpoint.uid)
    })
}

fn why_not(endpoint: &Workload, place: Place<'_>, unresolved: &Unresolved) -> String {
    match unresolved {
        Unresolved::NoHealthyEndpoint(..) => why_not_serving(endpoint, place),
        other => other.to_string(),
    }
}

fn why_not_serving(endpoint: &Workload, place: Place<'_>) -> String {
    let ports = endpoint.services.get(place.service);
    if !ports.is_some_and(|ports| ports.iter().any(|mapping| mapping.service_port == place.port)) {
        return format!("it does not serve port {}", place.port);
    }
    match endpoint.status {
        HealthStatus::Unhealthy => "it is not healthy".to_owned(),
        _ => "the service may not use it from here".to_owned(),
    }
}

fn told(asker: &Asker<'_>, endpoint: &Workload, reached: &Result<Upstream, Unresolved>) -> EndpointLine {
    let locality = &endpoint.locality;
    let parts = [&locality.region, &locality.zone, &locality.subzone].map(|part| &**part);
    let line = EndpointLine {
        name: format!("{}/{}", endpoint.namespace, endpoint.name),
        address: endpoint.addresses.first().map_or_else(|| endpoint.hostname.to_string(), ToString::to_string),
        transport: "none".to_owned(),
        node: endpoint.node.to_string(),
        locality: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"),
        health: match endpoint.status {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "not healthy",
            HealthStatus::Terminating => "terminating",
        }
        .to_owned(),
        ..EndpointLine::default()
    };
    match reached {
        Ok(upstream) => with_transport(asker, upstream, line),
        Err(_) => line,
    }
}

/// What a connection goes to that was resolved without a choice of endpoints.
pub(super) fn told_of_upstream(asker: &Asker<'_>, upstream: &Upstream) -> EndpointLine {
    let mut line = match &upstream.workload {
        Some(workload) => told(asker, workload, &Ok(upstream.clone())),
        None => {
            let line = EndpointLine { health: "not known".to_owned(), ..EndpointLine::default() };
            with_transport(asker, upstream, line)
        }
    };
    if line.name.is_empty() {
        line.name.clone_from(&line.address);
    }
    line.is_candidate = true;
    line
}

fn with_transport(asker: &Asker<'_>, upstream: &Upstream, mut line: EndpointLine) -> EndpointLine {
    let address = match upstream.transport.carrier() {
        Transport::Hbone { peer, authority, identities } => {
            let identities: Vec<String> = identities.iter().map(ToString::to_string).collect();
            line.identity = Some(identities.join(" or "));
            line.address.clone_from(authority);
            line.transport = format!("HBONE (mutual TLS) to {peer}");
            authority.parse().ok()
        }
        Transport::Passthrough(address) => {
            line.address = address.to_string();
            line.transport = "plain TCP".to_owned();
            Some(*address)
        }
        Transport::ResolveHostname { hostname, port } => {
            line.address = format!("{hostname}:{port}");
            line.transport = "plain TCP to what DNS says".to_owned();
            None
        }
        Transport::Tls { .. } => None,
    };
    at_destination::tell(asker, upstream, address, &mut line);
    line
}
