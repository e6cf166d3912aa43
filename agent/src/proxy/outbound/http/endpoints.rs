//! What is known of endpoints by what they did: requests of all pods of the node that are under way to them, and which of them
//! each pod does without because they failed it (ejections). A pod by itself can make an endpoint fail: what it sees of one says nothing
//! to the others, as with Istio's sidecars.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::model::balance::Overload;
use crate::model::http::destination::OutlierDetection;
use crate::model::http::outlier::{EndpointResult, OutlierState, Population};
use crate::model::service::ServiceKey;

/// Parts of the table of loads with a lock each.
const SHARDS: usize = 16;
/// Entries of a part, or of a pod, from which on those that say nothing any more are forgotten.
const SWEEP_FROM: usize = 1024;

/// A port of a service.
type Destination = (ServiceKey, u16);
/// A workload, by its uid, that serves one.
type Endpoint = (Arc<str>, Destination);

/// The endpoints that the pods of this node use.
#[derive(Debug)]
pub(in crate::proxy) struct Endpoints {
    /// Requests under way to each, of all pods and workers.
    loads: [Mutex<HashMap<Endpoint, Arc<AtomicU32>>>; SHARDS],
    hasher: RandomState,
    /// What each pod has seen, by its uid.
    pods: Mutex<HashMap<String, Weak<PodEndpoints>>>,
}

impl Default for Endpoints {
    fn default() -> Self {
        let loads = std::array::from_fn(|_| Mutex::default());
        Self { loads, hasher: RandomState::new(), pods: Mutex::default() }
    }
}

/// The endpoints that one pod uses, and what it has seen of them.
#[derive(Debug, Default)]
pub(in crate::proxy) struct PodEndpoints {
    states: Mutex<HashMap<Endpoint, Arc<EndpointState>>>,
    /// Those that are or were ejected, by what they serve. Hardly ever written.
    ejected: RwLock<HashMap<Destination, Vec<Arc<EndpointState>>>>,
}

/// What a pod knows of one endpoint of a service's port.
#[derive(Debug)]
pub(super) struct EndpointState {
    uid: Arc<str>,
    /// Shared by all pods of the node.
    under_way: Arc<AtomicU32>,
    outlier: Mutex<OutlierState>,
    /// What it has told the pod of having too much to do. It may be the pod's own share that is used up: that says nothing to others.
    overload: Overload,
}

/// One request to an endpoint, until dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a EndpointState);

/// What has been seen of an endpoint of a service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeenOfEndpoint {
    /// Requests of this node's pods that are under way to it.
    pub under_way: u32,
    /// Whether the pod that asks does without it.
    pub is_ejected: bool,
}

impl Endpoints {
    /// What a pod, by its uid, will see of endpoints.
    pub(in crate::proxy) fn of_pod(&self, uid: &str) -> Arc<PodEndpoints> {
        let new = Arc::new(PodEndpoints::default());
        let mut pods = self.pods.lock();
        pods.retain(|_, pod| pod.strong_count() > 0);
        pods.insert(uid.to_owned(), Arc::downgrade(&new));
        new
    }

    /// What is known of an endpoint to a pod, without remembering one that nobody has used.
    pub(in crate::proxy) fn seen(
        &self,
        pod: &str,
        uid: &Arc<str>,
        service: &ServiceKey,
        port: u16,
        now: Instant,
    ) -> SeenOfEndpoint {
        let key = (uid.clone(), (service.clone(), port));
        let load = self.loads[self.shard_of(&key)].lock().get(&key).cloned();
        let pod = self.pods.lock().get(pod).and_then(Weak::upgrade);
        SeenOfEndpoint {
            under_way: load.map_or(0, |load| load.load(Ordering::Relaxed)),
            is_ejected: pod.is_some_and(|pod| pod.ejected(service, port, now).contains(uid)),
        }
    }

    fn shard_of(&self, key: &Endpoint) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).expect("less than the number of shards")
    }

    fn load_of(&self, key: &Endpoint) -> Arc<AtomicU32> {
        let mut loads = self.loads[self.shard_of(key)].lock();
        if let Some(load) = loads.get(key) {
            return load.clone();
        }
        if loads.len() >= SWEEP_FROM {
            loads.retain(|_, load| Arc::strong_count(load) > 1);
        }
        loads.entry(key.clone()).or_default().clone()
    }
}

