//! How many streams a connection has, and since when it has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(crate) struct Activity {
    streams: AtomicUsize,
    started: Instant,
    /// Milliseconds after `started` at which the last stream ended.
    idle_since_ms: AtomicU64,
}

/// Counts a stream until dropped.
#[derive(Debug)]
pub(crate) struct ActiveStream(Arc<Activity>);

impl Drop for ActiveStream {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Activity {
    /// That of a connection that begins now, without streams.
    pub(crate) fn begin() -> Self {
        Self { streams: AtomicUsize::new(0), started: Instant::now(), idle_since_ms: AtomicU64::new(0) }
    }

    /// Counts a stream.
    pub(crate) fn stream(self: &Arc<Self>) -> ActiveStream {
        self.streams.fetch_add(1, Ordering::AcqRel);
        ActiveStream(self.clone())
    }

    /// Counts a stream that the caller [ends](Self::end), where there are fewer than so many.
    #[must_use]
    pub(super) fn begin_below(&self, limit: usize) -> bool {
        let more = |open| (open < limit).then_some(open + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Counts a stream no longer.
    pub(super) fn end(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_since_ms.store(now, Ordering::Relaxed);
        self.streams.fetch_sub(1, Ordering::AcqRel);
    }

    /// For how long it has had no stream; `None` while it has one.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let idle_since = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
        (self.streams.load(Ordering::Acquire) == 0).then(|| self.started.elapsed().saturating_sub(idle_since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_while_no_stream_is_counted() {
        let activity = Arc::new(Activity::begin());
        assert!(activity.idle_for().is_some(), "it begins without any");
        let first = activity.stream();
        assert!(activity.begin_below(2) && !activity.begin_below(2), "two of two");
        drop(first);
        assert_eq!(activity.idle_for(), None, "one is left");
        activity.end();
        assert!(activity.idle_for().is_some());
    }
}
