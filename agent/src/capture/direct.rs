//! The maps of the direct path: where pods may connect without the agent, and the connections that do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use std::{fmt, io};

use aya::maps::{Array, HashMap, MapData, MapError, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use weir_common::{
    Address, DIRECT_NEVER, DIRECT_OFF, DirectConnection, DirectDestination, DirectEnded, DirectPair, DirectRoute, Flow,
    MAX_DIRECT_CONNECTIONS_PER_POD, MAX_DIRECT_ENDPOINTS, MAX_DIRECT_PERMITS, MAX_DIRECT_ROUTES, MAX_PODS,
};

use super::error::CaptureError;
use super::installed::Capture;
use super::kernel;
use super::maps::absent_is_fine;
use super::noted::{Noted, Pair, nanoseconds, now};
use super::pinned_maps;
use super::pins::Pins;
use super::pod::NetnsCookie;

/// By how much the count of a pod's connections may be wrong: a 64th of those that it may have.
const MAX_DRIFT: u64 = MAX_DIRECT_CONNECTIONS_PER_POD.unsigned_abs() / 64;

/// The maps. Only the agent that serves the node may have them.
pub struct DirectMaps {
    until: Array<MapData, u64>,
    routes: HashMap<MapData, DirectDestination, DirectRoute>,
    permits: HashMap<MapData, DirectPair, u32>,
    connections: HashMap<MapData, u64, DirectConnection>,
    flows: HashMap<MapData, Flow, u64>,
    /// The same map, to read all of it at once.
    all: OwnedFd,
    room: HashMap<MapData, u64, u64>,
    /// What the programs tell of connections that have ended.
    ended: AsyncFd<RingBuf<MapData>>,
}

impl fmt::Debug for DirectMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectMaps").finish_non_exhaustive()
    }
}

