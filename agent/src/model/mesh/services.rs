//! Services by key, by hostname and by virtual address, with their endpoints.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::claims::Claims;
use super::shards::Shards;
use crate::model::balance::Endpoints;
use crate::model::service::{Service, ServiceKey};
use crate::model::workload::Workload;

/// The services, and the endpoints of each.
#[derive(Debug, Default)]
pub(in crate::model) struct Services {
    by_key: Shards<HashMap<ServiceKey, Box<Record>>>,
    /// By [`dns_name`].
    by_hostname: Shards<HashMap<Arc<str>, Claims>>,
    by_vip: HashMap<Arc<str>, Vips>,
    /// The ports that declare HTTP, and of how many services each.
    http_ports: BTreeMap<u16, u32>,
    /// Those of services that only their host tells apart.
    host_ports: BTreeMap<u16, u32>,
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
    v4: Blocks,
    v6: Blocks,
}

type Blocks = BTreeMap<Reverse<u8>, Shards<HashMap<IpAddr, Claims>>>;

/// Which virtual addresses to look among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum VipKind {
    Single,
    Block,
}

/// A host name as DNS compares it (RFC 4343 §3): without regard to case, and with or without the dot of the root.
fn dns_name(hostname: &str) -> Cow<'_, str> {
    let name = hostname.strip_suffix('.').unwrap_or(hostname);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The same; as it is written, it is not copied.
fn shared_dns_name(hostname: &Arc<str>) -> Arc<str> {
    match dns_name(hostname) {
        Cow::Borrowed(name) if name.len() == hostname.len() => hostname.clone(),
        name => name.into(),
    }
}

impl Services {
    pub(super) fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.record(key)?.service.as_ref()
    }

    /// The endpoints of a service; known even before the service itself.
    pub(in crate::model) fn endpoints(&self, key: &ServiceKey) -> Option<&Endpoints> {
        self.record(key).map(|record| &record.endpoints)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_key.iter().flat_map(HashMap::values).filter_map(|record| record.service.as_ref())
    }

    /// The ports at which some service declares HTTP, ascending.
    pub(super) fn http_ports(&self) -> &BTreeMap<u16, u32> {
        &self.http_ports
    }

    /// The same of services that only their host tells apart ([`Service::is_known_by_host`]).
    pub(super) fn host_ports(&self) -> &BTreeMap<u16, u32> {
        &self.host_ports
    }

    pub(super) fn by_hostname(&self, hostname: &str, from_namespace: &str) -> Option<&Arc<Service>> {
        let name = dns_name(hostname);
        self.by_hostname.of(&*name).get(&*name)?.seen_from(from_namespace)
    }

    /// The service with this virtual address, as seen from a namespace (visibility, canonical). Of several blocks that
    /// contain the address, the longest counts.
    pub(in crate::model) fn by_vip(
        &self,
        network: &str,
        ip: IpAddr,
        from_namespace: &str,
        kind: VipKind,
    ) -> Option<&Arc<Service>> {
        let ip = ip.to_canonical();
        let single = single_bits(ip);
        let blocks = self.by_vip.get(network)?.family(ip);
        blocks.iter().filter(|(Reverse(bits), _)| (*bits == single) == (kind == VipKind::Single)).find_map(
            |(Reverse(bits), by_base)| {
                let base = IpNet::new(ip, *bits).ok()?.network();
                by_base.of(&base).get(&base)?.seen_from(from_namespace)
            },
        )
    }

    /// All services with this very virtual address, whoever sees them.
    pub(super) fn claims_of_vip(&self, network: &str, ip: IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        let ip = ip.to_canonical();
        let vips = self.by_vip.get(network);
        let singles = vips.and_then(|vips| vips.family(ip).get(&Reverse(single_bits(ip))));
        singles.and_then(|singles| singles.of(&ip).get(&ip)).into_iter().flat_map(Claims::iter)
    }

    /// The single virtual addresses of a network, in no order.
    pub(super) fn single_vips(&self, network: &str) -> impl Iterator<Item = IpAddr> {
        let families = self.by_vip.get(network).map(|vips| [(&vips.v4, 32), (&vips.v6, 128)]);
        let singles = families.into_iter().flatten().filter_map(|(blocks, single)| blocks.get(&Reverse(single)));
        singles.flat_map(Shards::iter).flat_map(HashMap::keys).copied()
    }

    /// Whether a network has virtual addresses that are blocks.
    pub(super) fn has_blocks(&self, network: &str) -> bool {
        let families = self.by_vip.get(network).map(|vips| [(&vips.v4, 32), (&vips.v6, 128)]);
        families.into_iter().flatten().any(|(blocks, single)| blocks.keys().any(|Reverse(bits)| *bits != single))
    }

    /// Adds a service; one of the same key must have been removed before.
    pub(super) fn insert(&mut self, service: &Arc<Service>) {
        self.record_mut(&service.key).service = Some(service.clone());
        count(&mut self.http_ports, http_ports(service));
        if service.is_known_by_host() {
            count(&mut self.host_ports, http_ports(service));
        }
        let name = shared_dns_name(&service.key.hostname);
        claim(self.by_hostname.of_mut(&*name), name.clone(), service);
        for vip in &service.vips {
            let base = vip.block.addr();
            let blocks = self.by_vip.entry(vip.network.clone()).or_default().family_mut(base);
            claim(blocks.entry(Reverse(vip.block.prefix_len())).or_default().of_mut(&base), base, service);
        }
    }

    pub(super) fn remove(&mut self, key: &ServiceKey) {
        let Some(service) = self.by_key.of_mut(&*key.hostname).get_mut(key).and_then(|record| {
            record.endpoints.service_changed();
            record.service.take()
        }) else {
            return;
        };
        self.forget_if_empty(key);
        discount(&mut self.http_ports, http_ports(&service));
        if service.is_known_by_host() {
            discount(&mut self.host_ports, http_ports(&service));
        }
        let name = shared_dns_name(&key.hostname);
        disclaim(self.by_hostname.of_mut(&*name), &name, &service);
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
            self.record_mut(key).endpoints.insert(endpoint);
        }
    }

    pub(super) fn remove_endpoint(&mut self, endpoint: &Workload) {
        for key in endpoint.services.keys() {
            if let Some(record) = self.by_key.of_mut(&*key.hostname).get_mut(key) {
                record.endpoints.remove(&endpoint.uid);
                self.forget_if_empty(key);
            }
        }
    }

    fn record(&self, key: &ServiceKey) -> Option<&Record> {
        self.by_key.of(&*key.hostname).get(key).map(|record| &**record)
    }

    fn record_mut(&mut self, key: &ServiceKey) -> &mut Record {
        self.by_key.of_mut(&*key.hostname).entry(key.clone()).or_default()
    }

    fn forget_if_empty(&mut self, key: &ServiceKey) {
        if self.record(key).is_some_and(|record| record.service.is_none() && record.endpoints.is_empty()) {
            self.by_key.of_mut(&*key.hostname).remove(key);
        }
    }
}

