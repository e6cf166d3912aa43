//! What one pod has under way to each destination whose DestinationRule sets limits (Envoy's circuit breakers). A request beyond
//! them is answered 503 at once; nobody else waits for it. Destinations without limits are not counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::http::destination::{ConnectionPool, DestinationPolicy, RetryBudget};
use crate::model::http::limits::InUse;
use crate::model::http::recent::RecentCount;
use crate::model::peer_authentication::Labels;
use crate::model::service::ServiceKey;

/// Destinations of one pod from which on those that nothing is under way to are forgotten.
const SWEEP_FROM: usize = 64;

/// A port of a service, and the labels of a subset.
type Destination = (ServiceKey, u16, Option<Labels>);

/// The limited destinations of one pod.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Breakers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    breakers: HashMap<Destination, Arc<Breaker>>,
    /// How many there were after those were forgotten that nothing is under way to: twice as many are looked through again.
    left: usize,
}

/// One limited destination.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    in_use: Mutex<InUse>,
    /// A connection was given back.
    freed: Notify,
    /// The requests that have begun lately, where a retry budget counts them.
    recent: Mutex<RecentCount>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Connection,
    Pending,
    Request,
    Retry,
}

/// One of what is counted, until dropped.
#[derive(Debug)]
pub(super) struct Taken {
    breaker: Arc<Breaker>,
    resource: Resource,
}

impl Breakers {
    /// The counts of a destination; `None` where nothing limits it.
    pub(super) fn of(&self, service: &ServiceKey, port: u16, policy: &DestinationPolicy) -> Option<Arc<Breaker>> {
        let ConnectionPool { max_connections, max_pending_requests, max_requests, max_retries, .. } = policy.pool;
        let limits = [max_connections, max_pending_requests, max_requests, max_retries];
        if limits == [u32::MAX; 4] && policy.retry_budget.is_none() {
            return None;
        }
        let mut known = self.0.lock();
        if known.breakers.len() >= SWEEP_FROM.max(2 * known.left) {
            known.breakers.retain(|_, breaker| Arc::strong_count(breaker) > 1);
            known.left = known.breakers.len();
        }
        Some(known.breakers.entry((service.clone(), port, policy.subset.clone())).or_default().clone())
    }
}

impl Breaker {
    /// Counts a request, unless there are too many.
    pub(super) fn begin_request(self: &Arc<Self>, pool: &ConnectionPool, budget: Option<RetryBudget>) -> Option<Taken> {
        let taken = self.take(Resource::Request, |in_use| pool.admits_request(in_use))?;
        if let Some(budget) = budget.filter(|budget| !budget.interval.is_zero()) {
            self.recent.lock().note(budget.interval, Instant::now());
        }
        Some(taken)
    }

    /// Counts a retry, unless there are too many.
    pub(super) fn begin_retry(self: &Arc<Self>, pool: &ConnectionPool, budget: Option<RetryBudget>) -> Option<Taken> {
        let of_interval = budget.filter(|budget| !budget.interval.is_zero());
        let recent = of_interval.map_or(0, |budget| self.recent.lock().count(budget.interval, Instant::now()));
        self.take(Resource::Retry, |in_use| pool.admits_retry(budget, InUse { recent, ..in_use }))
    }

    /// Counts a connection that carries one request at a time. While there are too many, the request waits; `None` where too
    /// many wait already.
    pub(super) async fn begin_connection(self: &Arc<Self>, pool: &ConnectionPool) -> Option<Taken> {
        let admits = |in_use| pool.admits_connection(in_use);
        if let Some(taken) = self.take(Resource::Connection, admits) {
            return Some(taken);
        }
        let _pending = self.take(Resource::Pending, |in_use| pool.admits_pending(in_use))?;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on nothing that is given back is missed.
            freed.as_mut().enable();
            if let Some(taken) = self.take(Resource::Connection, admits) {
                return Some(taken);
            }
            freed.await;
        }
    }

    fn take(self: &Arc<Self>, resource: Resource, admits: impl Fn(InUse) -> bool) -> Option<Taken> {
        let mut in_use = self.in_use.lock();
        if !admits(*in_use) {
            return None;
        }
        *resource.of(&mut in_use) += 1;
        Some(Taken { breaker: self.clone(), resource })
    }
}

