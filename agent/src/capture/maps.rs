//! The maps as operations on pods. The layout of their keys is known only here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, SockMap};
use ipnet::IpNet;
use weir_common::{
    Address, Counter, DirectConnection, EnrolledPod, Flow, InboundPod, Installed, Ip, LISTENERS_PER_POD,
    LISTENING_KNOWN, ListenerKind, ListeningPod, ListeningPort, MAX_AGENTS, MAX_DESTINATIONS, MAX_DIRECT_CONNECTIONS,
    MAX_FLOWS, MAX_LISTENING_PORTS, MAX_PODS, MAX_PROBES, PASS_UNCAPTURABLE, PodAddress, PodVerdict, ProbePort,
    Settings, SocketAddress, excluded_port, listener_index,
};

use super::error::CaptureError;
use super::kernel;
use super::pinned_maps::open;
use super::pins::{self, Pins};
use super::pod::{NetnsCookie, PodListeners};

/// Opened maps. Exclusive access is this process's own: another agent must not enrol at the same time.
pub(super) struct Maps {
    pods: HashMap<MapData, u64, EnrolledPod>,
    pub(super) cgroups: HashMap<MapData, u64, u64>,
    inbound: HashMap<MapData, u64, InboundPod>,
    pub(super) verdicts: HashMap<MapData, PodVerdict, u64>,
    addresses: HashMap<MapData, Ip, PodAddress>,
    settings: Array<MapData, Settings>,
    installed: Array<MapData, Installed>,
    excluded_cidrs: LpmTrie<MapData, [u8; 16], u32>,
    excluded_ports: HashMap<MapData, u32, u32>,
    listeners: SockMap<MapData>,
    flows: HashMap<MapData, Flow, SocketAddress>,
    probes: HashMap<MapData, Flow, u32>,
    pub(super) probe_ports: HashMap<MapData, ProbePort, u32>,
    pub(super) listening: HashMap<MapData, ListeningPort, u64>,
    pub(super) listening_pods: HashMap<MapData, u64, ListeningPod>,
    destinations: HashMap<MapData, Address, u32>,
    direct: HashMap<MapData, u64, DirectConnection>,
    counters: PerCpuArray<MapData, u64>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

impl Maps {
    /// Opens the pinned maps.
    pub(super) fn open(pins: &Pins) -> Result<Self, CaptureError> {
        Ok(Self {
            pods: open(pins, "PODS")?,
            cgroups: open(pins, "POD_CGROUPS")?,
            inbound: open(pins, "INBOUND_PODS")?,
            verdicts: open(pins, "POD_VERDICTS")?,
            addresses: open(pins, "POD_ADDRESSES")?,
            settings: open(pins, "SETTINGS")?,
            installed: open(pins, "INSTALLED")?,
            excluded_cidrs: open(pins, "EXCLUDED_CIDRS")?,
            excluded_ports: open(pins, "EXCLUDED_PORTS")?,
            listeners: open(pins, "LISTENERS")?,
            flows: open(pins, "FLOWS")?,
            probes: open(pins, "PROBES")?,
            probe_ports: open(pins, "PROBE_PORTS")?,
            listening: open(pins, "LISTENING")?,
            listening_pods: open(pins, "LISTENING_PODS")?,
            destinations: open(pins, "DESTINATIONS")?,
            direct: open(pins, "DIRECT_CONNECTIONS")?,
            counters: open(pins, "COUNTERS")?,
        })
    }

    /// What a former agent has installed; `None` if nothing, or nothing this version understands.
    pub(super) fn read_installed(pins: &Pins) -> Option<Installed> {
        open::<Array<MapData, Installed>>(pins, "INSTALLED").ok()?.get(&0, 0).ok()
    }

    pub(super) fn set_installed(&mut self, installed: Installed) -> Result<(), CaptureError> {
        self.installed
            .set(0, installed, 0)
            .map_err(CaptureError::because(|| "cannot mark what is installed".to_owned()))
    }

