//! What this node has seen of endpoints, shared by all pods and workers: requests under way, and ejections.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::model::http::destination::OutlierDetection;
use crate::model::http::outlier::{EndpointResult, OutlierState, Population};
use crate::model::service::ServiceKey;

/// Parts of the table with a lock each.
const SHARDS: usize = 16;
/// Entries of one part from which on those that say nothing any more are forgotten.
const SWEEP_FROM: usize = 1024;

/// A port of a service.
type Destination = (ServiceKey, u16);
/// A workload, by its uid, that serves one.
type Endpoint = (Arc<str>, Destination);

/// See the module.
#[derive(Debug)]
pub(in crate::proxy) struct Endpoints {
    shards: [Mutex<HashMap<Endpoint, Arc<EndpointState>>>; SHARDS],
    hasher: RandomState,
    /// Those that are or were ejected, by what they serve. Hardly ever written.
    ejected: RwLock<HashMap<Destination, Vec<Arc<EndpointState>>>>,
}

impl Default for Endpoints {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), ejected: RwLock::default() }
    }
}

/// What is known of one endpoint of a service's port.
#[derive(Debug)]
pub(super) struct EndpointState {
    uid: Arc<str>,
    under_way: AtomicU32,
    outlier: Mutex<OutlierState>,
}

/// One request to an endpoint, until dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<EndpointState>);

/// What this node has seen of an endpoint of a service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeenOfEndpoint {
    /// Requests of this node's pods that are under way to it.
    pub under_way: u32,
    pub is_ejected: bool,
}

impl Endpoints {
    /// What is known of an endpoint, without remembering one that nobody has used.
    pub(in crate::proxy) fn seen(
        &self,
        uid: &Arc<str>,
        service: &ServiceKey,
        port: u16,
        now: Instant,
    ) -> SeenOfEndpoint {
        let key = (uid.clone(), (service.clone(), port));
        let state = self.shards[self.shard_of(&key)].lock().get(&key).cloned();
        let under_way = state.map_or(0, |state| state.load());
        SeenOfEndpoint { under_way, is_ejected: self.ejected(service, port, now).contains(uid) }
    }

    fn shard_of(&self, key: &Endpoint) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).expect("less than the number of shards")
    }

    /// The state of an endpoint: a workload, by its uid, that serves a port of a service.
    pub(super) fn state(&self, uid: &Arc<str>, service: &ServiceKey, port: u16) -> Arc<EndpointState> {
        let key = (uid.clone(), (service.clone(), port));
        let mut shard = self.shards[self.shard_of(&key)].lock();
        if let Some(state) = shard.get(&key) {
            return state.clone();
        }
        if shard.len() >= SWEEP_FROM {
            shard.retain(|_, state| Arc::strong_count(state) > 1);
        }
        let new = EndpointState { uid: uid.clone(), under_way: AtomicU32::new(0), outlier: Mutex::default() };
        shard.entry(key).or_insert_with(|| Arc::new(new)).clone()
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
    /// Requests under way to it.
    pub(super) fn load(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts a request as under way.
    pub(super) fn begin(self: Arc<Self>) -> UnderWay {
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

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
