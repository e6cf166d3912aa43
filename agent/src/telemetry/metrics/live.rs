//! The connections that are open now, so that a scrape sees the bytes of long ones and operators see all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::custom_counters::CustomConnections;
use super::traffic::ConnectionSeries;
use crate::model::identity::Identity;
use crate::telemetry::connection::{ByteCounts, LiveConnection};
use crate::telemetry::ends::ConnectionEnds;

/// Parts of the list with a lock each: connections open and close on all cores at once.
pub(super) const SHARDS: usize = 16;

/// An open connection and the counters its bytes go to.
#[derive(Debug)]
pub(in crate::telemetry) struct OpenConnection {
    /// The ends as they were known when the connection was accepted.
    first_ends: ConnectionEnds,
    settled: OnceLock<Settled>,
    pub(in crate::telemetry) bytes: Arc<ByteCounts>,
    /// What the HBONE peer has proven.
    pub(in crate::telemetry) peer_identity: OnceLock<Identity>,
    opened: Instant,
    opened_at: SystemTime,
    /// Where it ended before its record is complete.
    lasted: OnceLock<Duration>,
    counted_to_destination: AtomicU64,
    counted_to_source: AtomicU64,
    /// `None` where it began over HBONE.
    pub(super) plaintext: Option<Box<Plaintext>>,
}

/// What only a plaintext connection has.
#[derive(Debug, Default)]
pub(super) struct Plaintext {
    /// Notified when the connection is to end.
    pub(super) end: Notify,
    /// When its other end was first found to speak HBONE.
    pub(super) late_since: OnceLock<Instant>,
}

/// What a connection counts as from its settlement on.
#[derive(Debug)]
struct Settled {
    /// `None` where the ends are those known at first.
    ends: Option<Box<ConnectionEnds>>,
    /// `None` where the connection carries requests, which are counted themselves.
    series: Option<Counters>,
}

/// What a connection counts in.
#[derive(Debug)]
pub(super) enum Counters {
    Standard(Arc<ConnectionSeries>),
    /// Of a pod for which labels are changed.
    Custom(Box<CustomConnections>),
}

impl OpenConnection {
    /// A connection that is so old already.
    pub(super) fn new(ends: ConnectionEnds, age: Duration) -> Self {
        let (now, now_at) = (Instant::now(), SystemTime::now());
        Self {
            plaintext: (!ends.mutual_tls).then(Box::default),
            first_ends: ends,
            settled: OnceLock::new(),
            bytes: Arc::default(),
            peer_identity: OnceLock::new(),
            opened: now.checked_sub(age).unwrap_or(now),
            opened_at: now_at.checked_sub(age).unwrap_or(now_at),
            lasted: OnceLock::new(),
            counted_to_destination: AtomicU64::new(0),
            counted_to_source: AtomicU64::new(0),
        }
    }

    /// Says how long it lasted; without that, it lasts until its record is complete.
    pub(in crate::telemetry) fn lasted(&self, duration: Duration) {
        // It ends once.
        let _ = self.lasted.set(duration);
    }

    /// How long it lasted, or lasts by now.
    pub(in crate::telemetry) fn duration(&self) -> Duration {
        self.lasted.get().copied().unwrap_or_else(|| self.opened.elapsed())
    }

    /// The ends as far as they are known now.
    pub(in crate::telemetry) fn ends(&self) -> &ConnectionEnds {
        self.settled.get().and_then(|settled| settled.ends.as_deref()).unwrap_or(&self.first_ends)
    }

    /// Notified when a plaintext connection is to end; `None` where it is none.
    pub(in crate::telemetry) fn plaintext_end(&self) -> Option<&Notify> {
        self.plaintext.as_deref().filter(|_| !self.ends().mutual_tls).map(|plaintext| &plaintext.end)
    }

    /// Whether requests are counted and logged in place of the connection.
    pub(in crate::telemetry) fn carries_requests(&self) -> bool {
        self.settled.get().is_some_and(|settled| settled.series.is_none())
    }

