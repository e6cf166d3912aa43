//! An enrolled pod as the proxy serves it: which workload of the mesh it is, and its HBONE connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;

use super::budget::Handshakes;
use super::certificates::CarriedIdentity;
use super::direct::Suggestions;
use super::inbound::{InboundPeers, PodAuthenticator};
use super::node::Proxy;
use super::origin::PodOrigin;
use super::outbound::{Breakers, HttpPool, Names, PodEndpoints, PodLookups, Turns};
use super::pod_policies::KnownPolicies;
use super::rate_limits::{CountingLimits, PodRateLimits};
use super::revocation::PodConnections;
use super::same_node::{Links, Neighbours};
use super::workers::Workers;
use crate::enrollment::pod::EnrolledPod;
use crate::hbone::{self, Pool, WindowBudget};
use crate::model::authorization::Denied;
use crate::model::identity::Identity;
use crate::model::mesh::{Listing, Mesh};
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::workload::Workload;
use crate::telemetry::connection_reporting::ConnectionReporting;

/// See the module.
#[derive(Debug)]
pub(super) struct PodProxy {
    pub(super) proxy: Arc<Proxy>,
    pub(super) pod: Arc<EnrolledPod>,
    /// HBONE connections are never shared between pods: each is opened in its pod's namespace under its identity. Nor are
    /// they between workers: there is a pool for each.
    pub(super) pools: Box<[Pool<PodOrigin>]>,
    /// The connections for its HTTP requests, of each worker too.
    pub(super) http_pools: Box<[HttpPool]>,
    /// The pods of the same node, and its links to them, which take the place of HBONE connections.
    pub(super) neighbours: Arc<Neighbours<PodProxy>>,
    pub(super) links: Links<PodProxy>,
    /// What tells of connections to them that others may follow directly.
    pub(super) suggestions: Arc<Suggestions<PodProxy>>,
    /// The names that its own requests have it look up; all that are looked up for it as its own configuration says.
    pub(super) names: Names,
    /// The lookups that run for it.
    pub(super) lookups: PodLookups,
    /// What it has seen of the endpoints of its HTTP requests.
    pub(super) endpoints: Arc<PodEndpoints>,
    /// What it has under way to destinations that have limits.
    pub(super) breakers: Breakers,
    /// Whose turn it is among the endpoints of destinations.
    pub(super) turns: Turns,
    /// What slow readers of its HBONE streams may make the agent hold.
    pub(super) budget: WindowBudget,
    pub(super) handshakes: Handshakes,
    pub(super) inbound_peers: InboundPeers,
    pub(super) rate_limits: PodRateLimits,
    /// The policies that its requests are decided about by.
    pub(super) policies: KnownPolicies,
    /// Whose tokens count for requests to it.
    pub(super) authenticator: PodAuthenticator,
    /// With the last connection of a pod that has left, its certificate goes.
    pub(super) _carried: CarriedIdentity,
    /// Its accepted connections that are served now.
    pub(super) served: AtomicUsize,
    /// The inbound connections that are open.
    pub(super) live: Arc<PodConnections>,
    /// The header that was made last, and the workload that it describes.
    pub(super) baggage: Mutex<Option<(Arc<Workload>, HeaderValue)>>,
}

/// An accepted connection of a pod while it is served.
#[derive(Debug)]
pub(super) struct Served(Arc<PodProxy>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::Relaxed);
        self.0.proxy.served.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PodProxy {
    /// The HBONE connections of the worker that the caller runs on.
    pub(super) fn pool(&self) -> &Pool<PodOrigin> {
        &self.pools[Workers::current()]
    }

    /// The connections for HTTP requests of the worker that the caller runs on.
    pub(super) fn http_pool(&self) -> &HttpPool {
        &self.http_pools[Workers::current()]
    }

    /// Whether the node serves connections of other pods now.
    pub(super) fn shares_node(&self) -> bool {
        self.proxy.served.load(Ordering::Relaxed) > self.served.load(Ordering::Relaxed)
    }

    /// Counts an accepted connection as served until the guard is dropped.
    pub(super) fn count_served(self: &Arc<Self>) -> Served {
        self.proxy.served.fetch_add(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
        Served(self.clone())
    }

    /// The rate limits that count for the pod now.
    pub(super) fn counting_limits(&self, mesh: &Mesh, config: &Arc<RateLimitConfig>) -> Arc<CountingLimits> {
        self.rate_limits.counting(&self.pod, mesh, config, (&self.proxy.node_rate_limits, &*self.proxy.metrics))
    }

    /// The identity that this pod's traffic carries.
    pub(super) fn identity(&self) -> Identity {
        self.pod.identity(&self.proxy.mesh.read().settings().trust_domain)
    }

    /// What connections of the pod that begin now are reported to.
    pub(super) fn connection_reporting(&self) -> ConnectionReporting {
        ConnectionReporting::new(&self.proxy.requests, &self.pod.telemetry)
    }

    /// What a CONNECT request says of the pod that it comes from. Made once, as long as the mesh says the same of the pod.
    pub(super) fn baggage(&self, source: &Arc<Workload>) -> Option<HeaderValue> {
        let mut last = self.baggage.lock();
        if let Some((of, header)) = &*last
            && Arc::ptr_eq(of, source)
        {
            return Some(header.clone());
        }
        let header = hbone::baggage(source)?;
        *last = Some((source.clone(), header.clone()));
        Some(header)
    }

    /// The pod as the mesh knows it; where it does not (yet), as its enrolment describes it.
    pub(super) fn source_workload(&self, mesh: &Mesh) -> Arc<Workload> {
        self.proxy.source_workload(&self.pod, mesh)
    }

    /// The pod as the mesh knows it.
    pub(super) fn known_workload(&self, mesh: &Mesh) -> Option<Arc<Workload>> {
        mesh.workload_of_pod(self.pod.spec.key()).cloned()
    }

    /// The pod as its enrolment describes it, with the policies that select it by its labels; `None` where those are not
    /// known. It fails where a policy may be about the pod and does not say so.
    pub(super) fn workload_by_labels(&self, mesh: &Mesh) -> Option<Result<Arc<Workload>, Denied>> {
        let (spec, current) = (&self.pod.spec, self.pod.current());
        if current.labels.is_empty() {
            return None;
        }
        let Listing { keys, unclear } = mesh.listing(&spec.namespace, &current.labels);
        if let Some(policy) = unclear {
            return Some(Err(Denied::UnknownSelector(policy)));
        }
        let described = self.proxy.described_workload(&self.pod, mesh.settings());
        Some(Ok(Arc::new(Workload { authorization_policies: keys, ..described })))
    }
}