    /// The map of what is known of destinations, emptied: nobody has said anything yet.
    pub(super) fn open_destinations(pins: &Pins) -> Result<HashMap<MapData, Address, u32>, CaptureError> {
        let mut map: HashMap<MapData, Address, u32> = open(pins, "DESTINATIONS")?;
        let keys: Vec<Address> = map.keys().take(MAX_DESTINATIONS as usize).filter_map(Result::ok).collect();
        let cleared = keys.iter().try_for_each(|key| absent_is_fine(map.remove(key)));
        cleared.map_err(CaptureError::because(|| "cannot empty map DESTINATIONS".to_owned())).map(|()| map)
    }

    /// The map that keeps addresses with sockets.
    pub(super) fn open_socket_addresses(pins: &Pins) -> Result<OwnedFd, CaptureError> {
        kernel::open_pin(&pins.map("SOCKET_ADDRESS"))
            .map_err(CaptureError::because(|| "cannot open map SOCKET_ADDRESS".to_owned()))
    }

    /// Stores `cgroup` as the agent's, and returns those of former agents, which stay in force since these may be draining.
    pub(super) fn set_agent_cgroup(&mut self, cgroup: u64) -> Result<Vec<u64>, MapError> {
        let old = self.settings.get(&0, 0)?;
        let agent_cgroups = with_agent(old.agent_cgroups, cgroup);
        self.settings.set(0, Settings { agent_cgroups, ..old }, 0)?;
        Ok(agent_cgroups[1..].iter().copied().filter(|&former| former != 0).collect())
    }

    /// Whether connections that cannot go through the agent pass; else they are refused.
    pub(super) fn set_pass_uncapturable(&mut self, passes: bool) -> Result<(), MapError> {
        let old = self.settings.get(&0, 0)?;
        let flags = if passes { old.flags | PASS_UNCAPTURABLE } else { old.flags & !PASS_UNCAPTURABLE };
        self.settings.set(0, Settings { flags, ..old }, 0)
    }

    /// Stores `cgroup` as the kubelet's, with the name of its threads (zeros: any). 0 as cgroup ends the bypass.
    pub(super) fn set_kubelet(&mut self, cgroup: u64, name: [u64; 2]) -> Result<(), MapError> {
        let old = self.settings.get(&0, 0)?;
        self.settings.set(0, Settings { kubelet_cgroup: cgroup, kubelet_name: name, ..old }, 0)
    }

    /// Removes the 4-tuples of all probes.
    pub(super) fn forget_probes(&mut self) -> Result<(), MapError> {
        let probes: Vec<Flow> = self.probes.keys().take(MAX_PROBES as usize).filter_map(Result::ok).collect();
        probes.iter().try_for_each(|probe| absent_is_fine(self.probes.remove(probe)))
    }

    /// Makes the excluded destinations and ports exactly these.
    pub(super) fn set_exclusions(
        &mut self,
        cidrs: &[IpNet],
        outbound_ports: &[u16],
        inbound_ports: &[u16],
    ) -> Result<(), MapError> {
        let wanted: BTreeSet<(u32, [u8; 16])> = cidrs.iter().map(trie_key).collect();
        for &(length, network) in &wanted {
            self.excluded_cidrs.insert(&Key::new(length, network), 1, 0)?;
        }
        let present: Vec<_> = self.excluded_cidrs.keys().collect::<Result<_, _>>()?;
        for key in present.iter().filter(|key| !wanted.contains(&(key.prefix_len(), key.data()))) {
            self.excluded_cidrs.remove(key)?;
        }
        let outbound = outbound_ports.iter().map(|&port| excluded_port(port, false));
        let wanted: BTreeSet<u32> =
            outbound.chain(inbound_ports.iter().map(|&port| excluded_port(port, true))).collect();
        for port in &wanted {
            self.excluded_ports.insert(port, 1, 0)?;
        }
        let present: Vec<_> = self.excluded_ports.keys().collect::<Result<_, _>>()?;
        for port in present.iter().filter(|port| !wanted.contains(port)) {
            self.excluded_ports.remove(port)?;
        }
        Ok(())
    }