impl DirectMaps {
    /// Opens the maps and removes every route and permit: those of a former agent may be outdated. Connections stay. To be called
    /// within a runtime.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(capture: &Capture) -> Result<Self, CaptureError> {
        let pins = &capture.pins;
        let ring: RingBuf<MapData> = pinned_maps::open(pins, "DIRECT_ENDED")?;
        #[expect(unsafe_code, reason = "the ring cannot promise that its descriptor stays the same; it does")]
        // SAFETY: the ring owns its descriptor and is owned by the registration, so neither outlives the other.
        let ended = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(CaptureError::because(|| "cannot wait for direct connections".to_owned()))?;
        let mut opened = Self {
            until: pinned_maps::open(pins, "DIRECT_UNTIL")?,
            routes: pinned_maps::open(pins, "DIRECT_ROUTES")?,
            permits: pinned_maps::open(pins, "DIRECT_PERMITS")?,
            connections: pinned_maps::open(pins, "DIRECT_CONNECTIONS")?,
            flows: pinned_maps::open(pins, "DIRECT_FLOWS")?,
            all: open_all(pins)?,
            room: pinned_maps::open(pins, "DIRECT_ROOM")?,
            ended,
        };
        opened.clear().map_err(CaptureError::because(|| "cannot empty the maps of direct connections".to_owned()))?;
        Ok(opened)
    }

    /// The connections that programs of another version have noted, which nobody notes any more once those are gone. None begins there
    /// any more.
    pub(super) fn of_another_version(pins: &Pins) -> Vec<Noted> {
        let stopped =
            pinned_maps::open(pins, "DIRECT_UNTIL").map(|mut until: Array<MapData, u64>| until.set(0, DIRECT_OFF, 0));
        // Opened with its type, which says whether it is the same.
        let found: Result<HashMap<MapData, u64, DirectConnection>, _> = pinned_maps::open(pins, "DIRECT_CONNECTIONS");
        match (stopped, found.and_then(|_| open_all(pins))) {
            (Ok(_), Ok(connections)) => all(&connections),
            (Ok(_), Err(error)) => {
                tracing::error!(%error, "direct connections of another version of the programs go on, and nobody ends them");
                Vec::new()
            }
            // That version had none.
            (Err(_), _) => Vec::new(),
        }
    }

    fn clear(&mut self) -> Result<(), MapError> {
        self.stop()?;
        let permits: Vec<_> = self.permits.keys().take(MAX_DIRECT_PERMITS as usize).filter_map(Result::ok).collect();
        permits.iter().try_for_each(|pair| absent_is_fine(self.permits.remove(pair)))?;
        let routes: Vec<_> = self.routes.keys().take(MAX_DIRECT_ROUTES as usize).filter_map(Result::ok).collect();
        routes.iter().try_for_each(|route| absent_is_fine(self.routes.remove(route)))
    }

    /// No connection begins any more. Where none ever could, the programs need not look after any either.
    fn stop(&mut self) -> Result<(), MapError> {
        if self.until.get(&0, 0)? == DIRECT_NEVER { Ok(()) } else { self.until.set(0, DIRECT_OFF, 0) }
    }

    /// Has connections begin to be direct for so long from now on; none at all for no time.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn allow_for(&mut self, time: Duration) -> Result<(), CaptureError> {
        if time.is_zero() {
            return self.stop().map_err(refused);
        }
        self.until.set(0, now().saturating_add(nanoseconds(time)), 0).map_err(refused)
    }

    /// Lets a pod connect to an endpoint.
    ///
    /// # Errors
    /// When the kernel refuses, as it does where there is no room.
    pub fn permit(&mut self, pair: Pair) -> Result<(), CaptureError> {
        if let Err(MapError::KeyNotFound) = self.room.get(&pair.source.0, 0) {
            self.room.insert(pair.source.0, 0, 0).map_err(refused)?;
        }
        self.permits.insert(key_of(pair), 1, 0).map_err(refused)
    }

    /// Takes that back, also for a connection whose SYN is on its way.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forbid(&mut self, pair: Pair) -> Result<(), CaptureError> {
        absent_is_fine(self.permits.remove(&key_of(pair))).map_err(refused)
    }

    /// Makes the endpoints that a destination leads a pod to exactly these, at most [`MAX_ENDPOINTS`], with equal chances.
    ///
    /// # Errors
    /// When the kernel refuses, as it does where there is no room.
    pub fn set_route(
        &mut self,
        source: NetnsCookie,
        dialled: SocketAddr,
        endpoints: &[SocketAddr],
    ) -> Result<(), CaptureError> {
        let mut route = DirectRoute::default();
        for (place, endpoint) in route.endpoints.iter_mut().zip(endpoints) {
            *place = Address::from(*endpoint);
            route.count += 1;
        }
        self.routes.insert(DirectDestination::new(source.0, dialled.into()), route, 0).map_err(refused)
    }

    /// # Errors
    /// When the kernel refuses.
    pub fn remove_route(&mut self, source: NetnsCookie, dialled: SocketAddr) -> Result<(), CaptureError> {
        absent_is_fine(self.routes.remove(&DirectDestination::new(source.0, dialled.into()))).map_err(refused)
    }

    /// Forgets how many connections a pod has that is no longer captured.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget_pod(&mut self, source: NetnsCookie) -> Result<(), CaptureError> {
        absent_is_fine(self.room.remove(&source.0)).map_err(refused)
    }

    /// Every connection that is noted.
    #[must_use]
    pub fn connections(&self) -> Vec<Noted> {
        all(&self.all)
    }

    /// Removes a connection that is over or came to nothing; `None` where the programs have just told of it.
    pub fn take(&mut self, noted: &Noted) -> Option<Noted> {
        let last = self.connections.get(&noted.key, 0).ok()?;
        self.connections.remove(&noted.key).ok()?;
        let source = noted.pair.source.0;
        if let Ok(taken) = self.room.get(&source, 0) {
            // A connection that begins or ends meanwhile may be lost in it, which lets the pod have one more or less.
            let _ = self.room.insert(source, taken.wrapping_sub(1), 0);
        }
        // It may be that of a later connection by now.
        let flow = Flow { client: last.client, server: last.endpoint, netns_cookie: last.server };
        if self.flows.get(&flow, 0).is_ok_and(|key| key == noted.key) {
            let _ = self.flows.remove(&flow);
        }
        Some(Noted::of(noted.key, &last, now()))
    }

    /// Has the programs count for each pod the connections that there are, which are these. They and [`Self::take`] count at the same time,
    /// and what is lost in that would add up over the life of a pod.
    pub fn correct_room(&mut self, connections: &[Noted]) {
        let mut there = BTreeMap::new();
        for noted in connections {
            *there.entry(noted.pair.source.0).or_insert(0_u64) += 1;
        }
        let taken: Vec<_> = self.room.iter().take(MAX_PODS as usize).filter_map(Result::ok).collect();
        for (source, taken) in taken {
            let there = there.get(&source).copied().unwrap_or_default();
            if has_drifted(taken, there)
                && let Err(error) = self.room.insert(source, there, 0)
            {
                tracing::warn!(pod = source, taken, there, %error, "how many direct connections it has stays wrong");
            }
        }
    }

    /// Waits until connections have ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub async fn some_ended(&self) -> io::Result<()> {
        self.ended.readable().await?.clear_ready();
        Ok(())
    }

    /// Connections that have ended and were not read yet, at most so many; and whether there may be more.
    pub fn ended(&mut self, most: usize) -> (Vec<Noted>, bool) {
        let (ring, now) = (self.ended.get_mut(), now());
        let mut read = Vec::new();
        while read.len() < most {
            let Some(item) = ring.next() else { return (read, false) };
            let Ok(bytes) = <&[u8; size_of::<DirectEnded>()]>::try_from(&*item) else { continue };
            // SAFETY: plain data of this size, which the programs have written; at any alignment.
            #[expect(unsafe_code, reason = "the ring gives bytes")]
            let DirectEnded { key, connection } = unsafe { bytes.as_ptr().cast::<DirectEnded>().read_unaligned() };
            read.push(Noted::of(key, &connection, now));
        }
        (read, true)
    }
}

