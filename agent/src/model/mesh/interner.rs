//! Holds equal values once: a mesh repeats the same few namespaces, localities and hostnames in every workload.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::shards::Shards;
use crate::model::address::canonical_block;
use crate::model::authorization::Authorization;
use crate::model::service::{GatewayAddress, GatewayDestination, Service, ServiceKey};
use crate::model::serving::Serving;
use crate::model::workload::{KnownLabels, Locality, Workload};

/// The distinct values of one type. Those that nobody else holds any more are dropped in sweeps, each paid for by the
/// insertions since the last one.
#[derive(Debug)]
struct Distinct<T: ?Sized> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

/// Fewer values than this are never swept.
const SWEEP_MIN: usize = 64;

impl<T: ?Sized> Default for Distinct<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: SWEEP_MIN }
    }
}

impl<T: ?Sized + Eq + Hash> Distinct<T> {
    fn is_new(&self, value: &T) -> bool {
        !self.values.contains(value)
    }

    /// Puts the one shared copy in the place of a value.
    fn intern(&mut self, value: &mut Arc<T>) {
        if let Some(known) = self.values.get(&**value) {
            if !Arc::ptr_eq(known, value) {
                *value = known.clone();
            }
            return;
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (self.values.len() * 2).max(SWEEP_MIN);
        }
        self.values.insert(value.clone());
    }
}

/// Shared texts, in parts: there are many of them.
#[derive(Debug, Default)]
struct Texts(Shards<Distinct<str>>);

impl Texts {
    fn intern(&mut self, text: &mut Arc<str>) {
        self.0.of_mut(&**text).intern(text);
    }
}

/// Puts resources into the form the mesh keeps them in: addresses canonical, repeated values shared.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Texts,
    gateways: Distinct<GatewayAddress>,
    localities: Distinct<Locality>,
    labels: Distinct<KnownLabels>,
    services: Distinct<Serving>,
}

impl Interner {
    pub(super) fn workload(&mut self, workload: &mut Workload) {
        for address in &mut workload.addresses {
            *address = address.to_canonical();
        }
        remove_repeated(&mut workload.addresses);
        for text in [
            &mut workload.namespace,
            workload.trust_domain.text_mut(),
            &mut workload.service_account,
            &mut workload.hostname,
            &mut workload.network,
            &mut workload.cluster_id,
            &mut workload.node,
            &mut workload.workload_name,
            &mut workload.canonical_name,
            &mut workload.canonical_revision,
        ] {
            self.texts.intern(text);
        }
        for key in &mut workload.authorization_policies {
            self.texts.intern(key);
        }
        for gateway in [&mut workload.waypoint, &mut workload.network_gateway].into_iter().flatten() {
            self.canonical_gateway(gateway);
            self.gateways.intern(gateway.arc_mut());
        }
        self.localities.intern(workload.locality.arc_mut());
        self.labels.intern(workload.labels.arc_mut());
        if self.services.is_new(workload.services.arc_mut()) {
            let services = workload.services.iter().map(|(key, ports)| (self.interned_key(key), ports.clone()));
            workload.services = services.collect();
        }
        self.services.intern(workload.services.arc_mut());
        workload.addresses.shrink_to_fit();
        workload.authorization_policies.shrink_to_fit();
    }

    pub(super) fn service(&mut self, service: &mut Service) {
        self.service_key(&mut service.key);
        self.texts.intern(&mut service.name);
        for vip in &mut service.vips {
            vip.block = canonical_block(vip.block);
            self.texts.intern(&mut vip.network);
        }
        remove_repeated(&mut service.vips);
        if let Some(gateway) = &mut service.waypoint {
            self.canonical_gateway(gateway);
        }
    }

    pub(super) fn authorization(&mut self, policy: &mut Authorization) {
        self.texts.intern(&mut policy.key);
        self.texts.intern(&mut policy.namespace);
    }

    fn service_key(&mut self, key: &mut ServiceKey) {
        self.texts.intern(&mut key.namespace);
        self.texts.intern(&mut key.hostname);
    }

    fn interned_key(&mut self, key: &ServiceKey) -> ServiceKey {
        let mut key = key.clone();
        self.service_key(&mut key);
        key
    }

    fn canonical_gateway(&mut self, gateway: &mut GatewayAddress) {
        match &mut gateway.destination {
            GatewayDestination::Hostname(key) => self.service_key(key),
            GatewayDestination::Address(address) => {
                address.ip = address.ip.to_canonical();
                self.texts.intern(&mut address.network);
            }
        }
    }
}

/// Keeps the first of equal values; their order may mean preference. Lists of addresses are short.
fn remove_repeated<T: PartialEq>(values: &mut Vec<T>) {
    let mut kept = 0;
    for index in 0..values.len() {
        if !values[..kept].contains(&values[index]) {
            values.swap(kept, index);
            kept += 1;
        }
    }
    values.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_are_forgotten() {
        let mut texts = Distinct::<str>::default();
        let (mut one, mut other): (Arc<str>, Arc<str>) = ("bookinfo".into(), "bookinfo".into());
        texts.intern(&mut one);
        texts.intern(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
        for number in 0..10 * SWEEP_MIN {
            texts.intern(&mut number.to_string().into());
        }
        assert!(texts.values.len() <= SWEEP_MIN);
        assert!(texts.values.contains("bookinfo"));
    }

    #[test]
    fn repeated_values_keep_the_place_of_the_first() {
        let mut values = vec![3, 1, 3, 2, 1, 1, 4];
        remove_repeated(&mut values);
        assert_eq!(values, [3, 1, 2, 4]);
    }
}
