//! How a pod that was enrolled comes to be served: its listeners, its HBONE connections, its certificate.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::budget::Handshakes;
use super::direct::{self, Sources, Suggestions};
use super::inbound::{self, InboundPeers, PodAuthenticator};
use super::listener::{self, ListenerKind};
use super::node::Proxy;
use super::origin::PodOrigin;
use super::outbound::{self, Breakers, HttpPool, PodLookups, Turns};
use super::peer_trust;
use super::pod::PodProxy;
use super::pod_policies::KnownPolicies;
use super::rate_limits::PodRateLimits;
use super::revocation;
use super::same_node::{Links, Neighbours};
use crate::enrollment::Enrolled;
use crate::enrollment::pod::EnrolledPod;
use crate::hbone::{self, ConnectionLimits, Dialer, Pool, WindowBudget};
use crate::lifecycle::essential;
use crate::limits::LimitKind;

impl Proxy {
    /// Serves pods as they are enrolled, until the process drains.
    pub async fn run(self: Arc<Self>, mut arrivals: mpsc::UnboundedReceiver<Enrolled>) {
        let revocation = revocation::watch(self.live.clone(), self.mesh.clone(), self.metrics.clone());
        tokio::spawn(essential("decide again about open connections", revocation));
        tokio::spawn(essential("trust peers still", peer_trust::watch(self.clone())));
        let drain = self.drain.clone();
        let neighbours = Arc::default();
        let (suggestions, of_pods) = self.keep_direct_path();
        loop {
            let enrolled = tokio::select! {
                enrolled = arrivals.recv() => enrolled,
                () = drain.draining() => return,
            };
            let Some(enrolled) = enrolled else { return };
            let pod_proxy = self.serve_pod(enrolled, &neighbours, &suggestions);
            // Without a direct path nobody asks.
            let _ = of_pods.send(pod_proxy);
        }
    }

    /// Starts the task that keeps the direct path; with what tells it of connections, and of pods.
    fn keep_direct_path(self: &Arc<Self>) -> (Arc<Suggestions<PodProxy>>, mpsc::UnboundedSender<Arc<PodProxy>>) {
        let (of_pods, pods) = mpsc::unbounded_channel();
        let (suggested, suggestions) = Suggestions::taken();
        let serves = self.direct.serves.clone();
        let keeping = direct::keep(self.clone(), Sources { serves, pods, suggestions });
        tokio::spawn(essential("keep the direct path", keeping));
        (Arc::new(if self.direct.is_on { suggested } else { Suggestions::untaken() }), of_pods)
    }

    fn serve_pod(
        self: &Arc<Self>,
        enrolled: Enrolled,
        neighbours: &Arc<Neighbours<PodProxy>>,
        suggestions: &Arc<Suggestions<PodProxy>>,
    ) -> Arc<PodProxy> {
        let Enrolled { pod, listeners } = enrolled;
        let budget = WindowBudget::new(&pod.limits);
        let dialer = Arc::new(self.dialer(&pod, budget.clone()));
        let limits = self.connection_limits(&pod);
        let pool = || Pool::new(dialer.clone(), self.pool, limits.clone());
        let pools = std::iter::repeat_with(pool).take(self.workers.count()).collect();
        let http_pools = std::iter::repeat_with(HttpPool::default).take(self.workers.count()).collect();
        let identity = pod.identity(&self.mesh.read().settings().trust_domain);
        let carried = self.pod_certificates.carry(identity, pod.left.clone());
        let inbound_peers = InboundPeers::new(pod.limits.of(LimitKind::InboundOfPeer));
        let (names, lookups) = (self.names.of_pod(&pod), PodLookups::new(&pod.limits));
        let endpoints = self.endpoints.of_pod(&pod.spec.uid);
        let pod_proxy = Arc::new(PodProxy {
            proxy: self.clone(),
            served: AtomicUsize::new(0),
            live: self.live.of_pod(pod.clone()),
            authenticator: PodAuthenticator::new(
                self.tokens.of_pod(pod.limits.of(LimitKind::RememberedTokens).clone()),
            ),
            pod,
            pools,
            http_pools,
            neighbours: neighbours.clone(),
            links: Links::new(inbound::serve_link),
            suggestions: suggestions.clone(),
            names,
            lookups,
            endpoints,
            breakers: Breakers::default(),
            turns: Turns::default(),
            budget,
            handshakes: Handshakes::default(),
            inbound_peers,
            rate_limits: PodRateLimits::default(),
            policies: KnownPolicies::default(),
            baggage: Mutex::default(),
            _carried: carried,
        });
        neighbours.add(&pod_proxy, &pod_proxy.pod.spec.addresses);
        for (kind, (v4, v6)) in [
            (ListenerKind::Outbound, listeners.outbound),
            (ListenerKind::InboundPlaintext, listeners.inbound_plaintext),
            (ListenerKind::InboundHbone, listeners.inbound_hbone),
        ] {
            for listener in std::iter::once(v4).chain(v6) {
                let accepting = listener::serve(pod_proxy.clone(), kind, listener);
                self.workers.spawn_on_next(essential("accept connections", accepting));
            }
        }
        let served = pod_proxy.clone();
        self.workers.spawn_on_next(essential("sweep pools", async move {
            let left = async || {
                tokio::select! {
                    () = pod_proxy.pod.left.cancelled() => {}
                    () = pod_proxy.proxy.drain.draining() => {}
                }
            };
            tokio::join!(hbone::sweep(&pod_proxy.pools, left()), outbound::sweep(&pod_proxy.http_pools, left()));
        }));
        served
    }

    /// How many HBONE connections a pod may have: to all its peers, and to one of them, in equal parts for the workers.
    fn connection_limits(&self, pod: &EnrolledPod) -> ConnectionLimits {
        let peer = pod.limits.of(LimitKind::PeerConnections);
        let workers = u32::try_from(self.workers.count()).unwrap_or(u32::MAX);
        ConnectionLimits {
            peer: peer.another((peer.maximum() / workers).max(1)),
            origin: pod.limits.of(LimitKind::HboneConnections).clone(),
            crowded: Arc::default(),
        }
    }

    /// What a pod's HBONE connections are made with; they end when the pod is dead.
    fn dialer(&self, pod: &Arc<EnrolledPod>, budget: WindowBudget) -> Dialer<PodOrigin> {
        let origin = PodOrigin {
            pod: pod.clone(),
            mesh: self.mesh.clone(),
            extra_trust_domains: self.node.extra_trust_domains.clone(),
            connect_timeout: self.timeouts.connect,
        };
        Dialer {
            origin,
            certificates: self.certificates.clone(),
            metrics: self.metrics.clone(),
            handshake_timeout: self.timeouts.handshake,
            has_request_streams: self.pool.request_streams,
            request_timeout: self.timeouts.request,
            budget,
            age: self.timeouts.age,
            closed: pod.dead.clone(),
        }
    }
}