fn open_all(pins: &Pins) -> Result<OwnedFd, CaptureError> {
    kernel::open_pin(&pins.map("DIRECT_CONNECTIONS"))
        .map_err(CaptureError::because(|| "cannot open map DIRECT_CONNECTIONS".to_owned()))
}

fn all(connections: &OwnedFd) -> Vec<Noted> {
    let entries = kernel::lookup_all::<u64, DirectConnection>(connections.as_fd()).unwrap_or_else(|error| {
        tracing::error!(%error, "direct connections cannot be listed");
        Vec::new()
    });
    let now = now();
    entries.iter().map(|(key, connection)| Noted::of(*key, connection, now)).collect()
}

/// Whether a count is wrong by more than what begins and ends while the connections are listed. It may be below zero.
fn has_drifted(taken: u64, there: u64) -> bool {
    taken.cast_signed().abs_diff(there.cast_signed()) > MAX_DRIFT
}

fn refused(error: MapError) -> CaptureError {
    CaptureError::because(|| "a map of direct connections".to_owned())(error)
}

/// The most endpoints that [`DirectMaps::set_route`] takes.
pub const MAX_ENDPOINTS: usize = MAX_DIRECT_ENDPOINTS;

fn key_of(pair: Pair) -> DirectPair {
    DirectPair::new(pair.source.0, pair.server.0, pair.endpoint.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_wrong_by_much_has_drifted() {
        let below = u64::MAX;
        for (taken, there, expected) in [
            (0, 0, false),
            (256, 0, false),
            (257, 0, true),
            (1000, 16_000, true),
            (below, 0, false),
            (below - 299, 0, true),
        ] {
            assert_eq!(has_drifted(taken, there), expected, "{taken} instead of {there}");
        }
    }
}
