//! What the kernel programs were told of direct connections: routes, and the permits that these need.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::capture::direct::DirectMaps;
use crate::capture::noted::Pair;
use crate::capture::{CaptureError, NetnsCookie};

/// Destinations of one pod that may be direct: for a further one the oldest goes by the agent again. The maps have room for as many of 128
/// pods.
pub(super) const MAX_ROUTES_PER_POD: usize = 128;

/// A pod, and an address that it asks for.
pub(super) type Key = (NetnsCookie, SocketAddr);

/// Where routes and permits are written.
pub(super) trait RouteMaps {
    fn permit(&mut self, pair: Pair) -> Result<(), CaptureError>;
    fn forbid(&mut self, pair: Pair) -> Result<(), CaptureError>;
    fn set_route(&mut self, key: Key, endpoints: &[SocketAddr]) -> Result<(), CaptureError>;
    fn remove_route(&mut self, key: Key) -> Result<(), CaptureError>;
}

impl RouteMaps for DirectMaps {
    fn permit(&mut self, pair: Pair) -> Result<(), CaptureError> {
        Self::permit(self, pair)
    }

    fn forbid(&mut self, pair: Pair) -> Result<(), CaptureError> {
        Self::forbid(self, pair)
    }

    fn set_route(&mut self, (source, dialled): Key, endpoints: &[SocketAddr]) -> Result<(), CaptureError> {
        Self::set_route(self, source, dialled, endpoints)
    }

    fn remove_route(&mut self, (source, dialled): Key) -> Result<(), CaptureError> {
        Self::remove_route(self, source, dialled)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    routes: HashMap<Key, Route>,
    /// How many routes need a permit.
    users: HashMap<Pair, usize>,
    /// The routes of each pod, the oldest first.
    of_pods: HashMap<NetnsCookie, VecDeque<SocketAddr>>,
}

/// The pairs of a pod with each endpoint that an address leads it to.
pub(super) type Route = Vec<Pair>;

impl Table {
    pub(super) fn has(&self, key: &Key) -> bool {
        self.routes.contains_key(key)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.routes.keys().copied().collect()
    }

    /// Makes a route this one, or none. Where the kernel refuses there is none.
    pub(super) fn set(&mut self, maps: &mut impl RouteMaps, key: Key, route: Option<Route>) {
        if self.routes.get(&key) == route.as_ref() {
            return;
        }
        let Some(route) = route else { return self.remove(maps, key) };
        if !self.has(&key) {
            self.make_room(maps, key.0);
        }
        if let Err(error) = self.put(maps, key, route) {
            tracing::debug!(dialled = %key.1, %error, "connections stay with the agent");
            self.remove(maps, key);
        }
    }

    /// Nobody loses a route but the pod itself.
    fn make_room(&mut self, maps: &mut impl RouteMaps, pod: NetnsCookie) {
        let oldest = self.of_pods.get(&pod).filter(|routes| routes.len() >= MAX_ROUTES_PER_POD);
        if let Some(oldest) = oldest.and_then(|routes| routes.front()).copied() {
            self.remove(maps, (pod, oldest));
        }
    }

    /// Whatever the kernel says, [`Self::remove`] can take it back.
    fn put(&mut self, maps: &mut impl RouteMaps, key: Key, route: Route) -> Result<(), CaptureError> {
        let endpoints: Vec<SocketAddr> = route.iter().map(|pair| pair.endpoint).collect();
        let pairs = route.clone();
        pairs.iter().for_each(|pair| *self.users.entry(*pair).or_default() += 1);
        let former = self.routes.insert(key, route);
        if former.is_none() {
            self.of_pods.entry(key.0).or_default().push_back(key.1);
        }
        // Permits come before the route that needs them, and go after it.
        let told = pairs.iter().try_for_each(|pair| maps.permit(*pair));
        let told = told.and_then(|()| maps.set_route(key, &endpoints));
        if let Some(former) = former {
            self.release(maps, &former);
        }
        told
    }

    fn remove(&mut self, maps: &mut impl RouteMaps, key: Key) {
        let Some(route) = self.routes.remove(&key) else { return };
        if let Err(error) = maps.remove_route(key) {
            tracing::error!(dialled = %key.1, %error, "the kernel programs know a direct route that is none any more");
        }
        self.release(maps, &route);
        if let Some(routes) = self.of_pods.get_mut(&key.0) {
            routes.retain(|dialled| *dialled != key.1);
            if routes.is_empty() {
                self.of_pods.remove(&key.0);
            }
        }
    }

