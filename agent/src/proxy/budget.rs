//! What connections hold of their pod's limits while they are open.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::limits::{Held, Limit, LimitKind, PodLimits};

/// What one connection holds. A connection that was in a backlog as its listener closed holds nothing: it is served whatever its pod holds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    _connection: Option<Held>,
    pending: Option<Held>,
}

impl Budget {
    /// Waits until the pod may have one more outbound connection whose upstream is to be opened.
    pub(super) async fn outbound(limits: &PodLimits) -> Self {
        let connection = limits.of(LimitKind::OutboundConnections).take().await;
        let pending = limits.of(LimitKind::PendingConnects).take().await;
        Self { _connection: Some(connection), pending: Some(pending) }
    }

    /// Waits until the pod may have one more inbound connection.
    pub(super) async fn inbound(limits: &PodLimits) -> Self {
        Self { _connection: Some(limits.of(LimitKind::InboundConnections).take().await), pending: None }
    }

    /// The upstream is open, or will not be.
    pub(super) fn is_not_pending(&mut self) {
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
    _held: Held,
}

impl Handshakes {
    /// Begins one; where the limit is reached, the oldest one ends.
    pub(super) async fn begin(&self, limit: &Limit) -> Handshake<'_> {
        let held = match limit.try_take() {
            Some(held) => held,
            None => {
                let oldest = self.0.lock().under_way.pop_front();
                oldest.inspect(|(_, displaced)| displaced.cancel());
                limit.wait().await
            }
        };
        let displaced = CancellationToken::new();
        let mut queue = self.0.lock();
        let number = queue.next;
        queue.next += 1;
        queue.under_way.push_back((number, displaced.clone()));
        Handshake { handshakes: self, number, displaced, _held: held }
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
        let first = begin().now_or_never().expect("there is room");
        let second = begin().now_or_never().expect("there is room");
        let mut third = std::pin::pin!(begin());
        assert!(third.as_mut().now_or_never().is_none(), "the first has not ended yet");
        let displaced = |handshake: &Handshake<'_>| handshake.displaced().now_or_never().is_some();
        assert_eq!((displaced(&first), displaced(&second)), (true, false));
        drop(first);
        let third = third.now_or_never().expect("the first has ended");
        drop(second);
        let fourth = begin().now_or_never().expect("the second has ended by itself");
        assert_eq!((displaced(&third), displaced(&fourth)), (false, false));
    }
}