    pub(super) fn pods(&self) -> Vec<NetnsCookie> {
        self.pods.keys().filter_map(Result::ok).map(NetnsCookie).collect()
    }

    /// The slot of a pod, if it has one already.
    pub(super) fn slot(&self, cookie: NetnsCookie) -> Option<u32> {
        self.pods.get(&cookie.0, 0).ok().map(|pod| pod.slot)
    }

    /// Whether all elements that steer a pod's connections are there, in both directions; else the name of the map that lacks one.
    pub(super) fn holds(&self, cookie: NetnsCookie) -> Result<(), &'static str> {
        let pod = self.pods.get(&cookie.0, 0).map_err(|_| "PODS")?;
        let v4 = (pod.ip4 != 0).then(|| Ip::from_v4_word(pod.ip4));
        let v6 = (!pod.ip6.is_unspecified()).then_some(pod.ip6);
        let mut addresses = v4.into_iter().chain(v6).peekable();
        let is_known = |ip: Ip| self.addresses.get(&ip, 0).is_ok_and(|owner| owner.netns_cookie == cookie.0);
        if self.inbound.get(&cookie.0, 0).map_err(|_| "INBOUND_PODS")?.slot != pod.slot {
            return Err("INBOUND_PODS");
        }
        if addresses.peek().is_some() && addresses.all(is_known) { Ok(()) } else { Err("POD_ADDRESSES") }
    }

    /// A free slot for one more pod; `None` when the node has the most pods.
    pub(super) fn free_slot(&self) -> Option<u32> {
        let used: BTreeSet<u32> = self.pods.iter().filter_map(|entry| entry.ok().map(|(_, pod)| pod.slot)).collect();
        (0..MAX_PODS).find(|slot| !used.contains(slot))
    }

