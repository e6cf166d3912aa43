//! The cells of a limit that counts the requests of each source by themselves. There are so many at most: for one more, those of
//! which nothing is counted are forgotten, which changes nothing for their sources; where there are none, all further sources share
//! one cell.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::cell::Cell;
use super::tokens::Moment;
use crate::model::identity::Identity;

/// See the module. `P` is a place among those that there may be.
#[derive(Debug)]
pub(super) struct Sources<P> {
    known: RwLock<Known<P>>,
    /// Of requests without an identity.
    anonymous: Arc<Cell>,
    /// Of sources beyond those that there may be.
    further: Arc<Cell>,
}

#[derive(Debug)]
struct Known<P> {
    cells: HashMap<Identity, (Arc<Cell>, P)>,
    /// No cell is idle before.
    next_idle: Moment,
}

impl<P> Default for Sources<P> {
    fn default() -> Self {
        let known = Known { cells: HashMap::new(), next_idle: Moment(0) };
        Self { known: RwLock::new(known), anonymous: Arc::default(), further: Arc::default() }
    }
}

impl<P> Sources<P> {
    /// Calls `take` with the cell of a source, which is not forgotten meanwhile. `place` is asked for a place for a source that is not
    /// known.
    pub(super) fn with<T>(
        &self,
        source: Option<&Identity>,
        now: Moment,
        place: impl Fn() -> Option<P>,
        take: impl FnOnce(&Arc<Cell>) -> T,
    ) -> T {
        let Some(source) = source else { return take(&self.anonymous) };
        if let Some((cell, _)) = self.known.read().cells.get(source) {
            return take(cell);
        }
        let mut known = self.known.write();
        if let Some((cell, _)) = known.cells.get(source) {
            return take(cell);
        }
        let found = place().or_else(|| if known.forget_idle(now) { place() } else { None });
        let Some(place) = found else { return take(&self.further) };
        let cell = Arc::new(Cell::default());
        let taken = take(&cell);
        known.cells.insert(source.clone(), (cell, place));
        taken
    }
}

impl<P> Known<P> {
    /// Forgets the cells of which nothing is counted; whether there were any. Costs as much as there are, and so is not tried before any
    /// can have become idle.
    fn forget_idle(&mut self, now: Moment) -> bool {
        /// Requests that are under way say by no time when they end.
        const LOOK_AGAIN_NANOS: u64 = 100_000_000;
        if now < self.next_idle {
            return false;
        }
        let (before, mut next) = (self.cells.len(), Moment(u64::MAX));
        self.cells.retain(|_, (cell, _)| match cell.is_idle(now) {
            Ok(()) => false,
            Err(when) => {
                next = next.min(when.unwrap_or(Moment(now.0 + LOOK_AGAIN_NANOS)));
                true
            }
        });
        self.next_idle = if self.cells.is_empty() { Moment(0) } else { next };
        self.cells.len() < before
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as StdCell;
    use std::time::Duration;

    use super::super::cell::Bound;
    use super::super::tokens::Rate;
    use super::*;
    use crate::model::identity::TrustDomain;

    const ONE_A_MINUTE: Bound = Bound::Rate(Rate { requests: 1, period: Duration::from_secs(60), burst: 1 });

    fn identity(account: &str) -> Identity {
        Identity::new(TrustDomain::new(""), "shop", account)
    }

    #[test]
    fn beyond_the_places_sources_share_a_cell_until_one_is_idle() {
        let (sources, places) = (Sources::default(), StdCell::new(2_u32));
        let passes = |source: Option<&str>, seconds: u64| {
            let now = Moment(seconds * 1_000_000_000);
            let place = || {
                let left = places.get();
                places.set(left.saturating_sub(1));
                (left > 0).then_some(())
            };
            let source = source.map(identity);
            sources.with(source.as_ref(), now, place, |cell| cell.take(ONE_A_MINUTE, now).is_ok())
        };
        // Who asks, when, and whether the request passes.
        for (source, seconds, expected) in [
            (Some("a"), 100, true),
            (Some("a"), 100, false),
            (Some("b"), 110, true),
            (None, 110, true),
            (None, 110, false),
            // There is no place: both share one.
            (Some("c"), 110, true),
            (Some("d"), 110, false),
            (Some("a"), 120, false),
            (Some("a"), 161, true),
        ] {
            assert_eq!(passes(source, seconds), expected, "{source:?} at {seconds}");
        }
        // All that was counted is over: places are free again.
        places.set(0);
        assert_eq!(sources.known.read().cells.len(), 2);
        assert!(passes(Some("e"), 1000));
        assert_eq!(sources.known.read().cells.len(), 0, "the idle ones are forgotten");
        places.set(2);
        assert!(passes(Some("f"), 1000) && passes(Some("g"), 1000) && !passes(Some("f"), 1000));
    }

    #[test]
    fn idle_cells_are_not_looked_for_before_there_can_be_any() {
        let sources = Sources::default();
        let now = Moment(0);
        sources.with(Some(&identity("a")), now, || Some(()), |cell| drop(cell.take(ONE_A_MINUTE, now)));
        let asked = StdCell::new(0);
        let place = || {
            asked.set(asked.get() + 1);
            None
        };
        for _ in 0..3 {
            sources.with(Some(&identity("b")), Moment(1), place, |_| ());
        }
        assert_eq!((asked.get(), sources.known.read().next_idle), (3, Moment(60_000_000_000)));
    }
}
