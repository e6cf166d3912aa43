//! HBONE connections of one origin, shared by streams to the same peer under the same identity.
//!
//! A stream takes a slot on an open connection, or on one that is being opened, or opens another: whoever waits, waits
//! for a connection that has a slot for it, never in line behind a failing one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::HeaderMap;

use super::connection::{Counted, StreamSlot};
use super::dialer::{Dialer, Origin, Sent, Target};
use super::error::{HboneError, Retry};
use super::optimistic::OptimisticData;
use super::peers::{ConnectionLimits, Opening, Peers, PoolOptions, Slot, unwanted};
use super::request_stream::RequestSlot;
use super::stream::HboneStream;
use crate::model::identity::Identity;

/// How often a request that no peer has seen, or whose peer is gone, is sent again.
const RETRIES: u32 = 3;
/// How often it is where nobody listens: the agent there is being started, and its pods' connections wait for it meanwhile.
/// Not for long, should it not be: nine tenths of a second with the pauses.
const RETRIES_WITHOUT_LISTENER: u32 = 6;
/// How often it is where this process has no file descriptor left, or the pod may have no further connection: as long as a
/// connection attempt may take by default, ten seconds with the pauses.
const RETRIES_WHILE_NONE_FREE: u32 = 14;
/// Pause before another attempt; it grows with the square of their number.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The connections of one origin on one worker.
#[derive(Debug)]
pub(crate) struct Pool<O> {
    dialer: Arc<Dialer<O>>,
    options: PoolOptions,
    limits: ConnectionLimits,
    peers: Arc<Peers>,
}

/// A stream that a peer has granted.
#[derive(Debug)]
pub(crate) struct OpenedStream {
    pub(crate) stream: HboneStream,
    /// Who the peer proved to be.
    pub(crate) peer_identity: Identity,
    /// How many bytes of the application were sent on it already.
    pub(crate) data_sent: usize,
}

/// What one attempt to open a stream came to.
enum Attempt {
    Opened(OpenedStream),
    /// The peer has not seen the request: its connection takes no more.
    NotSeen,
}

impl<O: Origin> Pool<O> {
    /// A pool without connections.
    #[must_use]
    pub(crate) fn new(dialer: Arc<Dialer<O>>, options: PoolOptions, limits: ConnectionLimits) -> Self {
        Self { dialer, options, peers: Peers::new(options, limits.clone()), limits }
    }