    /// Which pod has an address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<NetnsCookie> {
        self.addresses.get(&address.into(), 0).ok().map(|owner| NetnsCookie(owner.netns_cookie))
    }

    /// Puts listeners at their indices; they replace former ones.
    pub(super) fn set_listeners(&mut self, slot: u32, listeners: &PodListeners) -> Result<(), MapError> {
        for (kind, (v4, v6)) in [
            (ListenerKind::Outbound, &listeners.outbound),
            (ListenerKind::Plaintext, &listeners.inbound_plaintext),
            (ListenerKind::Hbone, &listeners.inbound_hbone),
        ] {
            self.listeners.set(listener_index(slot, kind, false), &v4.as_raw_fd(), 0)?;
            let v6_index = listener_index(slot, kind, true);
            match v6 {
                Some(v6) => self.listeners.set(v6_index, &v6.as_raw_fd(), 0)?,
                None => absent_is_fine(self.listeners.clear_index(&v6_index))?,
            }
        }
        Ok(())
    }

    /// Makes the addresses by which a pod is found exactly these.
    pub(super) fn set_addresses(&mut self, cookie: NetnsCookie, addresses: &[IpAddr]) -> Result<(), MapError> {
        let wanted: Vec<Ip> = addresses.iter().map(|&address| address.into()).collect();
        for ip in &wanted {
            self.addresses.insert(ip, PodAddress { netns_cookie: cookie.0 }, 0)?;
        }
        self.remove_addresses(cookie, &wanted)
    }

    /// Says what is to happen to what arrives in a pod's namespace.
    pub(super) fn set_inbound(&mut self, cookie: NetnsCookie, pod: InboundPod) -> Result<(), MapError> {
        self.inbound.insert(cookie.0, pod, 0)
    }

    /// Sets or clears a flag of [`InboundPod`], and leaves the others.
    pub(super) fn set_flag(&mut self, cookie: NetnsCookie, flag: u32, on: bool) -> Result<(), MapError> {
        let Ok(pod) = self.inbound.get(&cookie.0, 0) else { return Ok(()) };
        let flags = if on { pod.flags | flag } else { pod.flags & !flag };
        if flags == pod.flags { Ok(()) } else { self.inbound.insert(cookie.0, InboundPod { flags, ..pod }, 0) }
    }

    fn remove_addresses(&mut self, cookie: NetnsCookie, keep: &[Ip]) -> Result<(), MapError> {
        let entries = self.addresses.iter().filter_map(Result::ok);
        let stale: Vec<Ip> = entries
            .filter(|(ip, owner)| owner.netns_cookie == cookie.0 && !keep.contains(ip))
            .map(|(ip, _)| ip)
            .collect();
        stale.iter().try_for_each(|ip| absent_is_fine(self.addresses.remove(ip)))
    }

    /// Whether all ports on which a pod listened at its enrolment are stored; from then on the kernel programs count.
    pub(super) fn is_listening_known(&self, cookie: NetnsCookie) -> bool {
        self.inbound.get(&cookie.0, 0).is_ok_and(|pod| pod.flags & LISTENING_KNOWN != 0)
    }

    /// Begins to redirect what a pod connects to, and to count on which ports it listens. `device` is the index of the
    /// interface that has its addresses, or 0.
    pub(super) fn set_pod(
        &mut self,
        cookie: NetnsCookie,
        slot: u32,
        addresses: &[IpAddr],
        device: u32,
    ) -> Result<(), MapError> {
        let v4 = addresses.iter().find(|address| address.is_ipv4());
        let v6 = addresses.iter().find(|address| address.is_ipv6());
        let pod = EnrolledPod {
            slot,
            ip4: v4.and_then(|&v4| Ip::from(v4).v4_word()).unwrap_or_default(),
            ip6: v6.map_or(Ip::UNSPECIFIED, |&v6| v6.into()),
            device,
        };
        self.pods.insert(cookie.0, pod, 0)
    }

    /// Ends redirection of what a pod connects to, and gives its former slot.
    pub(super) fn remove_pod(&mut self, cookie: NetnsCookie) -> Result<Option<u32>, MapError> {
        let inbound = || self.inbound.get(&cookie.0, 0).ok().map(|pod| pod.slot);
        let slot = self.slot(cookie).or_else(inbound);
        absent_is_fine(self.pods.remove(&cookie.0))?;
        Ok(slot)
    }

    /// Removes the rest of a pod.
    pub(super) fn forget(&mut self, cookie: NetnsCookie, slot: Option<u32>) -> Result<(), MapError> {
        let mut result = absent_is_fine(self.inbound.remove(&cookie.0))
            .and(self.remove_addresses(cookie, &[]))
            .and(self.remove_listening(cookie, |_, _| true).map(drop))
            .and(absent_is_fine(self.listening_pods.remove(&cookie.0)))
            .and(self.remove_verdicts(cookie))
            .and(self.set_probe_ports(cookie, &[]))
            .and(self.remove_cgroups(cookie, None));
        let listeners = slot.into_iter().flat_map(|slot| slot * LISTENERS_PER_POD..(slot + 1) * LISTENERS_PER_POD);
        for index in listeners {
            result = result.and(absent_is_fine(self.listeners.clear_index(&index)));
        }
        result
    }

    /// The number of elements in each map. Iterates over the maps: too slow to call per connection.
    pub(super) fn entries(&self) -> Vec<(&'static str, u64)> {
        // When a key is removed during the iteration, the iteration begins anew: bounded by the map's capacity.
        let flows = self.flows.keys().take(MAX_FLOWS as usize).filter(Result::is_ok).count();
        let probes = self.probes.keys().take(MAX_PROBES as usize).filter(Result::is_ok).count();
        let listening = self.listening.keys().take(MAX_LISTENING_PORTS as usize).filter(Result::is_ok).count();
        let direct = self.direct.keys().take(MAX_DIRECT_CONNECTIONS as usize).filter(Result::is_ok).count();
        let destinations = self.destinations.keys().take(MAX_DESTINATIONS as usize).filter(Result::is_ok).count();
        [
            ("pods", self.pods.keys().filter(Result::is_ok).count()),
            ("pod_addresses", self.addresses.keys().filter(Result::is_ok).count()),
            ("flows", flows),
            ("probes", probes),
            ("listening", listening),
            ("destinations", destinations),
            ("direct_connections", direct),
        ]
        .map(|(name, entries)| (name, entries as u64))
        .into()
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let sum = |counter: &Counter| {
            let values = self.counters.get(&(*counter as u32), 0);
            values.map(|values| values.iter().sum()).unwrap_or_default()
        };
        Counter::ALL.iter().map(|counter| (counter.name(), sum(counter))).collect()
    }
}