    /// Takes back the permits that no other route needs.
    fn release(&mut self, maps: &mut impl RouteMaps, pairs: &[Pair]) {
        for pair in pairs {
            let Some(users) = self.users.get_mut(pair) else { continue };
            *users -= 1;
            if *users > 0 {
                continue;
            }
            self.users.remove(pair);
            if let Err(error) = maps.forbid(*pair) {
                tracing::error!(endpoint = %pair.endpoint, %error, "a direct connection stays permitted that is not any more");
            }
        }
    }

    /// Removes all that a pod connects to or serves.
    pub(super) fn remove_pod(&mut self, maps: &mut impl RouteMaps, pod: NetnsCookie) {
        let is_its = |(key, route): &(&Key, &Route)| key.0 == pod || route.iter().any(|pair| pair.server == pod);
        let keys: Vec<Key> = self.routes.iter().filter(is_its).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.remove(maps, key));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Maps with room for so many routes.
    #[derive(Debug)]
    struct Room {
        permits: BTreeSet<Pair>,
        routes: BTreeSet<Key>,
        room: usize,
    }

    impl RouteMaps for Room {
        fn permit(&mut self, pair: Pair) -> Result<(), CaptureError> {
            self.permits.insert(pair);
            Ok(())
        }

        fn forbid(&mut self, pair: Pair) -> Result<(), CaptureError> {
            self.permits.remove(&pair);
            Ok(())
        }

        fn set_route(&mut self, key: Key, _: &[SocketAddr]) -> Result<(), CaptureError> {
            if self.routes.len() == self.room && !self.routes.contains(&key) {
                return Err(CaptureError::TooManyPods(0));
            }
            self.routes.insert(key);
            Ok(())
        }

        fn remove_route(&mut self, key: Key) -> Result<(), CaptureError> {
            self.routes.remove(&key);
            Ok(())
        }
    }

    fn room(room: usize) -> Room {
        Room { permits: BTreeSet::new(), routes: BTreeSet::new(), room }
    }

    fn address(last: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, last], port).into()
    }

    fn pair(source: u64, server: u8) -> Pair {
        Pair { source: NetnsCookie(source), server: NetnsCookie(server.into()), endpoint: address(server, 80) }
    }

    fn route(source: u64, servers: &[u8]) -> Option<Route> {
        Some(servers.iter().map(|server| pair(source, *server)).collect())
    }

    #[test]
    fn a_permit_is_in_force_as_long_as_a_route_needs_it() {
        let (mut table, mut maps) = (Table::default(), room(10));
        let (pod, service) = ((NetnsCookie(1), address(7, 80)), (NetnsCookie(1), address(99, 80)));
        for (key, wanted, permits, routes) in [
            (pod, route(1, &[7]), vec![7], 1),
            (service, route(1, &[7, 8]), vec![7, 8], 2),
            (service, route(1, &[8, 9]), vec![7, 8, 9], 2),
            (pod, None, vec![8, 9], 1),
            (pod, None, vec![8, 9], 1),
            (service, None, vec![], 0),
        ] {
            table.set(&mut maps, key, wanted);
            let expected: BTreeSet<Pair> = permits.into_iter().map(|server| pair(1, server)).collect();
            assert_eq!((&maps.permits, maps.routes.len()), (&expected, routes));
        }
        table.set(&mut maps, service, route(1, &[8, 9]));
        table.set(&mut maps, (NetnsCookie(2), address(7, 80)), route(2, &[7]));
        table.remove_pod(&mut maps, NetnsCookie(9));
        assert_eq!(maps.permits, BTreeSet::from([pair(2, 7)]), "a route to a pod that is gone goes whole");
    }

    #[test]
    fn what_finds_no_room_leaves_nothing_and_a_pod_takes_room_from_itself_alone() {
        let (mut table, mut maps) = (Table::default(), room(MAX_ROUTES_PER_POD + 1));
        table.set(&mut maps, (NetnsCookie(2), address(7, 80)), route(2, &[7]));
        let last = u16::try_from(MAX_ROUTES_PER_POD + 5).expect("it is small");
        for port in 1..=last {
            table.set(&mut maps, (NetnsCookie(1), address(7, port)), route(1, &[7]));
        }
        let has = |table: &Table, source, port| table.has(&(NetnsCookie(source), address(7, port)));
        assert!(has(&table, 2, 80) && !has(&table, 1, 5) && has(&table, 1, 6) && has(&table, 1, last));
        table.set(&mut maps, (NetnsCookie(3), address(7, 80)), route(3, &[7]));
        assert!(!has(&table, 3, 80) && !maps.permits.contains(&pair(3, 7)));
        assert_eq!(table.of_pods.len(), 2);
    }
}