    /// Settles the ends: as these, or as those known at first. Only the first call has an effect; `count_opened` gives the
    /// counters that the connection's labels stand for, and none where requests are counted in its place.
    pub(super) fn settle(
        &self,
        ends: Option<ConnectionEnds>,
        count_opened: impl FnOnce(&ConnectionEnds) -> Option<Counters>,
    ) {
        self.settled.get_or_init(|| {
            let series = count_opened(ends.as_ref().unwrap_or(&self.first_ends));
            Settled { ends: ends.map(Box::new), series }
        });
    }

    /// Adds the bytes moved since the last call to the metrics. Before its ends are settled a connection moves none.
    ///
    /// `istio_tcp_sent_bytes_total` counts the response, destination to source, and `istio_tcp_received_bytes_total`
    /// the request, source to destination. Both reporters say the same about one connection: seen from the source the
    /// two words are flipped, and dashboards rely on it (<https://github.com/istio/istio/issues/32399>).
    pub(super) fn count_bytes(&self) {
        let Some(counters) = self.counters() else { return };
        let (to_destination, to_source) = self.bytes.totals();
        let received = uncounted(to_destination, &self.counted_to_destination);
        let sent = uncounted(to_source, &self.counted_to_source);
        match counters {
            Counters::Standard(series) => {
                add(&series.received_bytes, received);
                add(&series.sent_bytes, sent);
            }
            Counters::Custom(series) => series.count_bytes(received, sent),
        }
    }

    /// Counts the end of a connection that did not fail.
    pub(super) fn count_closed(&self) {
        match self.counters() {
            Some(Counters::Standard(series)) => add(&series.closed, 1),
            Some(Counters::Custom(series)) => series.count_closed(),
            None => {}
        }
    }

    fn counters(&self) -> Option<&Counters> {
        self.settled.get()?.series.as_ref()
    }

    pub(super) fn snapshot(&self) -> LiveConnection {
        let (bytes_to_destination, bytes_to_source) = self.bytes.totals();
        LiveConnection {
            ends: self.ends().clone(),
            opened_at: self.opened_at,
            carries_requests: self.carries_requests(),
            bytes_to_destination,
            bytes_to_source,
        }
    }
}

/// What of a total was not counted yet. Two callers at once count every byte once: the greatest total that was ever claimed only
/// grows.
fn uncounted(total: u64, counted: &AtomicU64) -> u64 {
    total.saturating_sub(counted.fetch_max(total, Ordering::Relaxed))
}

fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

type Shard = Mutex<HashMap<usize, Arc<OpenConnection>>>;

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Live {
    shards: [Shard; SHARDS],
}

impl Live {
    pub(super) fn insert(&self, connection: &Arc<OpenConnection>) {
        let key = key(connection);
        self.shard(key).lock().insert(key, connection.clone());
    }

    pub(super) fn remove(&self, connection: &Arc<OpenConnection>) {
        let key = key(connection);
        self.shard(key).lock().remove(&key);
    }

    /// Adds the bytes that open connections moved since the last time to the metrics.
    pub(super) fn count_bytes(&self) {
        for shard in &self.shards {
            for connection in shard.lock().values() {
                connection.count_bytes();
            }
        }
    }

    pub(super) fn snapshot(&self) -> Vec<LiveConnection> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().map(|open| open.snapshot()).collect::<Vec<_>>())
            .collect()
    }

    /// Every connection in one of the [`SHARDS`] parts of the list.
    pub(super) fn visit(&self, part: usize, mut visit: impl FnMut(&OpenConnection)) {
        self.shards[part].lock().values().for_each(|connection| visit(connection));
    }

    fn shard(&self, key: usize) -> &Shard {
        // Allocations are aligned: the lowest bits of an address are always zero.
        &self.shards[(key >> 6) % SHARDS]
    }
}

/// The address of a connection that is listed is its own: the list keeps it alive.
fn key(connection: &Arc<OpenConnection>) -> usize {
    Arc::as_ptr(connection).addr()
}