/// The kernel would accept a listener of another namespace, and then drop every connection.
pub(super) fn listeners_of(listeners: &PodListeners) -> impl Iterator<Item = BorrowedFd<'_>> {
    [&listeners.outbound, &listeners.inbound_plaintext, &listeners.inbound_hbone]
        .into_iter()
        .flat_map(|(v4, v6)| std::iter::once(v4).chain(v6))
        .map(|listener| listener.as_fd())
}

/// The agents' cgroups with the newest first. The oldest are dropped; their agents have long drained.
fn with_agent(agents: [u64; MAX_AGENTS], newest: u64) -> [u64; MAX_AGENTS] {
    let others = agents.into_iter().filter(|&agent| agent != newest && agent != 0);
    let mut after = [0; MAX_AGENTS];
    after.iter_mut().zip(std::iter::once(newest).chain(others)).for_each(|(place, agent)| *place = agent);
    after
}

fn trie_key(cidr: &IpNet) -> (u32, [u8; 16]) {
    let offset = if cidr.addr().is_ipv4() { 96 } else { 0 };
    (u32::from(cidr.prefix_len()) + offset, Ip::from(cidr.network()).octets())
}

pub(super) fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if matches!(error.io_error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Removes a pod: first from redirection, then its addresses, so that no connection to it begins to be direct whose SYN nobody looks at any
/// more; then from steering, then the elements that these refer to.
pub(super) fn release(pins: &Pins, maps: &mut Maps, cookie: NetnsCookie) -> Result<(), CaptureError> {
    let failed = || format!("cannot take back the capture of {cookie}");
    let slot = maps.remove_pod(cookie).map_err(CaptureError::because(failed))?;
    let unlisted = maps.remove_addresses(cookie, &[]).map_err(CaptureError::because(failed));
    let unpinned = pins::remove(&pins.pod(cookie)).map_err(CaptureError::because(failed));
    maps.forget(cookie, slot).map_err(CaptureError::because(failed)).and(unlisted).and(unpinned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_agent_is_first_and_those_before_it_stay() {
        for (agents, newest, after) in [
            ([0, 0, 0, 0], 1, [1, 0, 0, 0]),
            ([1, 0, 0, 0], 1, [1, 0, 0, 0]),
            ([1, 0, 0, 0], 2, [2, 1, 0, 0]),
            ([2, 1, 0, 0], 1, [1, 2, 0, 0]),
            ([4, 3, 2, 1], 5, [5, 4, 3, 2]),
        ] {
            assert_eq!(with_agent(agents, newest), after);
        }
    }

    #[test]
    fn ipv4_blocks_lie_within_the_mapped_space() {
        let key = |text: &str| trie_key(&text.parse().expect("a block"));
        assert_eq!(key("10.1.2.3/8"), (104, Ip::from(IpAddr::from([10, 0, 0, 0])).octets()));
        assert_eq!(key("0.0.0.0/0").0, 96);
        assert_eq!(key("fd00::/8").0, 8);
    }
}
