//! Routes on which a direct connection was lost or refused a short while ago: connections go by the agent meanwhile, which finds another
//! endpoint, or says what is wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::table::{Key, MAX_ROUTES_PER_POD};
use crate::capture::NetnsCookie;

/// How long a route is not tried again.
const LOSSY_FOR: Duration = Duration::from_secs(60);

/// Such routes, by pod: since when.
#[derive(Debug, Default)]
pub(super) struct Lossy(HashMap<NetnsCookie, HashMap<SocketAddr, Instant>>);

impl Lossy {
    /// Whether connections of the pod to the address go by the agent for now.
    pub(super) fn has(&self, (pod, dialled): &Key) -> bool {
        self.0.get(pod).is_some_and(|routes| routes.contains_key(dialled))
    }

    /// Returns whether nothing was known of the route. Of a pod with as many as it may have, no further one is remembered.
    pub(super) fn note(&mut self, (pod, dialled): Key) -> bool {
        let routes = self.0.entry(pod).or_default();
        if routes.len() >= MAX_ROUTES_PER_POD && !routes.contains_key(&dialled) {
            return false;
        }
        routes.insert(dialled, Instant::now()).is_none()
    }

    /// Has those be tried again that were not for long enough.
    pub(super) fn forget_old(&mut self) {
        self.0.retain(|_, routes| {
            routes.retain(|_, since| since.elapsed() < LOSSY_FOR);
            !routes.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_room_for_so_many_and_takes_none_of_another() {
        let mut lossy = Lossy::default();
        let key = |pod, port| (NetnsCookie(pod), SocketAddr::from(([10, 0, 0, 7], port)));
        let most = u16::try_from(MAX_ROUTES_PER_POD).expect("it is small");
        assert!((1..=most).all(|port| lossy.note(key(1, port))));
        assert!(!lossy.note(key(1, most)), "it was noted before");
        assert!(!lossy.note(key(1, most + 1)) && !lossy.has(&key(1, most + 1)));
        assert!(lossy.note(key(2, 1)) && lossy.has(&key(2, 1)));
        lossy.forget_old();
        assert!(lossy.has(&key(1, most)), "it is not old");
    }
}
