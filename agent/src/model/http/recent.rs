//! How many requests have begun within a time that moves along: what `retryBudget.budgetInterval` counts.

use std::time::{Duration, Instant};

/// Parts of the time. What began within the oldest part counts as a whole, or not at all.
const PARTS: u32 = 10;

/// A count by parts of the time, the newest one at `newest`.
#[derive(Debug, Clone, Default)]
pub struct RecentCount {
    parts: [u32; PARTS as usize],
    newest: usize,
    /// When the newest part began; `None` before the first request.
    began: Option<Instant>,
}

impl RecentCount {
    /// Counts a request that begins now.
    pub fn note(&mut self, interval: Duration, now: Instant) {
        self.move_to(interval, now);
        self.parts[self.newest] = self.parts[self.newest].saturating_add(1);
    }

    /// Requests that have begun within the interval that ends now.
    pub fn count(&mut self, interval: Duration, now: Instant) -> u32 {
        self.move_to(interval, now);
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    fn move_to(&mut self, interval: Duration, now: Instant) {
        let part = (interval / PARTS).max(Duration::from_nanos(1));
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_nanos() / part.as_nanos();
        if passed >= u128::from(PARTS) {
            *self = Self { began: Some(now), ..Self::default() };
            return;
        }
        for _ in 0..passed {
            self.newest = (self.newest + 1) % self.parts.len();
            self.parts[self.newest] = 0;
        }
        self.began = Some(began + part * u32::try_from(passed).unwrap_or(PARTS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_until_the_interval_has_passed() {
        let (start, interval) = (Instant::now(), Duration::from_secs(1));
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut recent = RecentCount::default();
        for millis in [0, 0, 450, 950] {
            recent.note(interval, at(millis));
        }
        for (millis, expected) in
            [(950, 4), (999, 4), (1_050, 2), (1_399, 2), (1_400, 1), (1_899, 1), (1_900, 0), (9_000, 0)]
        {
            assert_eq!(recent.clone().count(interval, at(millis)), expected, "{millis} ms");
        }
        // Time that seems to stand still, or an interval of nothing, is no fault.
        assert_eq!(recent.count(interval, start), 4);
        assert_eq!(recent.clone().count(Duration::ZERO, at(9_000)), 0);
    }
}
