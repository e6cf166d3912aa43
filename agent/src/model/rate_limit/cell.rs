//! What is counted of one limit for requests that are counted together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::objects::{CountedBy, Measure};
use super::tokens::{Beyond, Bucket, Moment, Quota, Rate};

/// What a local limit counts, and how much of it there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Rate(Rate),
    Concurrency(u32),
}

/// Either the tokens of a rate or the requests under way: a limit is one of both.
#[derive(Debug, Default)]
pub(super) struct Cell {
    bucket: Bucket,
    under_way: AtomicU32,
}

/// A request that was counted.
#[derive(Debug)]
pub(super) struct Counted {
    cell: Arc<Cell>,
    bound: Bound,
}

/// A request under way that counts for a limit, until dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Cell>);

impl Measure {
    /// What is counted here, and which requests together; `None` for what a service counts.
    pub(super) fn bound(&self) -> Option<(Bound, CountedBy)> {
        match self {
            Self::Rate { rate, by } => Some((Bound::Rate(*rate), *by)),
            Self::Concurrency { most, by } => Some((Bound::Concurrency(*most), *by)),
            Self::Global(_) => None,
        }
    }
}

impl Cell {
    /// Counts a request, if there is room for one.
    pub(super) fn take(self: &Arc<Self>, bound: Bound, now: Moment) -> Result<(Quota, Counted), Beyond> {
        let quota = match bound {
            Bound::Rate(rate) => self.bucket.take(rate, now)?,
            Bound::Concurrency(most) => self.enter(most)?,
        };
        Ok((quota, Counted { cell: self.clone(), bound }))
    }

    fn enter(&self, most: u32) -> Result<Quota, Beyond> {
        let quota =
            |under_way: u32| Quota { limit: most, remaining: most.saturating_sub(under_way), reset: Duration::ZERO };
        let enter = |under_way: u32| (under_way < most).then_some(under_way + 1);
        match self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter) {
            Ok(before) => Ok(quota(before + 1)),
            Err(under_way) => Err(Beyond { quota: quota(under_way), retry_after: None }),
        }
    }

    /// Whether nothing is counted, so that it may be forgotten. Else when that may be so, if time alone says.
    pub(super) fn is_idle(&self, now: Moment) -> Result<(), Option<Moment>> {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return Err(None);
        }
        self.bucket.is_full(now).map_err(Some)
    }
}

impl Counted {
    /// Takes the count back: the request is refused for another reason.
    pub(super) fn undo(self) {
        match self.bound {
            Bound::Rate(rate) => self.cell.bucket.give_back(rate),
            Bound::Concurrency(_) => drop(UnderWay(self.cell)),
        }
    }

    /// What is to be kept for as long as the request is under way.
    pub(super) fn under_way(self) -> Option<UnderWay> {
        matches!(self.bound, Bound::Concurrency(_)).then_some(UnderWay(self.cell))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
