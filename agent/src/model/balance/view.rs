//! A service's endpoints as one kind of source sees them through one port: who may be picked, in which order of preference.

use std::sync::Arc;

use super::weights::Weights;
use crate::model::service::{BalancingMode, LoadBalancing, Scope, Service};
use crate::model::shared::Shared;
use crate::model::workload::{HealthStatus, Locality, Workload};

/// Which port of a service the connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum RequestedPort {
    /// A port of the service: only endpoints that serve it count.
    Service(u16),
    /// A waypoint or gateway is dialled on its own HBONE port: every endpoint counts.
    Any,
}

/// Endpoints by preference, kept up to date slot by slot.
#[derive(Debug)]
pub(super) struct View {
    service: Arc<Service>,
    port: RequestedPort,
    origin: Origin,
    /// Best first: one more shared scope each, then endpoints that terminate, then, last, those that cannot be reached from here.
    ranks: Vec<Weights>,
}

/// What of a source a choice may depend on.
#[derive(Debug)]
struct Origin {
    network: Arc<str>,
    cluster_id: Arc<str>,
    node: Arc<str>,
    locality: Shared<Locality>,
}

impl View {
    pub(super) fn new(service: &Arc<Service>, port: RequestedPort, source: &Workload) -> Self {
        let origin = Origin {
            network: source.network.clone(),
            cluster_id: source.cluster_id.clone(),
            node: source.node.clone(),
            locality: source.locality.clone(),
        };
        let ranks = vec![Weights::default(); scopes(service).len() + 3];
        Self { service: service.clone(), port, origin, ranks }
    }

    /// Whether this view is the one for such a request.
    pub(super) fn answers(&self, port: RequestedPort, source: &Workload) -> bool {
        self.port == port
            && self.origin.network == source.network
            && (scopes(&self.service).is_empty()
                || (self.origin.node == source.node
                    && self.origin.locality == source.locality
                    && self.origin.cluster_id == source.cluster_id))
    }

    pub(super) fn add(&mut self, slot: u32, endpoint: &Workload) {
        if let Some(rank) = self.rank(endpoint) {
            self.ranks[rank].add(slot, endpoint.capacity);
        }
    }

    /// `endpoint` must be the one that was added.
    pub(super) fn remove(&mut self, slot: u32, endpoint: &Workload) {
        if let Some(rank) = self.rank(endpoint) {
            self.ranks[rank].remove(slot, endpoint.capacity);
        }
    }

    pub(super) fn pick(&self, excluded: impl Fn(u32) -> bool, random: &mut impl FnMut() -> u64) -> Option<u32> {
        self.ranks.iter().find_map(|weights| weights.pick_except(&excluded, random))
    }

    /// The same endpoint each time for one client, as long as it is there and not excluded; see `affinity`.
    pub(super) fn pick_greatest(&self, excluded: impl Fn(u32) -> bool, score: impl Fn(u32, u64) -> f64) -> Option<u32> {
        self.ranks.iter().find_map(|weights| weights.pick_greatest(&excluded, &score))
    }

    /// The place of an endpoint in [`Self::ranks`]; `None` where it may not be picked at all.
    fn rank(&self, endpoint: &Workload) -> Option<usize> {
        if !self.may_serve(endpoint) {
            return None;
        }
        let balancing = self.service.load_balancing.as_ref();
        let scopes = scopes(&self.service);
        let shared = scopes.iter().take_while(|scope| self.origin.shares(**scope, endpoint)).count();
        if balancing.is_some_and(|lb| lb.mode == BalancingMode::Strict) && shared < scopes.len() {
            return None;
        }
        Some(match (self.origin.reaches(endpoint), is_healthy(&self.service, endpoint)) {
            (true, true) => scopes.len() - shared,
            (true, false) => scopes.len() + 1,
            (false, _) => scopes.len() + 2,
        })
    }

    fn may_serve(&self, endpoint: &Workload) -> bool {
        match self.port {
            RequestedPort::Any => is_serving(&self.service, endpoint),
            RequestedPort::Service(port) => may_serve(&self.service, endpoint, port),
        }
    }
}

/// Whether an endpoint may serve a port of a service, to some source at least.
pub(in crate::model) fn may_serve(service: &Service, endpoint: &Workload, port: u16) -> bool {
    let ports = endpoint.services.get(&service.key);
    let serves = ports.is_some_and(|ports| ports.iter().any(|mapping| mapping.service_port == port));
    serves && is_serving(service, endpoint)
}

/// Whether an endpoint may be used at all, be it as the last resort.
fn is_serving(service: &Service, endpoint: &Workload) -> bool {
    endpoint.status == HealthStatus::Terminating || is_healthy(service, endpoint)
}

fn is_healthy(service: &Service, endpoint: &Workload) -> bool {
    let balancing = service.load_balancing.as_ref();
    endpoint.status == HealthStatus::Healthy || balancing.is_some_and(|lb| lb.allow_unhealthy)
}

impl Origin {
    /// A zone lies in its region, a subzone in its zone and a node in its cluster, so equal names alone are not enough.
    /// Unknown parts of a locality equal each other (many clusters have no subzones); unknown nodes do not.
    fn shares(&self, scope: Scope, endpoint: &Workload) -> bool {
        let (ours, theirs) = (&self.locality, &endpoint.locality);
        match scope {
            Scope::Region => ours.region == theirs.region,
            Scope::Zone => ours.region == theirs.region && ours.zone == theirs.zone,
            Scope::Subzone => ours == theirs,
            Scope::Node => {
                !self.node.is_empty() && self.node == endpoint.node && self.cluster_id == endpoint.cluster_id
            }
            Scope::Cluster => self.cluster_id == endpoint.cluster_id,
            Scope::Network => self.network == endpoint.network,
        }
    }

    /// Endpoints behind another network's gateway, or without any address, serve only to say what is wrong.
    fn reaches(&self, endpoint: &Workload) -> bool {
        let addressed = !endpoint.addresses.is_empty() || !endpoint.hostname.is_empty();
        addressed && (self.network == endpoint.network || endpoint.network_gateway.is_none())
    }
}

/// The scopes that order a service's endpoints.
fn scopes(service: &Service) -> &[Scope] {
    match &service.load_balancing {
        Some(LoadBalancing { mode: BalancingMode::Strict | BalancingMode::Failover, routing_preference, .. }) => {
            routing_preference
        }
        _ => &[],
    }
}
