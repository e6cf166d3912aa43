//! Workloads by uid and by address.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::shards::Shards;
use crate::model::balance::ByUid;
use crate::model::workload::{NetworkMode, Workload};

/// The workloads, and who has which address.
#[derive(Debug, Default)]
pub(in crate::model) struct Workloads {
    by_uid: Shards<HashSet<ByUid>>,
    by_address: HashMap<Arc<str>, Owners>,
}

/// Who has which address of one network.
#[derive(Debug, Default)]
struct Owners {
    alone: Alone,
    /// Addresses of two or more.
    shared: HashMap<IpAddr, BTreeMap<Claim, Arc<Workload>>>,
}

/// Addresses of one workload each: nearly all. By family, because an entry is half as large where the key is IPv4.
#[derive(Debug, Default)]
struct Alone {
    v4: Shards<HashMap<Ipv4Addr, Arc<Workload>>>,
    v6: Shards<HashMap<Ipv6Addr, Arc<Workload>>>,
    len: usize,
}

/// How good a claim to a shared address is, best first: having it for oneself, then the least uid. So the order of updates
/// never decides, and a pod (`<cluster>//Pod/…`) keeps its address whatever another kind of object says of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    host_network: bool,
    uid: Arc<str>,
}

impl Claim {
    fn of(workload: &Workload) -> Self {
        Self { host_network: workload.network_mode == NetworkMode::HostNetwork, uid: workload.uid.clone() }
    }
}

impl Workloads {
    pub(super) fn get(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.by_uid.of(uid).get(uid).map(|ByUid(workload)| workload)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_uid.iter().flatten().map(|ByUid(workload)| workload)
    }

    /// All workloads that have an address, best claim first.
    pub(in crate::model) fn owners(&self, network: &str, ip: IpAddr) -> impl Iterator<Item = &Arc<Workload>> {
        let ip = ip.to_canonical();
        let owners = self.by_address.get(network);
        let alone = owners.and_then(|owners| owners.alone.get(ip));
        let shared = owners.and_then(|owners| owners.shared.get(&ip));
        alone.into_iter().chain(shared.into_iter().flat_map(BTreeMap::values))
    }

    /// The addresses that workloads of a network have, in no order.
    pub(super) fn addresses(&self, network: &str) -> impl Iterator<Item = IpAddr> {
        self.by_address.get(network).into_iter().flat_map(|owners| {
            let v4 = owners.alone.v4.iter().flat_map(HashMap::keys).map(|ip| IpAddr::V4(*ip));
            let v6 = owners.alone.v6.iter().flat_map(HashMap::keys).map(|ip| IpAddr::V6(*ip));
            v4.chain(v6).chain(owners.shared.keys().copied())
        })
    }

    /// Adds a workload; one of the same uid must have been removed before.
    pub(super) fn insert(&mut self, workload: &Arc<Workload>) {
        if !workload.addresses.is_empty() {
            let owners = self.by_address.entry(workload.network.clone()).or_default();
            for ip in &workload.addresses {
                owners.insert(*ip, workload);
            }
        }
        self.by_uid.of_mut(&*workload.uid).insert(ByUid(workload.clone()));
    }

    pub(super) fn remove(&mut self, uid: &str) -> Option<Arc<Workload>> {
        let ByUid(workload) = self.by_uid.of_mut(uid).take(uid)?;
        if let Some(owners) = self.by_address.get_mut(&workload.network) {
            for ip in &workload.addresses {
                owners.remove(*ip, &workload);
            }
            if owners.alone.len == 0 && owners.shared.is_empty() {
                self.by_address.remove(&workload.network);
            }
        }
        Some(workload)
    }
}

impl Owners {
    fn insert(&mut self, ip: IpAddr, workload: &Arc<Workload>) {
        if let Some(claims) = self.shared.get_mut(&ip) {
            claims.insert(Claim::of(workload), workload.clone());
        } else if let Some(other) = self.alone.remove(ip) {
            let both = [other, workload.clone()].map(|owner| (Claim::of(&owner), owner));
            self.shared.insert(ip, both.into());
        } else {
            self.alone.insert(ip, workload.clone());
        }
    }

    fn remove(&mut self, ip: IpAddr, workload: &Workload) {
        let Some(claims) = self.shared.get_mut(&ip) else {
            self.alone.remove(ip);
            return;
        };
        claims.remove(&Claim::of(workload));
        if claims.len() > 1 {
            return;
        }
        if let Some((_, last)) = self.shared.remove(&ip).and_then(|mut claims| claims.pop_first()) {
            self.alone.insert(ip, last);
        }
    }
}

impl Alone {
    fn get(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        match ip {
            IpAddr::V4(v4) => self.v4.of(&ip).get(&v4),
            IpAddr::V6(v6) => self.v6.of(&ip).get(&v6),
        }
    }

    /// Nobody may have the address yet.
    fn insert(&mut self, ip: IpAddr, workload: Arc<Workload>) {
        match ip {
            IpAddr::V4(v4) => self.v4.of_mut(&ip).insert(v4, workload),
            IpAddr::V6(v6) => self.v6.of_mut(&ip).insert(v6, workload),
        };
        self.len += 1;
    }

    fn remove(&mut self, ip: IpAddr) -> Option<Arc<Workload>> {
        let owner = match ip {
            IpAddr::V4(v4) => self.v4.of_mut(&ip).remove(&v4),
            IpAddr::V6(v6) => self.v6.of_mut(&ip).remove(&v6),
        }?;
        self.len -= 1;
        Some(owner)
    }
}
