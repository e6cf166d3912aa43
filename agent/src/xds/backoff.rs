//! How long to wait before the next attempt to reach the control plane.

use std::time::Duration;

use rand::RngExt;

const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// Exponential pauses with jitter, so that a fleet does not return in step.
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: BACKOFF_FIRST }
    }
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.next = BACKOFF_FIRST;
    }

    pub(super) fn next_pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(BACKOFF_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let mut bound = BACKOFF_FIRST;
        for _ in 0..20 {
            let pause = backoff.next_pause();
            assert!(pause <= bound && pause >= bound / 2, "{pause:?} of at most {bound:?}");
            bound = (bound * 2).min(BACKOFF_MAX);
        }
        backoff.reset();
        assert!(backoff.next_pause() <= BACKOFF_FIRST);
    }
}
