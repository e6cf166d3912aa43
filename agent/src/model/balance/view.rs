//! A service's endpoints as one kind of source sees them through one port: who may be picked, in which order of preference.

use std::sync::Arc;

use super::choice::Choice;
use super::locality::{ClientPlace, LocalityPreference};
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
    origin: SourcePlace,
    /// Where it takes the place of the service's scopes.
    preference: Option<(Arc<LocalityPreference>, ClientPlace)>,
    /// Ranks of healthy endpoints.
    healthy_ranks: usize,
    /// So many first ranks get requests by their share; all others are an order.
    shares: Vec<u32>,
    /// Best first: those of the preference, or one more shared scope each, then endpoints that terminate, then, last, those that
    /// cannot be reached from here.
    ranks: Vec<Weights>,
}

/// What of a source a choice may depend on.
#[derive(Debug)]
struct SourcePlace {
    network: Arc<str>,
    cluster_id: Arc<str>,
    node: Arc<str>,
    locality: Shared<Locality>,
}

impl View {
    pub(super) fn new(service: &Arc<Service>, port: RequestedPort, source: &Workload, choice: &Choice<'_>) -> Self {
        let origin = SourcePlace {
            network: source.network.clone(),
            cluster_id: source.cluster_id.clone(),
            node: source.node.clone(),
            locality: source.locality.clone(),
        };
        let preference = applicable(service, choice)
            .map(|preference| (preference.clone(), ClientPlace::of(&preference.rule, source)));
        let (healthy_ranks, shares) = match &preference {
            Some((preference, place)) => (preference.rule.ranks(place), preference.rule.shares(place)),
            None => (scopes(service).len() + 1, Vec::new()),
        };
        let ranks = vec![Weights::default(); healthy_ranks + 2];
        Self { service: service.clone(), port, origin, preference, healthy_ranks, shares, ranks }
    }

    /// Whether this view is the one for such a request.
    pub(super) fn answers(&self, port: RequestedPort, source: &Workload, choice: &Choice<'_>) -> bool {
        let is_same_place = || match (&self.preference, applicable(&self.service, choice)) {
            (Some((own, place)), Some(wanted)) => {
                (Arc::ptr_eq(own, wanted) || own == wanted) && place.is_of(&own.rule, source)
            }
            (None, None) => self.is_at(source),
            _ => false,
        };
        self.port == port && self.origin.network == source.network && is_same_place()
    }

    fn is_at(&self, source: &Workload) -> bool {
        scopes(&self.service).is_empty()
            || (self.origin.node == source.node
                && self.origin.locality == source.locality
                && self.origin.cluster_id == source.cluster_id)
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

    /// The first slot that `pick` finds in a rank. Where ranks have shares, the rank is drawn among those that have one.
    pub(super) fn find<R: FnMut() -> u64>(
        &self,
        random: &mut R,
        mut pick: impl FnMut(&Weights, &mut R) -> Option<u32>,
    ) -> Option<u32> {
        let (shared, ordered) = self.ranks.split_at(self.shares.len());
        let mut shares = self.shares.clone();
        while let Some(at) = drawn(&shares, random) {
            if let Some(found) = pick(&shared[at], random) {
                return Some(found);
            }
            // What it would have got goes to the others.
            shares[at] = 0;
        }
        ordered.iter().find_map(|weights| pick(weights, random))
    }

    /// The best rank that has an endpoint; `None` where ranks have shares.
    pub(super) fn best(&self) -> Option<&Weights> {
        if !self.shares.is_empty() {
            return None;
        }
        self.ranks.iter().find(|weights| weights.slots().next().is_some())
    }

    /// The place of an endpoint in [`Self::ranks`]; `None` where it may not be picked at all.
    fn rank(&self, endpoint: &Workload) -> Option<usize> {
        if !self.may_serve(endpoint) {
            return None;
        }
        let by_place = match &self.preference {
            Some((preference, place)) => preference.rule.rank(place, endpoint)?,
            None => self.by_scopes(endpoint)?,
        };
        Some(match (self.origin.reaches(endpoint), is_healthy(&self.service, endpoint)) {
            (true, true) => by_place,
            (true, false) => self.healthy_ranks,
            (false, _) => self.healthy_ranks + 1,
        })
    }

    fn by_scopes(&self, endpoint: &Workload) -> Option<usize> {
        let balancing = self.service.load_balancing.as_ref();
        let scopes = scopes(&self.service);
        let shared = scopes.iter().take_while(|scope| self.origin.shares(**scope, endpoint)).count();
        let must_share_all = balancing.is_some_and(|lb| lb.mode == BalancingMode::Strict);
        (!must_share_all || shared == scopes.len()).then(|| scopes.len() - shared)
    }

    fn may_serve(&self, endpoint: &Workload) -> bool {
        match self.port {
            RequestedPort::Any => is_serving(&self.service, endpoint),
            RequestedPort::Service(port) => may_serve(&self.service, endpoint, port),
        }
    }
}

/// The preference that counts for a service, where it is not the service's own.
fn applicable<'a>(service: &Service, choice: &Choice<'a>) -> Option<&'a Arc<LocalityPreference>> {
    choice.preference.filter(|preference| !preference.yields_to_service || scopes(service).is_empty())
}

/// One of several, in proportion to their shares; `None` where nobody has one.
fn drawn(shares: &[u32], random: &mut impl FnMut() -> u64) -> Option<usize> {
    let total: u64 = shares.iter().map(|share| u64::from(*share)).sum();
    let mut rest = (total > 0).then(|| (u128::from(random()) * u128::from(total)) >> 64)?;
    shares.iter().position(|share| {
        let share = u128::from(*share);
        let is_it = rest < share;
        rest = rest.saturating_sub(share);
        is_it
    })
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

impl SourcePlace {
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
