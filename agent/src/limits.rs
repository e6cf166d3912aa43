//! Bounds on what one pod may hold of what all pods of the node share: descriptors, and the memory behind them.
//!
//! Each [`LimitKind`] has a maximum, which is a setting, and every pod has a [`Limit`] of its own with that maximum; one kind bounds
//! all pods together. Whoever holds something of a limit has a [`Held`]. At the maximum the pod waits ([`Limit::take`]) or is refused
//! ([`Limit::try_take`]); other pods notice neither. `docs/limits.md` lists the limits with the reasons for their defaults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Open connections of the pod's applications to others.
    OutboundConnections,
    /// Open connections and HBONE streams to the pod's applications.
    InboundConnections,
    /// Outbound connections whose upstream is not open yet.
    PendingConnects,
    /// HBONE connections of one peer to the pod, and requests on them.
    InboundOfPeer,
    /// Connections to the HBONE port whose peer has not authenticated yet.
    Handshakes,
    /// KiB that slow readers of the pod's HBONE streams may make the agent hold.
    HeldKib,
    /// The same of all pods together.
    AgentHeldKib,
    /// HBONE connections of the pod to one peer.
    PeerConnections,
    /// HBONE connections of the pod to all its peers.
    HboneConnections,
    /// Lookups of names in DNS, each of which holds a thread.
    NameLookups,
    /// Connections to upstreams that the agent opens for the pod's HTTP requests.
    HttpUpstreams,
    /// Requests of the pod that are under way as streams of HTTP/2.
    HttpStreams,
    /// Copies of the pod's requests that are under way to mirrors.
    MirroredRequests,
    /// Requests that the agent makes for the pod, to ask others about the pod's own.
    AgentRequests,
    /// Series of metrics of the pod whose labels Telemetry objects change.
    MetricSeries,
    /// Sources of requests that rate limits of the pod count by themselves.
    RateLimitSources,
    /// Bytes of the pod's access lines that wait to be written.
    LogBytes,
    /// Spans of the pod's requests that wait to be exported.
    WaitingSpans,
    /// Tokens of requests to the pod that are remembered as verified.
    RememberedTokens,
}

/// How many kinds of limits there are.
const KINDS: usize = LimitKind::ALL.len();

impl LimitKind {
    pub const ALL: [Self; 19] = [
        Self::OutboundConnections,
        Self::InboundConnections,
        Self::PendingConnects,
        Self::InboundOfPeer,
        Self::Handshakes,
        Self::HeldKib,
        Self::AgentHeldKib,
        Self::PeerConnections,
        Self::HboneConnections,
        Self::NameLookups,
        Self::HttpUpstreams,
        Self::HttpStreams,
        Self::MirroredRequests,
        Self::AgentRequests,
        Self::MetricSeries,
        Self::RateLimitSources,
        Self::LogBytes,
        Self::WaitingSpans,
        Self::RememberedTokens,
    ];

    /// The value of the metrics' `limit` label, and the name in `weir status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OutboundConnections => "outbound_connections",
            Self::InboundConnections => "inbound_connections",
            Self::PendingConnects => "pending_connects",
            Self::InboundOfPeer => "inbound_of_peer",
            Self::Handshakes => "handshakes",
            Self::HeldKib => "held_kib",
            Self::AgentHeldKib => "agent_held_kib",
            Self::PeerConnections => "peer_connections",
            Self::HboneConnections => "hbone_connections",
            Self::NameLookups => "name_lookups",
            Self::HttpUpstreams => "http_upstreams",
            Self::HttpStreams => "http_streams",
            Self::MirroredRequests => "mirrored_requests",
            Self::AgentRequests => "agent_requests",
            Self::MetricSeries => "metric_series",
            Self::RateLimitSources => "rate_limit_sources",
            Self::LogBytes => "log_bytes",
            Self::WaitingSpans => "waiting_spans",
            Self::RememberedTokens => "remembered_tokens",
        }
    }
}

/// How often each limit was reached.
type Reached = [AtomicU64; KINDS];

/// The maxima of all pods, and how often any of them was reached. One per process.
#[derive(Debug)]
pub struct NodeLimits {
    maxima: [u32; KINDS],
    reached: Reached,
    /// What is left of [`LimitKind::AgentHeldKib`], of which all pods take.
    agent_held: Arc<Semaphore>,
}

impl NodeLimits {
    /// Limits with the maximum that `maximum` names for each kind.
    #[must_use]
    pub fn new(maximum: impl Fn(LimitKind) -> u32) -> Arc<Self> {
        let maxima = LimitKind::ALL.map(maximum);
        let agent_held = Arc::new(Semaphore::new(maxima[LimitKind::AgentHeldKib as usize] as usize));
        Arc::new(Self { maxima, reached: Reached::default(), agent_held })
    }