    /// Opens a stream to a peer. `optimistic`: what the application sends meanwhile, where it may go before the peer has granted it.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(crate) async fn open(
        &self,
        target: &Target,
        authority: &str,
        headers: &HeaderMap,
        optimistic: Option<&OptimisticData<'_>>,
    ) -> Result<OpenedStream, HboneError> {
        let optimistic = optimistic.filter(|_| self.options.optimistic_data);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(target, authority, headers, optimistic).await {
                Ok(Attempt::Opened(opened)) => return Ok(opened),
                Ok(Attempt::NotSeen) if attempt > RETRIES => return Err(HboneError::request_timeout(target.peer)),
                // At once the first time: the connection that takes no more may have been an old one.
                Ok(Attempt::NotSeen) if attempt == 1 => {}
                Ok(Attempt::NotSeen) => pause_before(attempt).await,
                // Another attempt may do better; `Retry` says for which reasons, and how often it is made.
                Err(error) if attempt <= retries(error.failure().retry) => {
                    let failure = error.failure();
                    tracing::debug!(
                        peer = %target.peer, %error, attempt, failed = ?failure.by, failure.request_sent,
                        "no connection to the peer, trying another"
                    );
                    pause_before(attempt).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A place for a request as a stream of its own, on a connection that is there: the peer has said of this destination that it wants
    /// requests so. `None`: it goes inside of CONNECT.
    pub(crate) fn request_slot(&self, target: &Target, authority: &str) -> Option<RequestSlot> {
        self.dialer.has_request_streams.then(|| self.peers.request_slot(target, authority)).flatten()
    }

    /// Sees to it that there is a connection to a peer, for streams to come.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(crate) async fn prepare(&self, target: &Target) -> Result<(), HboneError> {
        self.slot(target).await.map(drop)
    }

    async fn attempt(
        &self,
        target: &Target,
        authority: &str,
        headers: &HeaderMap,
        optimistic: Option<&OptimisticData<'_>>,
    ) -> Result<Attempt, HboneError> {
        let slot = self.slot(target).await?;
        let peer_identity = slot.connection().peer_identity.clone();
        match slot.request(authority, headers, optimistic, self.dialer.request_timeout).await? {
            Sent::Accepted { stream, data_sent, wants_streams } => {
                self.peers.note_carriage(target, authority, wants_streams);
                Ok(Attempt::Opened(OpenedStream { stream, peer_identity, data_sent }))
            }
            Sent::NotSeen(slot) => {
                tracing::debug!(peer = %target.peer, "an HBONE connection takes no more streams");
                slot.connection().close_to_new_streams();
                Ok(Attempt::NotSeen)
            }
        }
    }

    async fn slot(&self, target: &Target) -> Result<StreamSlot, HboneError> {
        loop {
            let (opening, _waiting) = match self.peers.slot(target, |id, counted| self.dial(target, id, counted))? {
                Slot::Ready(slot) => return Ok(slot),
                Slot::Pending { opening, waiting } => (opening, waiting),
            };
            let connection = opening.await?;
            match connection.reserve(self.options.max_streams) {
                Some(slot) => return Ok(slot),
                // Others who waited for it were faster.
                None if connection.was_used() => {}
                None => return Err(HboneError::no_streams(target.peer)),
            }
        }
    }

    /// Dials in a task, so that the connection comes to be even if the first to ask gives up.
    fn dial(&self, target: &Target, id: u64, counted: Counted) -> Opening {
        let (dialer, peers, target) = (self.dialer.clone(), Arc::downgrade(&self.peers), target.clone());
        let peer_addr = target.peer;
        let task = tokio::spawn(async move {
            let opened = tokio::select! {
                opened = dialer.dial(&target, counted) => opened,
                () = unwanted(&peers, &target, id) => return Err(HboneError::request_timeout(target.peer)),
            };
            if let Some(peers) = peers.upgrade() {
                peers.settle(&target, id, &opened);
            }
            opened
        });
        async move { task.await.unwrap_or_else(|_| Err(HboneError::request_timeout(peer_addr))) }.boxed().shared()
    }
}

/// Waits before another attempt, the longer the more were made.
async fn pause_before(attempt: u32) {
    tokio::time::sleep(RETRY_PAUSE * attempt * attempt).await;
}

/// How often a request is sent again after such a failure.
fn retries(retry: Retry) -> u32 {
    match retry {
        Retry::No => 0,
        Retry::PeerGone => RETRIES,
        Retry::NobodyListens => RETRIES_WITHOUT_LISTENER,
        Retry::NoneFree => RETRIES_WHILE_NONE_FREE,
    }
}

/// Closes idle connections of an origin until it leaves; then, nothing is kept for streams to come.
pub(crate) async fn sweep<O: Origin>(pools: &[Pool<O>], left: impl Future<Output = ()>) {
    let Some(first) = pools.first() else { return left.await };
    let mut interval = tokio::time::interval(SWEEP_INTERVAL.min(first.options.idle));
    let mut left = std::pin::pin!(left);
    loop {
        tokio::select! {
            _ = interval.tick() => pools.iter().for_each(|pool| pool.peers.drop_stale()),
            () = first.limits.crowded.notified() => make_room(pools),
            () = &mut left => break,
        }
    }
    pools.iter().for_each(|pool| pool.peers.clear());
}

/// Closes those of an origin's idle connections that have been idle for longest.
fn make_room<O>(pools: &[Pool<O>]) {
    let idle = pools.iter().flat_map(|pool| pool.peers.idle()).collect();
    if let Some(too_long) = longest(idle) {
        pools.iter().for_each(|pool| pool.peers.drop_idle(too_long));
    }
}

/// The shortest of the longest quarter of some times.
fn longest(mut times: Vec<Duration>) -> Option<Duration> {
    let at = (times.len() * 3 / 4).min(times.len().checked_sub(1)?);
    Some(*times.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_by_the_quarter_that_has_been_idle_for_longest() {
        let seconds = |times: &[u64]| times.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
        for (idle, too_long) in [
            (&[][..], None),
            (&[5], Some(5)),
            (&[5, 1], Some(5)),
            (&[5, 1, 9, 7], Some(9)),
            (&[8, 1, 7, 2, 6, 3, 5, 4], Some(7)),
        ] {
            assert_eq!(longest(seconds(idle)), too_long.map(Duration::from_secs), "{idle:?}");
        }
    }
}
