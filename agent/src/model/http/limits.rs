//! Whether one more connection, request or retry is within the limits of a destination (Envoy's circuit breakers).

use std::time::Duration;

use super::destination::{ConnectionPool, RetryBudget};

/// What is under way to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InUse {
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests that have one.
    pub requests: u32,
    /// Of both, those that are retries.
    pub retries: u32,
    /// Requests that have begun within the interval of the retry budget.
    pub recent: u32,
}

impl ConnectionPool {
    #[must_use]
    pub fn admits_connection(&self, in_use: InUse) -> bool {
        in_use.connections < self.max_connections
    }

    /// Whether a request may wait for a connection.
    #[must_use]
    pub fn admits_pending(&self, in_use: InUse) -> bool {
        in_use.pending < self.max_pending_requests
    }

    #[must_use]
    pub fn admits_request(&self, in_use: InUse) -> bool {
        in_use.requests < self.max_requests
    }

    /// Whether a request may be sent again; a budget takes the place of the fixed limit.
    #[must_use]
    pub fn admits_retry(&self, budget: Option<RetryBudget>, in_use: InUse) -> bool {
        in_use.retries < budget.map_or(self.max_retries, |budget| budget.retries(in_use))
    }

    /// Whether a connection that has carried so many requests may carry another. Its age is asked for where it matters.
    #[must_use]
    pub fn admits_another_on(&self, requests: u32, age: impl FnOnce() -> Duration) -> bool {
        requests < self.max_requests_per_connection
            && self.max_connection_duration.is_none_or(|longest| age() < longest)
    }
}

impl RetryBudget {
    /// How many retries there may be at one time.
    fn retries(self, in_use: InUse) -> u32 {
        // Of the requests that have begun lately most are not under way any more, and count all the same.
        let active = f64::from(in_use.recent.max(in_use.requests)) + f64::from(in_use.pending);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 stays within u32")]
        let share = (active * self.percent / 100.0) as u32;
        share.max(self.min_concurrency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_is_admitted_below_the_limit() {
        let two = ConnectionPool {
            max_connections: 2,
            max_pending_requests: 2,
            max_requests: 2,
            max_retries: 2,
            max_requests_per_connection: 2,
            ..ConnectionPool::default()
        };
        for (number, expected) in [(0, true), (1, true), (2, false), (3, false)] {
            let in_use =
                InUse { connections: number, pending: number, requests: number, retries: number, ..InUse::default() };
            let seen = [
                two.admits_connection(in_use),
                two.admits_pending(in_use),
                two.admits_request(in_use),
                two.admits_retry(None, in_use),
                two.admits_another_on(number, || Duration::from_secs(3600)),
            ];
            assert_eq!(seen, [expected; 5], "{number}");
        }
        let short =
            ConnectionPool { max_connection_duration: Some(Duration::from_secs(5)), ..ConnectionPool::default() };
        for (seconds, expected) in [(0, true), (4, true), (5, false), (6, false)] {
            assert_eq!(short.admits_another_on(1, || Duration::from_secs(seconds)), expected, "{seconds}");
        }
        let most = InUse {
            connections: u32::MAX - 1,
            pending: u32::MAX - 1,
            requests: u32::MAX - 1,
            retries: u32::MAX - 1,
            recent: u32::MAX - 1,
        };
        let default = ConnectionPool::default();
        assert!(default.admits_connection(most) && default.admits_request(most) && default.admits_retry(None, most));
    }

    #[test]
    fn a_budget_is_a_share_of_the_requests_and_never_less_than_a_few() {
        let pool = ConnectionPool { max_retries: 0, ..ConnectionPool::default() };
        let budget = Some(RetryBudget { percent: 20.0, min_concurrency: 3, interval: Duration::ZERO });
        for (requests, pending, retries, expected) in
            [(0, 0, 2, true), (0, 0, 3, false), (90, 10, 19, true), (90, 10, 20, false), (100, 4, 20, false)]
        {
            let in_use = InUse { pending, requests, retries, ..InUse::default() };
            assert_eq!(pool.admits_retry(budget, in_use), expected, "{in_use:?}");
        }
        for (requests, recent, retries, expected) in
            [(1, 0, 3, false), (1, 100, 19, true), (1, 100, 20, false), (100, 5, 19, true)]
        {
            let in_use = InUse { requests, recent, retries, ..InUse::default() };
            assert_eq!(pool.admits_retry(budget, in_use), expected, "{in_use:?}");
        }
    }
}
