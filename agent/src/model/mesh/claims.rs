//! The services that claim one hostname or one virtual address, and which of them counts for whom.

use std::sync::Arc;

use crate::model::service::{Service, Visibility};

/// Canonical services first, then by key. Nearly always one, which then costs no allocation.
#[derive(Debug)]
pub(super) struct Claims {
    first: Arc<Service>,
    others: Box<[Arc<Service>]>,
}

impl Claims {
    pub(super) fn of(service: Arc<Service>) -> Self {
        Self { first: service, others: Box::default() }
    }

    pub(super) fn insert(&mut self, service: &Arc<Service>) {
        let mut claims: Vec<_> = self.iter().cloned().collect();
        if let Err(place) = claims.binary_search_by(|known| order(known).cmp(&order(service))) {
            claims.insert(place, service.clone());
            self.keep(claims);
        }
    }

    /// False once nobody claims it any more; there is nothing to ask it then.
    pub(super) fn remove(&mut self, service: &Service) -> bool {
        let rest: Vec<_> = self.iter().filter(|known| order(known) != order(service)).cloned().collect();
        self.keep(rest)
    }

    /// The namespace's own service, else the canonical one, else the first by key; never one that is not visible.
    pub(super) fn seen_from(&self, namespace: &str) -> Option<&Arc<Service>> {
        let own = self.iter().find(|service| &*service.key.namespace == namespace);
        own.or_else(|| self.iter().find(|service| service.visibility == Visibility::Public))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn keep(&mut self, claims: Vec<Arc<Service>>) -> bool {
        let mut claims = claims.into_iter();
        let Some(first) = claims.next() else { return false };
        self.first = first;
        self.others = claims.collect();
        true
    }
}

fn order(service: &Service) -> (bool, &crate::model::service::ServiceKey) {
    (!service.canonical, &service.key)
}