    /// How often each limit was reached by any pod since the start of the process.
    #[must_use]
    pub fn reached(&self) -> Vec<(&'static str, u64)> {
        LimitKind::ALL.into_iter().map(|kind| (kind.label(), count(&self.reached, kind))).collect()
    }

    /// The limits of one pod, of which it holds nothing yet. Of that which bounds all pods together others may hold some: a pod that
    /// finds nothing left of it has reached it all the same.
    #[must_use]
    pub fn for_pod(self: &Arc<Self>) -> PodLimits {
        let reached: Arc<Reached> = Arc::default();
        PodLimits { limits: LimitKind::ALL.map(|kind| self.limit(kind, &reached)), reached }
    }

    fn limit(self: &Arc<Self>, kind: LimitKind, reached: &Arc<Reached>) -> Limit {
        let maximum = self.maxima[kind as usize];
        let free = match kind {
            LimitKind::AgentHeldKib => self.agent_held.clone(),
            _ => Arc::new(Semaphore::new(maximum as usize)),
        };
        Limit { kind, maximum, free, pod: reached.clone(), node: self.clone() }
    }
}

/// What one pod holds, of everything that is bounded.
#[derive(Debug)]
pub struct PodLimits {
    limits: [Limit; KINDS],
    reached: Arc<Reached>,
}

/// A limit that a pod has reached at least once, as `weir status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedLimit {
    pub limit: String,
    pub maximum: u32,
    /// How much of it is held now: by the pod, or by all pods where it bounds them together.
    pub held: u32,
    /// How often something had to wait or was refused because of it.
    pub times: u64,
}

impl PodLimits {
    /// The pod's limit of a kind.
    #[must_use]
    pub fn of(&self, kind: LimitKind) -> &Limit {
        &self.limits[kind as usize]
    }

    /// The limits that the pod has reached since it was enrolled with this process.
    #[must_use]
    pub fn reached(&self) -> Vec<ReachedLimit> {
        let limits = self.limits.iter().map(|limit| (limit, count(&self.reached, limit.kind)));
        limits
            .filter(|(_, times)| *times > 0)
            .map(|(limit, times)| ReachedLimit {
                limit: limit.kind.label().to_owned(),
                maximum: limit.maximum,
                held: limit.held(),
                times,
            })
            .collect()
    }
}

/// A bound on how much of one kind a pod may hold at a time.
#[derive(Debug, Clone)]
pub struct Limit {
    kind: LimitKind,
    maximum: u32,
    free: Arc<Semaphore>,
    pod: Arc<Reached>,
    node: Arc<NodeLimits>,
}

