//! When a certificate is renewed, and when a failed request is repeated. Both are spread at random, so that the certificates
//! of a node, and the nodes of a mesh, do not all ask at the same time.

use std::ops::Range;
use std::time::{Duration, SystemTime};

/// The part of a certificate's life after which it is renewed.
const RENEW_AT: Range<f64> = 0.45..0.55;
/// The pause after the first failure; it doubles with every further one, up to [`MAX_RETRY_PAUSE`].
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(100);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// What a pause is multiplied by.
const RETRY_JITTER: Range<f64> = 0.8..1.2;

/// When to renew a certificate whose life counts from `start`.
pub(super) fn renewal_time(start: SystemTime, not_after: SystemTime) -> SystemTime {
    start + not_after.duration_since(start).unwrap_or_default().mul_f64(rand::random_range(RENEW_AT))
}

/// How long to wait after that many failures before this one.
pub(super) fn retry_pause(failures: u32) -> Duration {
    let base = FIRST_RETRY_PAUSE.saturating_mul(2u32.saturating_pow(failures)).min(MAX_RETRY_PAUSE);
    base.mul_f64(rand::random_range(RETRY_JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_the_last_and_are_spread() {
        for (failures, seconds) in [(0, 0.1), (1, 0.2), (2, 0.4), (5, 3.2), (8, 25.6), (9, 30.0), (u32::MAX, 30.0)] {
            let range = Duration::from_secs_f64(seconds * 0.8)..=Duration::from_secs_f64(seconds * 1.2);
            for _ in 0..20 {
                assert!(range.contains(&retry_pause(failures)), "after {failures} failures");
            }
        }
    }

    #[test]
    fn renewal_is_around_half_of_the_life() {
        let start = SystemTime::UNIX_EPOCH;
        for _ in 0..20 {
            let at = renewal_time(start, start + Duration::from_secs(1000)).duration_since(start).unwrap().as_secs();
            assert!((450..=550).contains(&at), "{at}");
        }
        assert_eq!(renewal_time(start + Duration::from_secs(5), start), start + Duration::from_secs(5), "expired: now");
    }
}
