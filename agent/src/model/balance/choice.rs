//! How an endpoint is chosen among those that may be picked.

use std::sync::Arc;
use std::time::Duration;

use super::locality::LocalityPreference;
use crate::model::workload::Workload;

/// Envoy counts a younger endpoint as of this age.
const LEAST_AGE: Duration = Duration::from_secs(1);

/// See the module. By default chance decides, and the service says where endpoints should be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    pub order: Order,
    /// Where endpoints should be; `None`: as the service says.
    pub preference: Option<&'a Arc<LocalityPreference>>,
    /// Endpoints that count with a part of their weight.
    pub warming: Option<&'a Warming>,
}

/// What decides between endpoints that are as good as each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Chance, in proportion to the weights.
    #[default]
    Chance,
    /// One after the other, in proportion to the weights: the number of the turn.
    Turn(u64),
    /// What has one hash goes to one endpoint, as long as it is there and not excluded.
    Hash(u64),
}

/// A new endpoint gets less than its share at first (Envoy's slow start).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    pub duration: Duration,
    /// The least share, in percent of the full one.
    pub minimum_percent: f64,
    pub aggression: f64,
}

/// Endpoints that are new, by uid, each with the percentage of its weight that counts: 1 to 99.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warming(Vec<(Arc<str>, u8)>);

impl Warming {
    /// Of these endpoints; `None` where there are none.
    pub fn of(endpoints: impl IntoIterator<Item = (Arc<str>, u8)>) -> Option<Self> {
        let endpoints: Vec<_> = endpoints.into_iter().collect();
        (!endpoints.is_empty()).then_some(Self(endpoints))
    }

    /// The percentage with which an endpoint counts.
    fn percent(&self, endpoint: &Workload) -> u64 {
        self.0.iter().find(|(uid, _)| *uid == endpoint.uid).map_or(100, |(_, percent)| (*percent).into())
    }
}

impl Choice<'_> {
    /// The weight with which an endpoint counts, in hundredths of its own.
    pub(super) fn weight(&self, endpoint: &Workload, own: u64) -> u64 {
        own.saturating_mul(self.warming.map_or(100, |warming| warming.percent(endpoint)))
    }
}

impl Warmup {
    /// The percentage of its weight with which an endpoint of this age counts, 1 to 99; `None` once it counts with all of it. It
    /// grows with the age, the more slowly at first the less the aggression is (1: evenly).
    #[must_use]
    pub fn percent(&self, age: Duration) -> Option<u8> {
        if age >= self.duration {
            return None;
        }
        let share = (age.max(LEAST_AGE).as_secs_f64() / self.duration.as_secs_f64()).min(1.0);
        let percent = (share.powf(1.0 / self.aggression) * 100.0).max(self.minimum_percent).clamp(1.0, 100.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped to 1 to 100")]
        let percent = percent as u8;
        (percent < 100).then_some(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_new_endpoint_grows() {
        for (aggression, minimum_percent, milliseconds, expected) in [
            (1.0, 10.0, 0, Some(10)),
            (1.0, 10.0, 9_000, Some(10)),
            (1.0, 10.0, 50_000, Some(50)),
            (1.0, 10.0, 99_900, Some(99)),
            (1.0, 10.0, 100_000, None),
            (1.0, 10.0, 200_000, None),
            (2.0, 10.0, 25_000, Some(50)),
            (1.0, 0.0, 0, Some(1)),
            (1.0, 100.0, 0, None),
        ] {
            let warmup = Warmup { duration: Duration::from_secs(100), minimum_percent, aggression };
            let seen = warmup.percent(Duration::from_millis(milliseconds));
            assert_eq!(seen, expected, "{aggression} {minimum_percent} {milliseconds}");
        }
        let none = Warmup { duration: Duration::ZERO, minimum_percent: 10.0, aggression: 1.0 };
        assert_eq!(none.percent(Duration::ZERO), None);
    }
}
