//! The rate limits of one pod: which count for it now, and what is counted of them.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::found_by::FoundBy;
use crate::enrollment::pod::EnrolledPod;
use crate::limits::Held;
use crate::model::mesh::Mesh;
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::rate_limit::{LimitStates, Moment, NodeStates, PodLimits};
use crate::model::serving::Serving;
use crate::telemetry::metrics::{LimitCounters, LimitOutcome, Metrics};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PodRateLimits {
    /// Those that counted last, and what they were found by.
    known: ArcSwapOption<Known>,
    states: Mutex<LimitStates<Held>>,
}

#[derive(Debug)]
struct Known {
    found_by: FoundBy<RateLimitConfig>,
    counting: Arc<CountingLimits>,
}

/// The limits that count for a pod, with their counters.
#[derive(Debug)]
pub(super) struct CountingLimits {
    pub(super) limits: PodLimits<Held>,
    /// In the order of the limits.
    counters: Vec<LimitCounters>,
}

impl CountingLimits {
    /// As logs name a limit.
    pub(super) fn name(&self, position: usize) -> String {
        let limit = self.limits.at(position);
        format!("{}[{}]", limit.object.key, limit.rule.name)
    }

    pub(super) fn count(&self, position: usize, outcome: LimitOutcome) {
        self.counters[position].count(outcome);
    }
}

impl PodRateLimits {
    /// Those of a pod that count now, which are put together anew only where the objects or the pod are others than the last time. `node`
    /// has what the pods of the node share.
    pub(super) fn counting(
        &self,
        pod: &EnrolledPod,
        mesh: &Mesh,
        config: &Arc<RateLimitConfig>,
        (node, metrics): (&Mutex<NodeStates>, &Metrics),
    ) -> Arc<CountingLimits> {
        let spec = &pod.spec;
        let workload = mesh.workload_of_pod(spec.key()).cloned();
        let found_by = FoundBy { config: config.clone(), pod: pod.current(), workload };
        if let Some(known) = &*self.known.load()
            && known.found_by == found_by
        {
            return known.counting.clone();
        }
        let mut states = self.states.lock();
        let none = Serving::default();
        let services = found_by.workload.as_ref().map_or(&none, |workload| &*workload.services);
        let limits = config.counting(&spec.namespace, &found_by.pod.labels, services);
        let limits = states.apply(limits, &mut node.lock());
        let counters = limits.iter().map(|limit| metrics.rate_limit(&limit.object.key, &limit.rule.name)).collect();
        let counting = Arc::new(CountingLimits { limits, counters });
        self.known.store(Some(Arc::new(Known { found_by, counting: counting.clone() })));
        counting
    }
}

/// The moment that it is now: all pods count from the same one.
pub(super) fn now() -> Moment {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    // 584 years fit.
    Moment(u64::try_from(FIRST.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
