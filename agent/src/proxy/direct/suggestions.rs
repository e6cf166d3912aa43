//! Connections that the agent has opened to pods of this node: the next ones from the same pod to the same address may be direct.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::capture::NetnsCookie;

/// How long nothing is said again of the same pod and address.
const PAUSE: Duration = Duration::from_secs(1);
/// Suggestions that wait, at most: further ones are dropped, and come again with the next connection.
const WAITING: usize = 1024;
/// What was said that is remembered before what is older than [`PAUSE`] is forgotten.
const SWEEP_AT: usize = 4096;

/// See the module. `D`: a pod.
pub(in crate::proxy) struct Suggestions<D> {
    /// `None` where no connection is to be direct.
    to: Option<mpsc::Sender<Suggestion<D>>>,
    said: Mutex<Said>,
}

/// What was said, and when.
#[derive(Debug)]
struct Said {
    at: HashMap<(NetnsCookie, SocketAddr), Instant>,
    sweep_at: usize,
}

impl Default for Said {
    fn default() -> Self {
        Self { at: HashMap::new(), sweep_at: SWEEP_AT }
    }
}

impl Said {
    /// Notes that it is said now. False where it was said a moment ago.
    fn note(&mut self, netns: NetnsCookie, dialled: SocketAddr, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < PAUSE;
        if self.at.get(&(netns, dialled)).is_some_and(is_recent) {
            return false;
        }
        if self.at.len() >= self.sweep_at {
            self.at.retain(|_, at| is_recent(at));
            // Where most are recent another sweep would find nothing.
            self.sweep_at = SWEEP_AT.max(2 * self.at.len());
        }
        self.at.insert((netns, dialled), now);
        true
    }
}

/// A pod, and the address that it asked for.
pub(in crate::proxy) type Suggestion<D> = (Arc<D>, SocketAddr);

impl<D> fmt::Debug for Suggestions<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suggestions").field("taken", &self.to.is_some()).finish_non_exhaustive()
    }
}

impl<D> Suggestions<D> {
    /// Nobody takes them.
    pub(in crate::proxy) fn untaken() -> Self {
        Self { to: None, said: Mutex::default() }
    }

    /// With what takes them.
    pub(in crate::proxy) fn taken() -> (Self, mpsc::Receiver<Suggestion<D>>) {
        let (to, taken) = mpsc::channel(WAITING);
        (Self { to: Some(to), said: Mutex::default() }, taken)
    }

    /// Whether anybody takes them.
    pub(in crate::proxy) fn are_taken(&self) -> bool {
        self.to.is_some()
    }

    /// Says that a connection of a pod, in this namespace, was opened to an endpoint of this node.
    pub(in crate::proxy) fn suggest(&self, source: &Arc<D>, netns: NetnsCookie, dialled: SocketAddr) {
        let Some(to) = &self.to else { return };
        if !self.said.lock().note(netns, dialled, Instant::now()) {
            return;
        }
        // Another one comes with the next connection.
        let _ = to.try_send((source.clone(), dialled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_forgotten_and_not_looked_for_each_time() {
        let (mut said, now) = (Said::default(), Instant::now());
        let address = |number: usize| {
            let [.., high, low] = number.to_be_bytes();
            SocketAddr::from(([10, 0, high, low], 80))
        };
        assert!((0..2 * SWEEP_AT).all(|number| said.note(NetnsCookie(1), address(number), now)));
        assert_eq!((said.at.len(), said.sweep_at), (2 * SWEEP_AT, 2 * SWEEP_AT), "all are recent");
        assert!(said.note(NetnsCookie(1), address(0), now + PAUSE));
        assert_eq!((said.at.len(), said.sweep_at), (1, SWEEP_AT));
    }

    #[test]
    fn the_same_is_not_said_again_at_once() {
        let (suggestions, mut taken) = Suggestions::taken();
        let (pod, address) = (Arc::new("pod"), ([10, 0, 0, 1], 80).into());
        for netns in [1, 1, 2] {
            suggestions.suggest(&pod, NetnsCookie(netns), address);
        }
        let mut said = 0;
        while taken.try_recv().is_ok() {
            said += 1;
        }
        assert_eq!(said, 2);
        Suggestions::untaken().suggest(&pod, NetnsCookie(1), address);
    }
}