impl PodEndpoints {
    /// The state of an endpoint: a workload, by its uid, that serves a port of a service.
    pub(super) fn state(
        &self,
        node: &Endpoints,
        uid: &Arc<str>,
        service: &ServiceKey,
        port: u16,
    ) -> Arc<EndpointState> {
        let key = (uid.clone(), (service.clone(), port));
        let mut states = self.states.lock();
        if let Some(state) = states.get(&key) {
            return state.clone();
        }
        if states.len() >= SWEEP_FROM {
            states.retain(|_, state| Arc::strong_count(state) > 1);
        }
        let under_way = node.load_of(&key);
        let overload = Overload::new(Instant::now());
        let new = EndpointState { uid: uid.clone(), under_way, outlier: Mutex::default(), overload };
        states.entry(key).or_insert_with(|| Arc::new(new)).clone()
    }

    /// The uids of the endpoints of a service's port that are ejected now.
    pub(super) fn ejected(&self, service: &ServiceKey, port: u16, now: Instant) -> Vec<Arc<str>> {
        let all = self.ejected.read();
        if all.is_empty() {
            return Vec::new();
        }
        let of_port = all.get(&(service.clone(), port)).into_iter().flatten();
        of_port.filter(|state| state.outlier.lock().is_ejected(now)).map(|state| state.uid.clone()).collect()
    }

    /// Remembers that an endpoint is ejected; of others it is forgotten once they are not any more.
    pub(super) fn note_ejection(&self, service: &ServiceKey, port: u16, state: &Arc<EndpointState>) {
        let now = Instant::now();
        let mut all = self.ejected.write();
        all.retain(|_, states| {
            states.retain(|known| !Arc::ptr_eq(known, state) && known.outlier.lock().is_ejected(now));
            !states.is_empty()
        });
        all.entry((service.clone(), port)).or_default().push(state.clone());
    }
}

impl EndpointState {
    /// Requests under way to it, and what it has told the pod of late of having too much to do, as so many more.
    pub(super) fn load(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed).saturating_add(self.overload.requests(Instant::now))
    }

    /// Notes that it has told the pod that it has too much to do.
    pub(super) fn note_overload(&self, now: Instant) {
        self.overload.note(now);
    }

    /// Counts a request as under way.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Counts a result; returns whether the endpoint is ejected for it. `population` is asked only where a result is bad.
    pub(super) fn record(
        &self,
        result: EndpointResult,
        detection: &OutlierDetection,
        population: impl FnOnce() -> Population,
        now: Instant,
    ) -> bool {
        // Asked outside the lock: it looks at other endpoints.
        let is_bad = !matches!(result, EndpointResult::Status(status) if status < 500);
        let population = if is_bad { population() } else { Population { endpoints: 0, ejected: 0 } };
        self.outlier.lock().record(result, detection, population, now)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_pod_does_without_another_uses_and_requests_of_both_are_under_way() {
        let (node, now) = (Endpoints::default(), Instant::now());
        let (hostile, other) = (node.of_pod("hostile"), node.of_pod("other"));
        let (uid, service) = (Arc::<str>::from("pod-1"), ServiceKey::new("shop", "web"));
        let states = [&hostile, &other].map(|pod| pod.state(&node, &uid, &service, 80));
        let detection = OutlierDetection {
            consecutive_5xx: 1,
            consecutive_gateway_errors: 0,
            splits_local_origin: false,
            consecutive_local_origin_failures: 0,
            interval: std::time::Duration::from_secs(10),
            base_ejection_time: std::time::Duration::from_secs(30),
            max_ejection_percent: 100,
            min_health_percent: 0,
        };
        let population = || Population { endpoints: 1, ejected: 0 };
        assert!(states[0].record(EndpointResult::Status(500), &detection, population, now));
        hostile.note_ejection(&service, 80, &states[0]);
        let _under_way = states[1].begin();
        (0..3).for_each(|_| states[0].note_overload(Instant::now()));
        assert_eq!(states[1].load(), 1, "what one is told says nothing to another");
        assert!(states[0].load() > 1);
        let seen = |pod: &str| node.seen(pod, &uid, &service, 80, now);
        assert_eq!(seen("hostile"), SeenOfEndpoint { under_way: 1, is_ejected: true });
        assert_eq!(seen("other"), SeenOfEndpoint { under_way: 1, is_ejected: false });
        assert!(other.ejected(&service, 80, now).is_empty());
        drop(hostile);
        assert!(!seen("hostile").is_ejected, "it has left");
    }
}
