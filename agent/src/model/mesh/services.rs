//! Services by key, by hostname and by virtual address, with their endpoints.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::balance::Endpoints;
use crate::model::service::{Service, ServiceKey, Visibility};
use crate::model::workload::Workload;

#[derive(Debug, Default)]
pub(super) struct Services {
    by_key: HashMap<ServiceKey, Record>,
    by_hostname: HashMap<Arc<str>, Claims>,
    by_vip: HashMap<Arc<str>, Vips>,
}

/// A service and its endpoints. Either may arrive before the other.
#[derive(Debug, Default)]
struct Record {
    service: Option<Arc<Service>>,
    endpoints: Endpoints,
}

/// The virtual addresses of one network: longest prefix first, per family.
#[derive(Debug, Default)]
struct Vips {
    v4: BTreeMap<Reverse<u8>, HashMap<IpAddr, Claims>>,
    v6: BTreeMap<Reverse<u8>, HashMap<IpAddr, Claims>>,
}

/// The services that claim one hostname or address, canonical ones first, then by key: few, mostly one.
#[derive(Debug, Default)]
struct Claims(Vec<Arc<Service>>);

/// Which virtual addresses to look among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VipKind {
    Single,
    Block,
}

impl Services {
    pub(super) fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.by_key.get(key)?.service.as_ref()
    }

    pub(super) fn endpoints(&self, key: &ServiceKey) -> Option<&Endpoints> {
        self.by_key.get(key).map(|record| &record.endpoints)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_key.values().filter_map(|record| record.service.as_ref())
    }

    pub(super) fn by_hostname(&self, hostname: &str, from_namespace: &str) -> Option<&Arc<Service>> {
        self.by_hostname.get(hostname)?.seen_from(from_namespace)
    }

    pub(super) fn by_vip(
        &self,
        network: &str,
        ip: IpAddr,
        from_namespace: &str,
        kind: VipKind,
    ) -> Option<&Arc<Service>> {
        let ip = ip.to_canonical();
        let single = if ip.is_ipv4() { 32 } else { 128 };
        let blocks = self.by_vip.get(network)?.family(ip);
        blocks.iter().filter(|(Reverse(bits), _)| (*bits == single) == (kind == VipKind::Single)).find_map(
            |(Reverse(bits), by_base)| {
                let base = IpNet::new(ip, *bits).ok()?.network();
                by_base.get(&base)?.seen_from(from_namespace)
            },
        )
    }

    /// Adds a service; one of the same key must have been removed before.
    pub(super) fn insert(&mut self, service: &Arc<Service>) {
        let record = self.by_key.entry(service.key.clone()).or_default();
        record.service = Some(service.clone());
        self.by_hostname.entry(service.key.hostname.clone()).or_default().insert(service);
        for vip in &service.vips {
            let blocks = self.by_vip.entry(vip.network.clone()).or_default().family_mut(vip.block.addr());
            let by_base = blocks.entry(Reverse(vip.block.prefix_len())).or_default();
            by_base.entry(vip.block.addr()).or_default().insert(service);
        }
    }

    pub(super) fn remove(&mut self, key: &ServiceKey) {
        let Some(service) = self.by_key.get_mut(key).and_then(|record| {
            record.endpoints.service_changed();
            record.service.take()
        }) else {
            return;
        };
        self.forget_if_empty(key);
        if let Some(claims) = self.by_hostname.get_mut(&key.hostname) {
            claims.remove(&service);
            if claims.0.is_empty() {
                self.by_hostname.remove(&key.hostname);
            }
        }
        for vip in &service.vips {
            let Some(vips) = self.by_vip.get_mut(&vip.network) else { continue };
            vips.remove(vip.block, &service);
            if vips.v4.is_empty() && vips.v6.is_empty() {
                self.by_vip.remove(&vip.network);
            }
        }
    }

    pub(super) fn insert_endpoint(&mut self, endpoint: &Arc<Workload>) {
        for key in endpoint.services.keys() {
            self.by_key.entry(key.clone()).or_default().endpoints.insert(endpoint);
        }
    }

    pub(super) fn remove_endpoint(&mut self, endpoint: &Workload) {
        for key in endpoint.services.keys() {
            if let Some(record) = self.by_key.get_mut(key) {
                record.endpoints.remove(&endpoint.uid);
                self.forget_if_empty(key);
            }
        }
    }

    fn forget_if_empty(&mut self, key: &ServiceKey) {
        if self.by_key.get(key).is_some_and(|record| record.service.is_none() && record.endpoints.is_empty()) {
            self.by_key.remove(key);
        }
    }
}

impl Vips {
    fn family(&self, ip: IpAddr) -> &BTreeMap<Reverse<u8>, HashMap<IpAddr, Claims>> {
        if ip.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn family_mut(&mut self, ip: IpAddr) -> &mut BTreeMap<Reverse<u8>, HashMap<IpAddr, Claims>> {
        if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    fn remove(&mut self, block: IpNet, service: &Service) {
        let blocks = self.family_mut(block.addr());
        let Some(by_base) = blocks.get_mut(&Reverse(block.prefix_len())) else { return };
        let Some(claims) = by_base.get_mut(&block.addr()) else { return };
        claims.remove(service);
        if claims.0.is_empty() {
            by_base.remove(&block.addr());
        }
        if by_base.is_empty() {
            blocks.remove(&Reverse(block.prefix_len()));
        }
    }
}

impl Claims {
    fn place_of(&self, service: &Service) -> Result<usize, usize> {
        let rank = |service: &Service| !service.canonical;
        self.0.binary_search_by(|other| (rank(other), &other.key).cmp(&(rank(service), &service.key)))
    }

    fn insert(&mut self, service: &Arc<Service>) {
        if let Err(place) = self.place_of(service) {
            self.0.insert(place, service.clone());
        }
    }

    fn remove(&mut self, service: &Service) {
        if let Ok(place) = self.place_of(service) {
            self.0.remove(place);
        }
    }

    /// The namespace's own service, else the canonical one, else the first by key; never one that is not visible.
    fn seen_from(&self, namespace: &str) -> Option<&Arc<Service>> {
        let own = self.0.iter().find(|service| &*service.key.namespace == namespace);
        own.or_else(|| self.0.iter().find(|service| service.visibility == Visibility::Public))
    }
}
