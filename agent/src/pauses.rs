//! Exponential backoff with jitter, between attempts of something that failed.

use std::time::Duration;

use rand::RngExt;

/// Pauses that double up to a bound. Each is between half of itself and all of it, at random, so that many agents do not try
/// again at the same moments.
#[derive(Debug, Clone)]
pub struct Pauses {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Pauses {
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// Begins with the first pause again, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause before the next attempt.
    pub fn take(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_a_success() {
        for longest in [Duration::from_secs(1), Duration::from_secs(15)] {
            let first = Duration::from_millis(10);
            let mut pauses = Pauses::new(first, longest);
            let mut bound = first;
            for _ in 0..20 {
                let pause = pauses.take();
                assert!(pause <= bound && pause >= bound / 2, "{pause:?} of at most {bound:?}");
                bound = (bound * 2).min(longest);
            }
            pauses.reset();
            assert!(pauses.take() <= first);
        }
    }
}
