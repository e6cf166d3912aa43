//! The maps with notes about single pods beside what steers their connections: cgroups, ports of probes, listeners, and
//! verdicts for their owners.

use std::collections::BTreeSet;

use aya::maps::MapError;
use weir_common::{Counter, ListeningPod, ListeningPort, MAX_LISTENING_PORTS, MAX_POD_VERDICTS, PodVerdict, ProbePort};

use super::maps::{Maps, absent_is_fine};
use super::pod::NetnsCookie;

impl Maps {
    /// Makes `cgroup` the one whose sockets in other namespaces than the pod's own are captured as the pod's.
    pub(super) fn set_cgroup(&mut self, cookie: NetnsCookie, cgroup: u64) -> Result<(), MapError> {
        self.cgroups.insert(cgroup, cookie.0, 0)?;
        self.remove_cgroups(cookie, Some(cgroup))
    }

    pub(super) fn remove_cgroups(&mut self, cookie: NetnsCookie, keep: Option<u64>) -> Result<(), MapError> {
        let entries = self.cgroups.iter().filter_map(Result::ok);
        let own = entries.filter(|&(cgroup, owner)| owner == cookie.0 && Some(cgroup) != keep);
        let stale: Vec<u64> = own.map(|(cgroup, _)| cgroup).collect();
        stale.iter().try_for_each(|cgroup| absent_is_fine(self.cgroups.remove(cgroup)))
    }

    /// Makes the ports at which the kubelet reaches a pod's application as it is exactly these.
    pub(super) fn set_probe_ports(&mut self, cookie: NetnsCookie, ports: &[u16]) -> Result<(), MapError> {
        for &port in ports {
            self.probe_ports.insert(ProbePort::new(cookie.0, port), 1, 0)?;
        }
        let present = self.probe_ports.keys().filter_map(Result::ok);
        let stale: Vec<ProbePort> =
            present.filter(|key| key.netns_cookie == cookie.0 && !ports.contains(&key.port)).collect();
        stale.iter().try_for_each(|key| absent_is_fine(self.probe_ports.remove(key)))
    }

    /// Gives a pod room to have its listeners counted, if it has none yet.
    pub(super) fn make_room(&mut self, cookie: NetnsCookie) -> Result<(), MapError> {
        if self.listening_pods.get(&cookie.0, 0).is_ok() {
            return Ok(());
        }
        self.listening_pods.insert(cookie.0, ListeningPod::default(), 0)
    }

    /// How much room each pod has taken.
    pub(super) fn rooms(&self) -> Vec<(NetnsCookie, ListeningPod)> {
        self.listening_pods.iter().filter_map(Result::ok).map(|(cookie, room)| (NetnsCookie(cookie), room)).collect()
    }

    /// Says how many of a pod's entries are left, and that nothing was overlooked since.
    pub(super) fn reset_room(&mut self, cookie: NetnsCookie, entries: u64) -> Result<(), MapError> {
        self.listening_pods.insert(cookie.0, ListeningPod { entries, overflowed: 0 }, 0)
    }

    /// Notes ports on which a pod was found to listen.
    pub(super) fn add_listening(&mut self, cookie: NetnsCookie, ports: &BTreeSet<u16>) -> Result<(), MapError> {
        ports.iter().try_for_each(|&port| self.listening.insert(ListeningPort::found(cookie.0, port), 1, 0))
    }

    /// Removes a pod's entries that are `unwanted`, given whether the agent found them and how many sockets listen. Returns
    /// how many are left.
    pub(super) fn remove_listening(
        &mut self,
        cookie: NetnsCookie,
        unwanted: impl Fn(&ListeningPort, i64) -> bool,
    ) -> Result<u64, MapError> {
        let entries = self.listening.iter().take(MAX_LISTENING_PORTS as usize).filter_map(Result::ok);
        let own: Vec<_> = entries.filter(|(port, _)| port.netns_cookie == cookie.0).collect();
        let mut left = 0;
        for (port, count) in own {
            if unwanted(&port, count.cast_signed()) {
                absent_is_fine(self.listening.remove(&port))?;
            } else {
                left += 1;
            }
        }
        Ok(left)
    }

    /// What happened to the connections of each pod that its owner should know of, and how often.
    pub(super) fn verdicts(&self) -> Vec<(NetnsCookie, &'static str, u64)> {
        let entries = self.verdicts.iter().take(MAX_POD_VERDICTS as usize).filter_map(Result::ok);
        let named = entries.filter_map(|(key, count)| {
            let counter = Counter::ALL.get(key.counter as usize)?;
            Some((NetnsCookie(key.netns_cookie), counter.name(), count))
        });
        named.collect()
    }

    pub(super) fn remove_verdicts(&mut self, cookie: NetnsCookie) -> Result<(), MapError> {
        let keys = self.verdicts.keys().take(MAX_POD_VERDICTS as usize).filter_map(Result::ok);
        let own: Vec<PodVerdict> = keys.filter(|key| key.netns_cookie == cookie.0).collect();
        own.iter().try_for_each(|key| absent_is_fine(self.verdicts.remove(key)))
    }
}
