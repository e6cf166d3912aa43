//! Virtual addresses for hosts of ServiceEntries that have none: one IPv4 and one IPv6 per host, stable through the
//! persisted [`VipAllocations`].
//!
//! As in istiod there is no hash: a pointer per range moves on, and what is handed out is remembered. A host keeps its
//! addresses while its object exists, and gets them back if it returns. Losing qualification frees them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::address::{ALLOCATED_V4, ALLOCATED_V6};
use crate::objects::{Object, Resolution, ServiceEntry};

const V4_HOSTS: u32 = 0xFFFE;
const OPT_OUT_LABEL: &str = "networking.istio.io/enable-autoallocate-ip";

/// What has been handed out. Whoever translates must keep it, over restarts too: addresses are in clients' caches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VipAllocations {
    /// By `namespace/name/host`: the number of the address within its range, the same in both families.
    hosts: BTreeMap<String, u32>,
    /// The number handed out last.
    last: u32,
}

/// The addresses of one host, IPv4 first.
pub(super) type HostVips = BTreeMap<String, Vec<IpAddr>>;

fn addresses(number: u32) -> [IpAddr; 2] {
    // As many addresses of IPv6 are used as there are of IPv4.
    let v4 = ALLOCATED_V4.network().to_bits() + number;
    let v6 = ALLOCATED_V6.network().to_bits() + u128::from(number);
    [Ipv4Addr::from_bits(v4).into(), Ipv6Addr::from_bits(v6).into()]
}

fn host_key(namespace: &str, name: &str, host: &str) -> String {
    format!("{namespace}/{name}/{host}")
}

/// True if the hosts of a ServiceEntry get addresses.
fn qualifies(object: Object<'_, ServiceEntry>) -> bool {
    let opted_out = object.metadata.labels.get(OPT_OUT_LABEL).is_some_and(|value| value.eq_ignore_ascii_case("false"));
    object.spec.resolution != Resolution::None && object.spec.addresses.is_empty() && !opted_out
}

fn qualifying_hosts<'a>(object: Object<'a, ServiceEntry>) -> impl Iterator<Item = &'a str> {
    let wildcards = object.spec.resolution == Resolution::DynamicDns;
    let qualifies = qualifies(object);
    object.spec.hosts.iter().map(String::as_str).filter(move |host| qualifies && (wildcards || !host.starts_with('*')))
}

impl VipAllocations {
    /// Addresses of every qualifying host, by `namespace/name/host`. `entries` come oldest first. Hosts whose object
    /// brings addresses in its status have those. Returns notices for hosts that could get none.
    pub(super) fn allocate(&mut self, entries: &[Object<'_, ServiceEntry>]) -> (HostVips, Vec<String>) {
        self.forget_disqualified(entries);
        let taken = Taken::of(entries);
        let mut held = BTreeSet::new();
        // What is kept is settled before anything new is handed out.
        let mut wanting = Vec::new();
        let mut found = HostVips::new();
        for object in entries {
            for host in qualifying_hosts(*object) {
                let key = host_key(&object.metadata.namespace, &object.metadata.name, host);
                let given: Vec<IpAddr> =
                    object.spec.allocated.iter().filter(|(name, _)| name == host).map(|(_, ip)| *ip).collect();
                if !given.is_empty() {
                    self.hosts.remove(&key);
                    found.insert(key, given);
                    continue;
                }
                match self.hosts.get(&key) {
                    Some(number) if taken.is_free(*number) && held.insert(*number) => {
                        found.insert(key, addresses(*number).to_vec());
                    }
                    _ => wanting.push(key),
                }
            }
        }
        let mut notices = Vec::new();
        let kept: BTreeSet<u32> = self.hosts.values().copied().collect();
        for key in wanting {
            self.hosts.remove(&key);
            match self.next(&taken, &kept, &found, &mut held) {
                Some(number) => {
                    self.hosts.insert(key.clone(), number);
                    found.insert(key, addresses(number).to_vec());
                }
                None => notices.push(format!("{key}: no virtual address is left for this host")),
            }
        }
        (found, notices)
    }

    /// Drops hosts whose object is there and has them no longer; those of absent objects stay, they may come back.
    fn forget_disqualified(&mut self, entries: &[Object<'_, ServiceEntry>]) {
        let mut present = BTreeMap::new();
        for object in entries {
            let prefix = host_key(&object.metadata.namespace, &object.metadata.name, "");
            present.insert(prefix, qualifying_hosts(*object).collect::<BTreeSet<_>>());
        }
        self.hosts.retain(|key, number| {
            let Some((object, host)) = key.rsplit_once('/') else { return false };
            let kept = present.get(&format!("{object}/")).is_none_or(|hosts| hosts.contains(host));
            kept && (1..=V4_HOSTS).contains(number)
        });
    }

    /// The next number that is neither taken nor held; one kept for an absent host only if no other is left.
    fn next(&mut self, taken: &Taken, kept: &BTreeSet<u32>, found: &HostVips, held: &mut BTreeSet<u32>) -> Option<u32> {
        let order = (self.last + 1..=V4_HOSTS).chain(1..=self.last.min(V4_HOSTS));
        let usable = |number: &u32| !held.contains(number) && taken.is_free(*number);
        let number = order.clone().filter(usable).find(|number| !kept.contains(number)).or_else(|| {
            let absent = order.clone().find(usable)?;
            self.hosts.retain(|key, number| *number != absent || found.contains_key(key));
            Some(absent)
        })?;
        self.last = number;
        held.insert(number);
        Some(number)
    }
}

/// Addresses that users and statuses name.
struct Taken {
    blocks: Vec<IpNet>,
    single: BTreeSet<IpAddr>,
}

impl Taken {
    fn of(entries: &[Object<'_, ServiceEntry>]) -> Self {
        let all = || entries.iter().flat_map(|object| object.spec.addresses.iter());
        let is_single = |block: &&IpNet| block.prefix_len() == block.max_prefix_len();
        let given = entries.iter().flat_map(|object| object.spec.allocated.iter().map(|(_, ip)| *ip));
        Self {
            blocks: all().filter(|block| !is_single(block)).copied().collect(),
            single: all().filter(is_single).map(IpNet::addr).chain(given).collect(),
        }
    }

    fn is_free(&self, number: u32) -> bool {
        addresses(number)
            .iter()
            .all(|ip| !self.single.contains(ip) && !self.blocks.iter().any(|block| block.contains(ip)))
    }
}

/// The addresses of one host of a ServiceEntry.
pub(super) fn of_host<'v>(vips: &'v HostVips, object: Object<'_, ServiceEntry>, host: &str) -> &'v [IpAddr] {
    let key = host_key(&object.metadata.namespace, &object.metadata.name, host);
    vips.get(&key).map_or(&[], Vec::as_slice)
}
