//! Heartbeats of the data plane's threads. Each thread counts up once a second in its own runtime. A separate thread compares
//! the counts: while all advance, it sends the supervisor a message; while one does not, the agent is not ready.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Ready, ReadyBlocker};
use crate::supervisor::SupervisorLink;

/// How often a thread counts up, and how often the counts are compared.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A thread hangs if its last heartbeat is older. On a busy machine a heartbeat may be late by some seconds.
const MAX_HEARTBEAT_AGE: Duration = Duration::from_secs(5);

/// The heartbeat of one thread. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Counts up for as long as its thread polls this future.
    pub(super) async fn run(&self) {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The last count of a thread that was seen, and since when it has been that.
#[derive(Debug)]
struct Seen {
    heartbeat: Heartbeat,
    beats: u64,
    at: Instant,
}

impl Seen {
    fn new(heartbeat: Heartbeat, now: Instant) -> Self {
        Self { heartbeat, beats: 0, at: now }
    }

    fn hangs(&mut self, now: Instant) -> bool {
        let beats = self.heartbeat.0.load(Ordering::Relaxed);
        if beats != self.beats {
            (self.beats, self.at) = (beats, now);
        }
        now.duration_since(self.at) > MAX_HEARTBEAT_AGE
    }
}

/// Starts the thread that compares the counts, until `stop`.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn watch(
    heartbeats: Vec<Heartbeat>,
    supervisor: Arc<SupervisorLink>,
    ready: Ready,
    stop: CancellationToken,
) -> io::Result<()> {
    let body = move || {
        let start = Instant::now();
        let mut threads: Vec<_> = heartbeats.into_iter().map(|heartbeat| Seen::new(heartbeat, start)).collect();
        let mut blocker: Option<ReadyBlocker> = None;
        while !stop.is_cancelled() {
            let now = Instant::now();
            let still: Vec<_> = (0..threads.len()).filter(|index| threads[*index].hangs(now)).collect();
            if still.is_empty() {
                blocker = None;
                supervisor.report_alive();
            } else if blocker.is_none() {
                blocker = Some(ready.block("data plane threads"));
                tracing::error!(threads = ?still, "threads of the data plane stand still");
            }
            std::thread::sleep(HEARTBEAT_INTERVAL);
        }
    };
    std::thread::Builder::new().name("weir-heartbeat".to_owned()).spawn(body).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stands_still_once_it_has_not_beaten_for_long() {
        let (heartbeat, start) = (Heartbeat::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::new(heartbeat.clone(), start);
        assert!(!seen.hangs(at(5)));
        heartbeat.0.fetch_add(1, Ordering::Relaxed);
        assert!(!seen.hangs(at(6)), "it has just beaten");
        assert!(!seen.hangs(at(11)));
        assert!(seen.hangs(at(12)), "not since");
        heartbeat.0.fetch_add(1, Ordering::Relaxed);
        assert!(!seen.hangs(at(13)), "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_beats_every_second() {
        let heartbeat = Heartbeat::default();
        let _ = tokio::time::timeout(Duration::from_millis(10_500), heartbeat.run()).await;
        assert_eq!(heartbeat.0.load(Ordering::Relaxed), 10);
    }
}
