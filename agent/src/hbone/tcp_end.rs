//! Which of a connection's two ends a plain TCP socket of ours leads to: it decides which way its bytes count.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::connection::ByteCounts;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpEnd {
    /// The socket is the source's.
    Source,
    /// The socket is the destination's.
    Destination,
}

impl TcpEnd {
    /// Counts bytes that were read from the socket.
    pub(super) fn count_read(self, bytes: &ByteCounts, count: usize) {
        add(if self == Self::Source { &bytes.to_destination } else { &bytes.to_source }, count);
    }

    /// Counts bytes that were written to the socket.
    pub(super) fn count_written(self, bytes: &ByteCounts, count: usize) {
        add(if self == Self::Source { &bytes.to_source } else { &bytes.to_destination }, count);
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
