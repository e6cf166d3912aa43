//! The pods that this process serves, by their addresses; and connections between two of them that one opens and the other accepts,
//! both in this process. That a connection arrived in the namespace of a pod is what proves whom it leads to: the address alone is a hint.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// See the module. `D`: a pod.
pub(in crate::proxy) struct Neighbours<D>(Mutex<Known<D>>);

struct Known<D> {
    pods: HashMap<IpAddr, Weak<D>>,
    expected: HashMap<Ends, oneshot::Sender<Arc<D>>>,
}

/// The addresses of a connection as both of its ends have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Ends {
    pub(in crate::proxy) source: SocketAddr,
    pub(in crate::proxy) destination: SocketAddr,
}

/// A connection that is about to be opened, until it was accepted or this is dropped.
#[derive(Debug)]
pub(super) struct Expected<'a, D> {
    neighbours: &'a Neighbours<D>,
    ends: Ends,
    accepted: oneshot::Receiver<Arc<D>>,
}

impl<D> fmt::Debug for Neighbours<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.lock();
        f.debug_struct("Neighbours").field("addresses", &known.pods.len()).finish_non_exhaustive()
    }
}

impl<D> Default for Neighbours<D> {
    fn default() -> Self {
        Self(Mutex::new(Known { pods: HashMap::new(), expected: HashMap::new() }))
    }
}

impl<D> Neighbours<D> {
    /// A pod has come. Those that are gone are forgotten.
    pub(in crate::proxy) fn add(&self, pod: &Arc<D>, addresses: &[IpAddr]) {
        let mut known = self.0.lock();
        known.pods.retain(|_, pod| pod.strong_count() > 0);
        known.pods.extend(addresses.iter().map(|address| (*address, Arc::downgrade(pod))));
    }

    /// The pod that came last with an address.
    pub(in crate::proxy) fn at(&self, address: IpAddr) -> Option<Arc<D>> {
        self.0.lock().pods.get(&address)?.upgrade()
    }

    /// Says that a connection with these ends is about to be opened here.
    pub(super) fn expect(&self, ends: Ends) -> Expected<'_, D> {
        let (sender, accepted) = oneshot::channel();
        self.0.lock().expected.insert(ends, sender);
        Expected { neighbours: self, ends, accepted }
    }

    /// Says that a connection with these ends was accepted in the namespace of a pod. True where this process has opened it, and knows now
    /// whom it leads to; such a connection carries nothing.
    pub(in crate::proxy) fn accepted(&self, ends: Ends, by: &Arc<D>) -> bool {
        let expected = self.0.lock().expected.remove(&ends);
        expected.is_some_and(|sender| sender.send(by.clone()).is_ok())
    }
}

impl<D> Expected<'_, D> {
    /// The pod in whose namespace it was accepted. It never resolves where another process accepts it.
    pub(super) async fn accepted(&mut self) -> Option<Arc<D>> {
        (&mut self.accepted).await.ok()
    }
}

impl<D> Drop for Expected<'_, D> {
    fn drop(&mut self) {
        self.neighbours.0.lock().expected.remove(&self.ends);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ends(port: u16) -> Ends {
        Ends { source: ([10, 0, 0, 1], port).into(), destination: ([10, 0, 0, 2], 15008).into() }
    }

    #[test]
    fn a_connection_leads_to_the_pod_in_whose_namespace_it_was_accepted() {
        let neighbours = Neighbours::default();
        let (near, other) = (Arc::new("near"), Arc::new("other"));
        let mut expected = neighbours.expect(ends(1));
        assert!(expected.accepted().now_or_never().is_none());
        assert!(!neighbours.accepted(ends(2), &other), "nobody here has opened that");
        assert!(neighbours.accepted(ends(1), &near));
        assert!(!neighbours.accepted(ends(1), &other), "it was accepted already");
        assert_eq!(expected.accepted().now_or_never().flatten(), Some(near.clone()));
        drop(neighbours.expect(ends(3)));
        assert!(!neighbours.accepted(ends(3), &near), "it was given up");
    }

    #[test]
    fn pods_are_known_by_their_addresses_while_they_are_served() {
        let neighbours = Neighbours::default();
        let [one, two] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let (first, second) = (Arc::new(1), Arc::new(2));
        neighbours.add(&first, &[one, two]);
        neighbours.add(&second, &[two]);
        assert_eq!((neighbours.at(one), neighbours.at(two)), (Some(first.clone()), Some(second.clone())));
        drop(second);
        assert_eq!(neighbours.at(two), None);
        neighbours.add(&first, &[]);
        assert_eq!(neighbours.0.lock().pods.len(), 1, "who is gone is forgotten");
    }
}
