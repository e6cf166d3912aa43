//! Counters of the control plane, for status and tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one control plane since its start.
#[derive(Debug, Default)]
pub struct Counters {
    agents: AtomicU64,
    responses: AtomicU64,
    resources: AtomicU64,
    removals: AtomicU64,
    nacks: AtomicU64,
    certificates: AtomicU64,
    certificates_refused: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValues {
    /// Streams that are open now.
    pub agents: u64,
    pub responses: u64,
    /// Resources sent in them.
    pub resources: u64,
    /// Names sent in them as removed.
    pub removals: u64,
    /// Responses that an agent refused in whole or in part.
    pub nacks: u64,
    pub certificates: u64,
    pub certificates_refused: u64,
}

/// An open stream; counts until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<Counters>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.agents.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    #[must_use]
    pub fn read(&self) -> CounterValues {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            agents: value(&self.agents),
            responses: value(&self.responses),
            resources: value(&self.resources),
            removals: value(&self.removals),
            nacks: value(&self.nacks),
            certificates: value(&self.certificates),
            certificates_refused: value(&self.certificates_refused),
        }
    }

    pub(super) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.agents.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    pub(super) fn response(&self, resources: usize, removals: usize) {
        self.responses.fetch_add(1, Ordering::Relaxed);
        self.resources.fetch_add(resources as u64, Ordering::Relaxed);
        self.removals.fetch_add(removals as u64, Ordering::Relaxed);
    }

    pub(super) fn nack(&self) {
        self.nacks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn certificate(&self, issued: bool) {
        let counter = if issued { &self.certificates } else { &self.certificates_refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
