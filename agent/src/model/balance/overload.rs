//! Endpoints that answer that they have too much to do (429, or gRPC's RESOURCE_EXHAUSTED). They are not dead, and such an answer comes
//! so fast that requests under way would make them look idle: for a moment each counts as one more request under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long after the last of them such answers count, fewer and fewer.
const COUNTS_FOR: Duration = Duration::from_secs(1);
/// How many count at a time.
const MAX_COUNTED: u64 = 64;
/// Where the number of answers begins; below are the milliseconds of the last one's time.
const COUNT_BITS: u32 = 48;

/// What an endpoint has said of late of having too much to do. No reader or writer waits for another one.
#[derive(Debug)]
pub struct Overload {
    began: Instant,
    /// How many answers counted at the time of the last one, and that time. 0: none.
    noted: AtomicU64,
}

impl Overload {
    /// Of an endpoint that has said nothing yet. Times before `began` count as that.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self { began, noted: AtomicU64::new(0) }
    }

    /// Counts such an answer.
    pub fn note(&self, now: Instant) {
        let at = self.milliseconds(now);
        let add = |noted| Some(((counted(noted, at) + 1).min(MAX_COUNTED) << COUNT_BITS) | at);
        // It never gives up: `add` always has a value.
        let _ = self.noted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// As how many further requests under way such answers count. `now` is asked only where there was one.
    #[must_use]
    pub fn requests(&self, now: impl FnOnce() -> Instant) -> u32 {
        match self.noted.load(Ordering::Relaxed) {
            0 => 0,
            noted => u32::try_from(counted(noted, self.milliseconds(now()))).unwrap_or(u32::MAX),
        }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX) & ((1 << COUNT_BITS) - 1)
    }
}

/// How many answers count at a time: they become fewer evenly, and a part of one counts as one.
fn counted(noted: u64, at: u64) -> u64 {
    let (count, last) = (noted >> COUNT_BITS, noted & ((1 << COUNT_BITS) - 1));
    let whole = COUNTS_FOR.as_millis() as u64;
    let left = whole.saturating_sub(at.saturating_sub(last));
    (count * left).div_ceil(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_having_too_much_to_do_count_for_a_second() {
        let began = Instant::now();
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        for (noted_at, asked) in [
            (&[][..], &[(0, 0), (5000, 0)][..]),
            (&[0], &[(0, 1), (999, 1), (1000, 0), (60_000, 0)]),
            (&[0; 10], &[(0, 10), (500, 5), (501, 5), (900, 1), (999, 1), (1000, 0)]),
            // What is left of earlier ones, and the new one.
            (&[0, 0, 0, 0, 500], &[(500, 3), (1000, 2), (1499, 1), (1500, 0)]),
            (&[0, 2000], &[(2000, 1), (3000, 0)]),
            (&[7; 1000], &[(7, 64), (507, 32), (1007, 0)]),
        ] {
            let overload = Overload::new(began);
            noted_at.iter().for_each(|milliseconds| overload.note(at(*milliseconds)));
            let seen: Vec<_> = asked.iter().map(|(when, _)| (*when, overload.requests(|| at(*when)))).collect();
            assert_eq!(seen, asked, "{noted_at:?}");
        }
    }

    #[test]
    fn no_time_is_asked_of_an_endpoint_that_has_said_nothing() {
        let overload = Overload::new(Instant::now());
        assert_eq!(overload.requests(|| unreachable!("nobody has to know")), 0);
        let later = Instant::now() + Duration::from_secs(1);
        overload.note(later);
        // Of two threads the one may have looked at the time before the other.
        assert_eq!(overload.requests(|| later - Duration::from_millis(5)), 1);
    }
}
