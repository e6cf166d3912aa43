//! What became of the requests of a load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use super::connection::{Answer, Connection};

/// Failures that are told one by one.
const MAX_FAILURES: usize = 100;

#[derive(Debug)]
pub(super) struct Tally {
    start: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Workers that have had no answer yet.
    waiting: u64,
    answered: u64,
    failed: u64,
    failures: Vec<Value>,
    statuses: BTreeMap<u16, u64>,
    grpc_statuses: BTreeMap<String, u64>,
    pods: BTreeMap<String, u64>,
    bytes: u64,
    inexact: u64,
    opened: u64,
    slowest_ms: f64,
}

impl Tally {
    pub(super) fn begin(workers: u64) -> Self {
        let counts = Counts { waiting: workers, ..Counts::default() };
        Self { start: Instant::now(), counts: Mutex::new(counts) }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().expect("no holder panics")
    }

    pub(super) fn answered(&self, start: Instant, answer: &Answer) {
        let mut counts = self.counts();
        counts.answered += 1;
        *counts.statuses.entry(answer.status).or_default() += 1;
        if let Some(status) = &answer.grpc_status {
            *counts.grpc_statuses.entry(status.clone()).or_default() += 1;
        }
        if let Some(pod) = &answer.pod {
            *counts.pods.entry(pod.clone()).or_default() += 1;
        }
        counts.bytes += answer.bytes;
        counts.inexact += u64::from(!answer.is_exact);
        counts.slowest_ms = counts.slowest_ms.max(start.elapsed().as_secs_f64() * 1000.0);
    }

    pub(super) fn failed(&self, start: Instant, why: &str) {
        let mut counts = self.counts();
        counts.failed += 1;
        if counts.failures.len() < MAX_FAILURES {
            let at_ms = start.duration_since(self.start).as_millis();
            let failure = json!({ "at_ms": u64::try_from(at_ms).unwrap_or(u64::MAX), "why": why });
            counts.failures.push(failure);
        }
    }

    /// Prints a line when it was the last.
    pub(super) fn worker_has_answer(&self) {
        let mut counts = self.counts();
        counts.waiting -= 1;
        if counts.waiting == 0 {
            println!("{}", json!({ "flows": true }));
        }
    }

    /// Adds how often a connection was opened; each is counted once, however many share it.
    pub(super) fn connected(&self, connection: &Connection) {
        self.counts().opened += connection.take_opened();
    }

    pub(super) fn report(&self) -> Value {
        let counts = self.counts();
        json!({
            "answered": counts.answered, "failed": counts.failed, "failures": counts.failures,
            "statuses": counts.statuses, "grpc_statuses": counts.grpc_statuses, "pods": counts.pods,
            "bytes": counts.bytes, "inexact": counts.inexact, "connections": counts.opened,
            "slowest_ms": counts.slowest_ms, "seconds": self.start.elapsed().as_secs_f64(),
        })
    }
}
