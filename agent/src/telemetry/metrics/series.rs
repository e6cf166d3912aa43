//! Counters by their labels: looked up once by whoever counts, shown at every scrape, and forgotten when nothing has used them for
//! long.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

/// A combination of labels is forgotten when nothing had it for so long: the names of workloads that are long gone would pile up
/// otherwise.
const IDLE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Idle combinations that a table keeps at most. Of more, those that are idle longest are forgotten sooner: bare pods that run
/// once each bring a workload name of their own.
const MAX_IDLE_SERIES: usize = 1000;
/// Who finds no place for another combination has idle ones forgotten, but no more often: it takes the time of all series.
const ROOM_PAUSE: Duration = Duration::from_secs(10);
/// A combination is shown at least so long after its last use, so that every scraper sees its last values.
const MIN_SHOWN: Duration = Duration::from_secs(600);

/// The counters of one combination of labels. Whoever holds one keeps it from being forgotten.
#[derive(Debug)]
pub(super) struct Series<L, C> {
    pub(super) labels: Arc<L>,
    counters: C,
    /// When a scrape first found that nobody holds it.
    idle_since: Mutex<Option<Instant>>,
}

impl<L, C> Deref for Series<L, C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.counters
    }
}

type SeriesByLabels<L, C> = HashMap<Arc<L>, Arc<Series<L, C>>>;

/// All combinations of labels seen.
#[derive(Debug)]
pub(super) struct SeriesTable<L, C> {
    series: RwLock<SeriesByLabels<L, C>>,
    /// How many were left when idle ones were last forgotten.
    left: AtomicUsize,
    /// When idle ones were last forgotten because there was no place for another one.
    room_made: Mutex<Option<Instant>>,
}

impl<L, C> Default for SeriesTable<L, C> {
    fn default() -> Self {
        Self { series: RwLock::default(), left: AtomicUsize::default(), room_made: Mutex::default() }
    }
}

impl<L, C> Series<L, C> {
    /// Since when it is idle: from now on at the latest, if nobody but the table holds it.
    fn idle_since(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut idle_since = self.idle_since.lock();
        *idle_since = (Arc::strong_count(self) == 1).then(|| idle_since.unwrap_or(now));
        *idle_since
    }
}

impl<L: Eq + Hash, C: Default> SeriesTable<L, C> {
    /// The counters of a combination of labels.
    pub(super) fn series(&self, labels: L) -> Arc<Series<L, C>> {
        if let Some(series) = self.series.read().get(&labels) {
            return series.clone();
        }
        if self.has_doubled() {
            self.forget_idle(Instant::now());
        }
        let labels = Arc::new(labels);
        let new = || Arc::new(Series { labels: labels.clone(), counters: C::default(), idle_since: Mutex::new(None) });
        self.series.write().entry(labels.clone()).or_insert_with(new).clone()
    }

    /// The counters of a combination of labels; where there are none yet, those that `new` makes, if it does.
    pub(super) fn series_if(&self, labels: L, new: impl Fn() -> Option<C>) -> Option<Arc<Series<L, C>>> {
        if let Some(series) = self.series.read().get(&labels) {
            return Some(series.clone());
        }
        let counters = new().or_else(|| self.make_room(Instant::now()).then(&new).flatten())?;
        let labels = Arc::new(labels);
        let series = Arc::new(Series { labels: labels.clone(), counters, idle_since: Mutex::new(None) });
        Some(self.series.write().entry(labels).or_insert(series).clone())
    }

    /// Forgets idle ones, which may hold what another one needs, unless that was done a moment ago: a pod without a place may bring
    /// another combination with each of its requests. Returns whether it did.
    fn make_room(&self, now: Instant) -> bool {
        let mut made = self.room_made.lock();
        if made.is_some_and(|made| now.duration_since(made) < ROOM_PAUSE) {
            return false;
        }
        *made = Some(now);
        drop(made);
        self.forget_idle(now);
        true
    }

    /// Whether there are twice as many as were left the last time, and more than may be idle: nobody scrapes, or seldom.
    fn has_doubled(&self) -> bool {
        self.series.read().len() >= 2 * self.left.load(Ordering::Relaxed).max(MAX_IDLE_SERIES)
    }