impl Resource {
    fn of(self, in_use: &mut InUse) -> &mut u32 {
        match self {
            Self::Connection => &mut in_use.connections,
            Self::Pending => &mut in_use.pending,
            Self::Request => &mut in_use.requests,
            Self::Retry => &mut in_use.retries,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.resource.of(&mut self.breaker.in_use.lock()) -= 1;
        if self.resource == Resource::Connection {
            self.breaker.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    fn limited() -> DestinationPolicy {
        let pool = ConnectionPool {
            max_connections: 1,
            max_pending_requests: 1,
            max_requests: 2,
            max_retries: 1,
            ..ConnectionPool::default()
        };
        DestinationPolicy { pool, ..DestinationPolicy::default() }
    }

    #[test]
    fn only_destinations_with_limits_are_counted() {
        let breakers = Breakers::default();
        let (one, other) = (ServiceKey::new("a", "x"), ServiceKey::new("a", "y"));
        assert!(breakers.of(&one, 80, &DestinationPolicy::default()).is_none());
        let breaker = breakers.of(&one, 80, &limited()).expect("it has limits");
        assert!(Arc::ptr_eq(&breaker, &breakers.of(&one, 80, &limited()).expect("the same")));
        assert!(!Arc::ptr_eq(&breaker, &breakers.of(&other, 80, &limited()).expect("another")));
        let budget = RetryBudget { percent: 20.0, min_concurrency: 3, interval: Duration::ZERO };
        let with_budget = DestinationPolicy { retry_budget: Some(budget), ..DestinationPolicy::default() };
        assert!(breakers.of(&other, 81, &with_budget).is_some());
    }

    #[test]
    fn one_too_many_is_refused_until_another_ends() {
        let (policy, breaker) = (limited(), Arc::new(Breaker::default()));
        let first = breaker.begin_request(&policy.pool, None).expect("the first");
        let _second = breaker.begin_request(&policy.pool, None).expect("the second");
        assert!(breaker.begin_request(&policy.pool, None).is_none());
        drop(first);
        assert!(breaker.begin_request(&policy.pool, None).is_some());
        let retry = breaker.begin_retry(&policy.pool, None);
        assert!(retry.is_some() && breaker.begin_retry(&policy.pool, None).is_none());
        let budget = Some(RetryBudget { percent: 100.0, min_concurrency: 2, interval: Duration::ZERO });
        assert!(breaker.begin_retry(&policy.pool, budget).is_some());
    }

    #[test]
    fn a_budget_of_an_interval_counts_requests_that_are_over() {
        let (pool, breaker) = (ConnectionPool::default(), Arc::new(Breaker::default()));
        let budget = Some(RetryBudget { percent: 20.0, min_concurrency: 0, interval: Duration::from_secs(3600) });
        for _ in 0..10 {
            assert!(breaker.begin_request(&pool, budget).is_some());
        }
        let retries: Vec<_> = (0..3).map(|_| breaker.begin_retry(&pool, budget)).collect();
        assert_eq!(retries.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn a_request_waits_for_a_connection_and_too_many_do_not() {
        let (policy, breaker) = (limited(), Arc::new(Breaker::default()));
        let first = breaker.begin_connection(&policy.pool).now_or_never().flatten().expect("the first");
        let mut waiting = Box::pin(breaker.begin_connection(&policy.pool));
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        assert!(breaker.begin_connection(&policy.pool).now_or_never().expect("it does not wait").is_none());
        drop(first);
        let second = waiting.now_or_never().flatten();
        assert!(second.is_some(), "the place of the first");
        assert_eq!(*breaker.in_use.lock(), InUse { connections: 1, ..InUse::default() });
    }
}
