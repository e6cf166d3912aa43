//! Whether the threads of the data plane go on. Each beats once a second from its own runtime; a thread of its own looks at the
//! beats, tells the supervisor that all is well, and ends readiness while one stands still.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Ready, ReadyBlocker};
use crate::supervisor::SupervisorLink;

/// How often a thread beats, and how often the beats are looked at.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A thread whose last beat is older stands still. On a busy machine a beat may be late by some seconds.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// The beats of one thread. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Beats for as long as the thread that drives this goes on.
    pub(super) async fn run(&self) {
        loop {
            tokio::time::sleep(BEAT_INTERVAL).await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The last beat of a thread that was seen, and when.
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

    fn stands_still(&mut self, now: Instant) -> bool {
        let beats = self.heartbeat.0.load(Ordering::Relaxed);
        if beats != self.beats {
            (self.beats, self.at) = (beats, now);
        }
        now.duration_since(self.at) > LONGEST_SILENCE
    }
}

/// Starts the thread that looks at the beats, until `stop`.
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
            let still: Vec<_> = (0..threads.len()).filter(|index| threads[*index].stands_still(now)).collect();
            if still.is_empty() {
                blocker = None;
                supervisor.report_alive();
            } else if blocker.is_none() {
                blocker = Some(ready.block("data plane threads"));
                tracing::error!(threads = ?still, "threads of the data plane stand still");
            }
            std::thread::sleep(BEAT_INTERVAL);
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
        assert!(!seen.stands_still(at(5)));
        heartbeat.0.fetch_add(1, Ordering::Relaxed);
        assert!(!seen.stands_still(at(6)), "it has just beaten");
        assert!(!seen.stands_still(at(11)));
        assert!(seen.stands_still(at(12)), "not since");
        heartbeat.0.fetch_add(1, Ordering::Relaxed);
        assert!(!seen.stands_still(at(13)), "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_beats_every_second() {
        let heartbeat = Heartbeat::default();
        let _ = tokio::time::timeout(Duration::from_millis(10_500), heartbeat.run()).await;
        assert_eq!(heartbeat.0.load(Ordering::Relaxed), 10);
    }
}
