//! Histograms with Envoy's default buckets, which Istio's dashboards and rules are written for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Upper bounds of all buckets but the last, in milliseconds or bytes alike (`ENVOY_DEFAULT_BUCKETS`, the first doubled).
const DOUBLED_BOUNDS: [u64; 19] = [
    1, 2, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000, 120_000, 600_000, 1_200_000, 3_600_000,
    7_200_000,
];
const BUCKETS: usize = DOUBLED_BOUNDS.len() + 1;

/// Whole values, each counted in one bucket.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, value: u64) {
        let doubled = value.saturating_mul(2);
        let bucket = DOUBLED_BOUNDS.partition_point(|bound| *bound < doubled);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How many values were counted.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn encode(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let bounds = DOUBLED_BOUNDS.iter().map(|bound| as_float(*bound) / 2.0).chain([f64::INFINITY]);
        let buckets: [(f64, u64); BUCKETS] = {
            let mut all = bounds.zip(counts);
            std::array::from_fn(|_| all.next().expect("there are as many bounds as buckets"))
        };
        // The values of one scrape belong together: what is counted meanwhile is in none of them or in the sum alone.
        let count = buckets.iter().map(|(_, count)| count).sum();
        to.encode_histogram::<NoLabelSet>(as_float(self.sum.load(Ordering::Relaxed)), count, &buckets, None)
    }
}

/// Prometheus has no other numbers.
fn as_float(value: u64) -> f64 {
    value as f64
}