/// The ports of a service that declare HTTP, once for each time that one is listed.
fn http_ports(service: &Service) -> impl Iterator<Item = u16> {
    service.ports.iter().filter(|port| port.app_protocol.is_http()).map(|port| port.service_port)
}

fn count(counts: &mut BTreeMap<u16, u32>, ports: impl Iterator<Item = u16>) {
    for port in ports {
        *counts.entry(port).or_default() += 1;
    }
}

fn discount(counts: &mut BTreeMap<u16, u32>, ports: impl Iterator<Item = u16>) {
    for port in ports {
        let Some(count) = counts.get_mut(&port) else { continue };
        *count -= 1;
        if *count == 0 {
            counts.remove(&port);
        }
    }
}

/// Prefix length of a block that is one address.
fn single_bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn claim<K: Eq + Hash>(claims: &mut HashMap<K, Claims>, key: K, service: &Arc<Service>) {
    match claims.entry(key) {
        Entry::Occupied(claims) => claims.into_mut().insert(service),
        Entry::Vacant(nobody) => {
            nobody.insert(Claims::of(service.clone()));
        }
    }
}

fn disclaim<K: Eq + Hash>(claims: &mut HashMap<K, Claims>, key: &K, service: &Service) {
    if claims.get_mut(key).is_some_and(|claims| !claims.remove(service)) {
        claims.remove(key);
    }
}

impl Vips {
    fn family(&self, ip: IpAddr) -> &Blocks {
        if ip.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn family_mut(&mut self, ip: IpAddr) -> &mut Blocks {
        if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    fn remove(&mut self, block: IpNet, service: &Service) {
        let blocks = self.family_mut(block.addr());
        let Some(by_base) = blocks.get_mut(&Reverse(block.prefix_len())) else { return };
        disclaim(by_base.of_mut(&block.addr()), &block.addr(), service);
        if by_base.iter().all(HashMap::is_empty) {
            blocks.remove(&Reverse(block.prefix_len()));
        }
    }
}