/// One of what a limit bounds, until dropped.
#[derive(Debug)]
pub struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Limit {
    /// Takes one; waits while the pod holds the maximum.
    pub async fn take(&self) -> Held {
        match self.try_take() {
            Some(held) => held,
            None => self.wait().await,
        }
    }

    /// Waits for one that is given back, after [`Self::try_take`] has counted that there was none.
    pub async fn wait(&self) -> Held {
        let permit = self.free.clone().acquire_owned().await;
        Held { _permit: permit.expect("nobody closes the semaphore of a limit") }
    }

    /// Takes one; `None` where the pod holds the maximum.
    #[must_use]
    pub fn try_take(&self) -> Option<Held> {
        let permit = self.free.clone().try_acquire_owned().ok();
        if permit.is_none() {
            self.count_reached();
        }
        permit.map(|permit| Held { _permit: permit })
    }

    /// Takes so many, which the caller [gives back](Self::give_back); false where the pod holds too much already.
    #[must_use]
    pub fn try_take_many(&self, count: u32) -> bool {
        let permits = self.free.try_acquire_many(count);
        if permits.is_err() {
            self.count_reached();
        }
        permits.map(SemaphorePermit::forget).is_ok()
    }

    /// As [`Self::try_take_many`], of what all pods take from one store of which `free` are left: false also where the pod would
    /// hold more than it leaves. So a pod that holds little finds room, however many others hold as much as they may.
    #[must_use]
    pub fn try_take_share(&self, count: u32, free: usize) -> bool {
        if self.held() as usize + count as usize > free {
            self.count_reached();
            return false;
        }
        self.try_take_many(count)
    }

    /// Gives back what [`Self::try_take_many`] took.
    pub fn give_back(&self, count: u32) {
        self.free.add_permits(count as usize);
    }

    /// A limit of the same kind of which nothing is held, with another maximum; both count for the same pod.
    #[must_use]
    pub fn another(&self, maximum: u32) -> Self {
        Self { maximum, free: Arc::new(Semaphore::new(maximum as usize)), ..self.clone() }
    }

    #[must_use]
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// Counts that something was refused because of it.
    pub fn count_reached(&self) {
        self.pod[self.kind as usize].fetch_add(1, Ordering::Relaxed);
        self.node.reached[self.kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How much the pod holds now, or all pods where it bounds them together.
    #[must_use]
    pub fn held(&self) -> u32 {
        // Never more than the maximum, which is an u32.
        self.maximum - u32::try_from(self.free.available_permits()).unwrap_or(self.maximum)
    }
}

fn count(reached: &Reached, kind: LimitKind) -> u64 {
    reached[kind as usize].load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_pod_at_its_limit_is_refused_and_counted_and_others_are_not() {
        let node = NodeLimits::new(|_| 2);
        let (pod, other) = (node.for_pod(), node.for_pod());
        let limit = pod.of(LimitKind::InboundConnections);
        let first = limit.try_take();
        let _second = limit.try_take();
        assert!(limit.try_take().is_none(), "two are held of two");
        assert!(other.of(LimitKind::InboundConnections).try_take().is_some(), "another pod");
        assert!(pod.of(LimitKind::OutboundConnections).try_take().is_some(), "another kind");
        drop(first);
        assert!(limit.try_take().is_some(), "one was given back");
        let expected = ReachedLimit { limit: "inbound_connections".to_owned(), maximum: 2, held: 1, times: 1 };
        assert_eq!(pod.reached(), [expected]);
        assert_eq!(other.reached(), []);
        let counted = node.reached().into_iter().filter(|(_, times)| *times > 0).collect::<Vec<_>>();
        assert_eq!(counted, [("inbound_connections", 1)]);
    }

    #[test]
    fn what_bounds_all_pods_together_is_told_of_the_pod_that_finds_nothing_left() {
        let node = NodeLimits::new(|kind| if kind == LimitKind::AgentHeldKib { 10 } else { 100 });
        let (pod, other) = (node.for_pod(), node.for_pod());
        assert!(pod.of(LimitKind::AgentHeldKib).try_take_many(8));
        assert!(!other.of(LimitKind::AgentHeldKib).try_take_many(3), "two are left");
        let expected = ReachedLimit { limit: "agent_held_kib".to_owned(), maximum: 10, held: 8, times: 1 };
        assert_eq!((pod.reached(), other.reached()), (vec![], vec![expected]));
        pod.of(LimitKind::AgentHeldKib).give_back(8);
        assert!(other.of(LimitKind::AgentHeldKib).try_take_many(10));
    }

    #[test]
    fn pods_that_take_all_they_may_leave_as_much_for_the_next() {
        let node = NodeLimits::new(|_| 1000);
        let pods = [(); 3].map(|()| node.for_pod());
        let mut free = 120;
        let mut take_all = |pods: &[PodLimits]| {
            while pods.iter().any(|pod| pod.of(LimitKind::WaitingSpans).try_take_share(1, free)) {
                free -= 1;
            }
            free
        };
        assert_eq!(take_all(&pods[..1]), 60, "one has half");
        assert_eq!(pods[0].of(LimitKind::WaitingSpans).held(), 60);
        assert_eq!(take_all(&pods), 15, "the next has half of what that one left, and so on");
        assert_eq!(pods.map(|pod| pod.of(LimitKind::WaitingSpans).held()), [60, 30, 15]);
        let small = NodeLimits::new(|_| 2).for_pod();
        let limit = small.of(LimitKind::LogBytes);
        assert!(limit.try_take_share(2, 1000) && !limit.try_take_share(1, 1000), "its own maximum counts, too");
        limit.give_back(2);
        assert!(limit.try_take_share(1, 1000));
    }

    #[test]
    fn who_waits_gets_what_is_given_back() {
        let pod = NodeLimits::new(|_| 1).for_pod();
        let limit = pod.of(LimitKind::OutboundConnections);
        let held = limit.take().now_or_never().expect("nothing is held");
        let mut waiting = std::pin::pin!(limit.take());
        assert!(waiting.as_mut().now_or_never().is_none(), "the maximum is held");
        drop(held);
        assert!(waiting.now_or_never().is_some(), "it was given back");
        assert_eq!(pod.reached().first().map(|reached| reached.times), Some(1), "it waited once");
    }

    #[test]
    fn every_kind_stands_at_its_place_in_the_table() {
        for (place, kind) in LimitKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.label());
        }
    }
}
