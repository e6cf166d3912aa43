//! Tokens that come back at an even pace, one for each request: the generic cell rate algorithm, whose whole state is the time at which
//! all tokens are back. That is one number, so that threads share a bucket without a lock, and a rate that changes goes on with the
//! share of its tokens that was used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many requests in each period, on average, and `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub requests: u32,
    /// At least a nanosecond for each request.
    pub period: Duration,
    /// At least 1.
    pub burst: u32,
}

/// A moment, in nanoseconds since one that all moments of the process are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// What a limit says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The most that there can be left.
    pub limit: u32,
    /// How much is left behind this request.
    pub remaining: u32,
    /// How long until all of it is back, if there is no further request.
    pub reset: Duration,
}

/// A request that there is no token for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    pub quota: Quota,
    /// How long until there is a token; `None` where no time says.
    pub retry_after: Option<Duration>,
}

impl Rate {
    /// Nanoseconds until the next token comes back: rounded up, so that there are never more requests than the rate allows.
    fn interval(self) -> u64 {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        period.div_ceil(u64::from(self.requests.max(1))).max(1)
    }

    /// Nanoseconds in which all tokens of an empty bucket come back.
    fn depth(self) -> u64 {
        self.interval().saturating_mul(u64::from(self.burst.max(1)))
    }
}

/// See the module. A new one is full.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a token.
    ///
    /// # Errors
    /// When there is none; then nothing changes.
    pub(super) fn take(&self, rate: Rate, now: Moment) -> Result<Quota, Beyond> {
        let (interval, depth) = (rate.interval(), rate.depth());
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            // Of a slower rate that counted before, more may be missing than this one ever has.
            let owed = full_at.saturating_sub(now.0).min(depth);
            let after = owed.saturating_add(interval);
            let is_beyond = after > depth;
            let next = now.0.saturating_add(if is_beyond { owed } else { after });
            if next != full_at
                && let Err(meanwhile) =
                    self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                full_at = meanwhile;
                continue;
            }
            if is_beyond {
                let retry_after = Some(Duration::from_nanos(after - depth));
                return Err(Beyond { quota: quota(rate, owed), retry_after });
            }
            return Ok(quota(rate, after));
        }
    }

    /// Gives a token back that was taken for a request which did not use it.
    pub(super) fn give_back(&self, rate: Rate) {
        self.full_at.fetch_sub(rate.interval(), Ordering::Relaxed);
    }

    /// Whether all tokens are there, so that it may be forgotten. Else when they will be.
    pub(super) fn is_full(&self, now: Moment) -> Result<(), Moment> {
        let full_at = Moment(self.full_at.load(Ordering::Relaxed));
        if full_at <= now { Ok(()) } else { Err(full_at) }
    }
}

/// What is left of a bucket whose tokens are back in `owed` nanoseconds.
fn quota(rate: Rate, owed: u64) -> Quota {
    let left = rate.depth().saturating_sub(owed) / rate.interval();
    Quota { limit: rate.burst, remaining: u32::try_from(left).unwrap_or(u32::MAX), reset: Duration::from_nanos(owed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(requests: u32, seconds: u64, burst: u32) -> Rate {
        Rate { requests, period: Duration::from_secs(seconds), burst }
    }

    fn at(tenths: u64) -> Moment {
        Moment(tenths * SECOND / 10)
    }

    #[test]
    fn tokens_come_back_at_an_even_pace() {
        let (rate, bucket) = (rate(10, 1, 3), Bucket::default());
        // Tenths of a second, what is left, and the wait where there is none.
        for (tenths, expected) in [
            (100, Ok(2)),
            (100, Ok(1)),
            (100, Ok(0)),
            (100, Err(100)),
            (101, Ok(0)),
            (101, Err(100)),
            (104, Ok(2)),
            (200, Ok(2)),
        ] {
            let taken = bucket.take(rate, at(tenths));
            let seen = taken.map(|quota| quota.remaining);
            let seen = seen.map_err(|beyond| beyond.retry_after.map_or(0, |wait| wait.as_millis()));
            assert_eq!(seen, expected, "at {tenths}");
        }
    }

    #[test]
    fn a_quota_says_what_is_left_and_when_all_is_back() {
        let (rate, bucket) = (rate(2, 60, 5), Bucket::default());
        let quota = bucket.take(rate, at(0)).unwrap();
        assert_eq!(quota, Quota { limit: 5, remaining: 4, reset: Duration::from_secs(30) });
        let beyond = (0..5).find_map(|_| bucket.take(rate, at(0)).err()).unwrap();
        assert_eq!(beyond.quota, Quota { limit: 5, remaining: 0, reset: Duration::from_secs(150) });
        assert_eq!(beyond.retry_after, Some(Duration::from_secs(30)));
    }

    #[test]
    fn never_more_than_the_rate_passes_and_nearly_as_much() {
        for (requests, seconds, burst) in [(3, 1, 1), (7, 1, 7), (100_000, 1, 10), (1, 3600, 1)] {
            let (rate, bucket) = (rate(requests, seconds, burst), Bucket::default());
            let span = seconds * SECOND * 5;
            let step = (rate.interval() / 3).max(1);
            let passed = (0..=span / step).filter(|n| bucket.take(rate, Moment(n * step)).is_ok()).count();
            let most = requests as usize * 5 + burst as usize;
            assert!(passed <= most && passed * 100 >= most * 70, "{requests} in {seconds} s: {passed} of {most}");
        }
    }

    #[test]
    fn threads_that_share_a_bucket_take_no_token_twice() {
        let (rate, bucket) = (rate(1, 3600, 1000), Bucket::default());
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(rate, at(1)).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

    #[test]
    fn what_was_given_back_can_be_taken_again() {
        let (rate, bucket) = (rate(1, 60, 2), Bucket::default());
        assert_eq!(bucket.is_full(at(10)), Ok(()));
        assert!(bucket.take(rate, at(10)).is_ok() && bucket.take(rate, at(10)).is_ok());
        assert_eq!(bucket.is_full(at(10)), Err(at(1210)));
        bucket.give_back(rate);
        assert!(bucket.take(rate, at(10)).is_ok() && bucket.take(rate, at(10)).is_err());
    }

    #[test]
    fn another_rate_goes_on_with_the_share_that_was_used() {
        let former = rate(10, 60, 10);
        // How many were used, the new rate, and how many may follow at once, and how many a second later.
        for (count, rate, at_once, later) in [
            (4, rate(20, 60, 20), 12, 0),
            (10, rate(5, 60, 5), 0, 0),
            (4, rate(5, 60, 5), 3, 0),
            (10, rate(10, 1, 10), 0, 10),
            (0, rate(5, 60, 5), 5, 0),
        ] {
            let bucket = Bucket::default();
            assert!((0..count).all(|_| bucket.take(former, at(0)).is_ok()));
            let passed = |tenths: u64| (0..100).filter(|_| bucket.take(rate, at(tenths)).is_ok()).count();
            assert_eq!((passed(0), passed(10)), (at_once, later), "{count} used, then {rate:?}");
        }
    }
}
