//! What connections hold of their pod's limits while they are open.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::limits::{Held, Limit, LimitKind, PodLimits};

/// What one connection holds. A connection that was in a backlog as its listener closed holds nothing: it is served whatever its pod holds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    connection: Option<Held>,
    pending: Option<Held>,
}

impl Budget {
    /// Waits until the pod may have one more outbound connection whose upstream is to be opened.
    pub(super) async fn outbound(limits: &PodLimits) -> Self {
        let connection = limits.of(LimitKind::OutboundConnections).take().await;
        let pending = limits.of(LimitKind::PendingConnects).take().await;
        Self { connection: Some(connection), pending: Some(pending) }
    }

    /// Waits until the pod may have one more inbound connection.
    pub(super) async fn inbound(limits: &PodLimits) -> Self {
        Self { connection: Some(limits.of(LimitKind::InboundConnections).take().await), pending: None }
    }

    /// Counts the connection as one whose upstream is to be opened, unless it counts as such: waits until the pod may have one more.
    pub(super) async fn count_as_pending(&mut self, limits: &PodLimits) {
        if self.connection.is_some() && self.pending.is_none() {
            self.pending = Some(limits.of(LimitKind::PendingConnects).take().await);
        }
    }

    /// Counts it as such no more: the upstream is open, or will not be, or it is the client that is waited for.
    pub(super) fn stop_counting_as_pending(&mut self) {
        self.pending = None;
    }
}

/// The connections to a pod's HBONE port whose peer has not authenticated yet, oldest first. There is room for so many: one
/// more takes the place of the oldest. An honest handshake takes milliseconds, so the oldest of many is one whose peer says
/// nothing, and those who hold many connections open in silence keep nobody out.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    under_way: VecDeque<(u64, CancellationToken)>,
    next: u64,
}

/// A handshake that is under way, until dropped.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    handshakes: &'a Handshakes,
    number: u64,
    displaced: CancellationToken,
    /// `None` where it was displaced while it waited.
    held: Option<Held>,
}

impl Handshakes {
    /// Begins one. Where the limit is reached, the oldest one ends, and this one waits for its place.
    pub(super) async fn begin(&self, limit: &Limit) -> Handshake<'_> {
        let mut handshake = self.enqueue();
        handshake.held = limit.try_take();
        if handshake.held.is_none() {
            self.displace_oldest(handshake.number);
            handshake.held = tokio::select! {
                held = limit.wait() => Some(held),
                () = handshake.displaced.cancelled() => None,
            };
        }
        handshake
    }

    fn enqueue(&self) -> Handshake<'_> {
        let displaced = CancellationToken::new();
        let mut queue = self.0.lock();
        let number = queue.next;
        queue.next += 1;
        queue.under_way.push_back((number, displaced.clone()));
        Handshake { handshakes: self, number, displaced, held: None }
    }

    /// Ends the oldest handshake that is older than one.
    fn displace_oldest(&self, number: u64) {
        let mut queue = self.0.lock();
        if queue.under_way.front().is_some_and(|(oldest, _)| *oldest < number)
            && let Some((_, displaced)) = queue.under_way.pop_front()
        {
            displaced.cancel();
        }
    }
}

impl Handshake<'_> {
    /// Resolves once another handshake has taken this one's place.
    pub(super) fn displaced(&self) -> WaitForCancellationFuture<'_> {
        self.displaced.cancelled()
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        let mut queue = self.handshakes.0.lock();
        // Numbers only grow, so the queue is in their order.
        if let Ok(at) = queue.under_way.binary_search_by_key(&self.number, |(number, _)| *number) {
            queue.under_way.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::limits::NodeLimits;

    #[test]
    fn the_oldest_handshake_makes_room_for_the_newest() {
        let limits = NodeLimits::new(|_| 2).for_pod();
        let (handshakes, limit) = (Handshakes::default(), limits.of(LimitKind::Handshakes));
        let begin = || handshakes.begin(limit);
        let displaced = |handshake: &Handshake<'_>| handshake.displaced().now_or_never().is_some();
        let first = begin().now_or_never().expect("there is room");
        let second = begin().now_or_never().expect("there is room");
        let mut third = Box::pin(begin());
        assert!(third.as_mut().now_or_never().is_none(), "the first has not ended yet");
        let mut fourth = Box::pin(begin());
        assert!(fourth.as_mut().now_or_never().is_none(), "nor has the second");
        let mut fifth = Box::pin(begin());
        assert!(fifth.as_mut().now_or_never().is_none(), "nor any other");
        assert_eq!((displaced(&first), displaced(&second)), (true, true));
        assert!(displaced(&third.now_or_never().expect("it is the oldest of those that wait")));
        drop((first, second));
        let fourth = fourth.now_or_never().expect("the first has ended");
        let fifth = fifth.now_or_never().expect("the second has ended");
        assert_eq!((displaced(&fourth), displaced(&fifth)), (false, false));
    }
}