    /// Forgets what nobody used for [`IDLE_LIMIT`], or sooner where there is too much of it. Called at every scrape, and where
    /// nobody scrapes, whenever the table has doubled: idle time begins at the first call that finds a combination unused.
    pub(super) fn forget_idle(&self, now: Instant) {
        let (mut table, mut idle) = (self.series.write(), Vec::new());
        // Nobody can take a further reference meanwhile: that needs the table.
        table.retain(|_, series| match series.idle_since(now) {
            Some(since) if now.duration_since(since) >= IDLE_LIMIT => false,
            since => {
                idle.extend(since);
                true
            }
        });
        if let Some(too_many) = idle.len().checked_sub(MAX_IDLE_SERIES).filter(|too_many| *too_many > 0) {
            idle.sort_unstable();
            let newest_forgotten = idle[too_many - 1];
            table.retain(|_, series| {
                series
                    .idle_since(now)
                    .is_none_or(|since| since > newest_forgotten || now.duration_since(since) < MIN_SHOWN)
            });
        }
        self.left.store(table.len(), Ordering::Relaxed);
    }

    /// Everything seen. Who counts something new takes the table's lock: it is not held while a scrape is written.
    pub(super) fn all(&self) -> Vec<Arc<Series<L, C>>> {
        self.series.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = SeriesTable<String, ()>;

    #[test]
    fn labels_in_use_stay_and_idle_ones_go_after_a_day() {
        let table = Table::default();
        let held = table.series("held".to_owned());
        drop(table.series("idle".to_owned()));
        let start = Instant::now();
        table.forget_idle(start);
        assert_eq!(table.series.read().len(), 2);
        table.forget_idle(start + IDLE_LIMIT);
        assert_eq!(table.series.read().len(), 1);
        assert!(Arc::ptr_eq(&held, &table.series("held".to_owned())));
    }

    #[test]
    fn of_too_many_idle_labels_the_oldest_go_once_they_were_shown() {
        let (table, start) = (Table::default(), Instant::now());
        let labels = |number: usize| format!("pod-{number}");
        let at = |seconds| start + Duration::from_secs(seconds);
        let _held = table.series(labels(0));
        for (number, seconds) in [(1..=10, 0), (11..=MAX_IDLE_SERIES + 5, 60)] {
            number.for_each(|number| drop(table.series(labels(number))));
            table.forget_idle(at(seconds));
        }
        assert_eq!(table.series.read().len(), MAX_IDLE_SERIES + 6, "all are shown for a while");
        table.forget_idle(at(600));
        let left = table.series.read();
        assert_eq!(left.len(), MAX_IDLE_SERIES + 1 - 5, "those of the same moment go together");
        assert!((1..=10).all(|number| !left.contains_key(&labels(number))) && left.contains_key(&labels(11)));
    }

    #[test]
    fn who_finds_no_place_has_all_series_looked_through_rarely() {
        let (table, start) = (Table::default(), Instant::now());
        drop(table.series("idle".to_owned()));
        for (after, expected) in [(0, true), (1, false), (9, false), (10, true), (12, false), (21, true)] {
            assert_eq!(table.make_room(start + Duration::from_secs(after)), expected, "after {after} s");
        }
        assert!(table.make_room(start + IDLE_LIMIT));
        assert_eq!(table.series.read().len(), 0, "it was idle for long enough");
    }

    #[test]
    fn where_nobody_scrapes_the_time_of_idle_labels_begins_all_the_same() {
        let table = Table::default();
        let labels = |number: usize| format!("pod-{number}");
        (0..2 * MAX_IDLE_SERIES).for_each(|number| drop(table.series(labels(number))));
        assert_eq!(table.left.load(Ordering::Relaxed), 0);
        drop(table.series(labels(2 * MAX_IDLE_SERIES)));
        assert_eq!(table.left.load(Ordering::Relaxed), 2 * MAX_IDLE_SERIES, "all are shown for a while");
        table.forget_idle(Instant::now() + MIN_SHOWN);
        assert_eq!(table.series.read().len(), 1, "those of the same moment go together");
    }
}
