//! The endpoints of one service, in numbered slots, with the views that picks are made from.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use parking_lot::RwLock;

use super::affinity::Client;
use super::choice::{Choice, Order};
use super::view::{RequestedPort, View};
use crate::model::service::Service;
use crate::model::workload::Workload;

/// Views kept per service; the oldest makes room. Each holds 8 bytes per endpoint and rank in use.
pub(super) const VIEWS_MAX: usize = 32;

/// Up to so many slots are looked through; a table by uid would take more memory than they do.
pub(super) const SLOTS_LOOKED_THROUGH: usize = 32;

/// The endpoints of one service.
#[derive(Debug, Default)]
pub(in crate::model) struct Endpoints {
    slots: Vec<Option<Arc<Workload>>>,
    free: Vec<u32>,
    /// Only where there are too many slots to look through them.
    #[expect(
        clippy::box_collection,
        reason = "most services are small and have none: a pointer is a sixth of a table"
    )]
    slot_of: Option<Box<HashMap<ByUid, u32>>>,
    pub(super) views: RwLock<Vec<View>>,
    /// Counts endpoints that came and went.
    changes: u64,
}

impl Endpoints {
    pub(in crate::model) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub(in crate::model) fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.slots.iter().flatten()
    }

    /// Differs from an earlier value where endpoints came or went since.
    pub(in crate::model) fn changes(&self) -> u64 {
        self.changes
    }

    /// Adds an endpoint; one of the same uid must have been removed before.
    pub(in crate::model) fn insert(&mut self, endpoint: &Arc<Workload>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                // Most services are small and stay so: half of a doubled list would be empty.
                self.slots.reserve_exact(1 + self.slots.len() / 4);
            }
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("memory ends long before 2^32 endpoints")
        });
        self.slots[slot as usize] = Some(endpoint.clone());
        self.changes += 1;
        match &mut self.slot_of {
            Some(slot_of) => {
                slot_of.insert(ByUid(endpoint.clone()), slot);
            }
            None if self.slots.len() > SLOTS_LOOKED_THROUGH => {
                let taken = (0..).zip(&self.slots).filter_map(|(slot, taken)| Some((ByUid(taken.clone()?), slot)));
                self.slot_of = Some(Box::new(taken.collect()));
            }
            None => {}
        }
        for view in self.views.get_mut() {
            view.add(slot, endpoint);
        }
    }

    pub(in crate::model) fn remove(&mut self, uid: &str) {
        let slot = match &mut self.slot_of {
            Some(slot_of) => slot_of.remove(uid),
            None => {
                let is_it = |taken: &Option<Arc<Workload>>| taken.as_ref().is_some_and(|taken| &*taken.uid == uid);
                self.slots.iter().position(is_it).and_then(|slot| u32::try_from(slot).ok())
            }
        };
        let Some(slot) = slot else { return };
        let Some(endpoint) = self.slots[slot as usize].take() else { return };
        self.free.push(slot);
        self.changes += 1;
        for view in self.views.get_mut() {
            view.remove(slot, &endpoint);
        }
    }

    /// Forgets everything derived from the service object, because that object changed.
    pub(in crate::model) fn service_changed(&mut self) {
        self.views.get_mut().clear();
    }

    /// Chooses an endpoint among those that are not `excluded`, in proportion to capacity within the best rank that has
    /// one. `random` must be uniform, and is asked once where the first choice is not excluded; `service` must be the
    /// object that these endpoints belong to. A service with affinity has one endpoint for a source, unless a hash decides.
    pub(in crate::model) fn pick(
        &self,
        service: &Arc<Service>,
        port: RequestedPort,
        source: &Workload,
        choice: Choice<'_>,
        excluded: impl Fn(&Workload) -> bool,
        random: &mut impl FnMut() -> u64,
    ) -> Option<&Arc<Workload>> {
        let by = match choice.order {
            Order::Hash(hash) => By::Client(Client::of_hash(hash)),
            _ if service.client_ip_affinity => By::Client(Client::of(source)),
            Order::Turn(turn) => By::Turn(turn),
            Order::Chance => By::Chance,
        };
        if let Some(view) = self.views.read().iter().find(|view| view.answers(port, source, &choice)) {
            return self.at(self.pick_from(view, by, &choice, excluded, random)?);
        }
        let mut view = View::new(service, port, source, &choice);
        for (slot, endpoint) in (0..).zip(&self.slots) {
            if let Some(endpoint) = endpoint {
                view.add(slot, endpoint);
            }
        }
        let slot = self.pick_from(&view, by, &choice, excluded, random);
        self.add_view(view, port, source, &choice);
        self.at(slot?)
    }

    /// The endpoints among which chance decides, each with its weight: those of the best rank that has one. `None` where something else
    /// than chance decides.
    pub(in crate::model) fn by_chance(
        &self,
        service: &Arc<Service>,
        port: RequestedPort,
        source: &Workload,
    ) -> Option<Vec<(&Arc<Workload>, u64)>> {
        if service.client_ip_affinity {
            return None;
        }
        let mut view = View::new(service, port, source, &Choice::default());
        for (slot, endpoint) in (0..).zip(&self.slots) {
            if let Some(endpoint) = endpoint {
                view.add(slot, endpoint);
            }
        }
        let found = view.best()?.slots().filter_map(|(slot, weight)| Some((self.at(slot)?, weight)));
        Some(found.collect())
    }

    fn pick_from(
        &self,
        view: &View,
        by: By,
        choice: &Choice<'_>,
        excluded: impl Fn(&Workload) -> bool,
        random: &mut impl FnMut() -> u64,
    ) -> Option<u32> {
        let is_excluded = |slot| self.at(slot).is_none_or(|endpoint| excluded(endpoint));
        let weight = |slot, own| match self.at(slot) {
            Some(endpoint) if !excluded(endpoint) => choice.weight(endpoint, own),
            _ => 0,
        };
        view.find(random, |weights, random| match by {
            By::Chance if choice.warming.is_none() => weights.pick_except(is_excluded, random),
            By::Chance => weights.pick_weighing(weight, random),
            By::Turn(turn) => weights.pick_in_turn(weight, turn),
            By::Client(client) => weights.pick_greatest(is_excluded, |slot, weight| {
                self.at(slot).map_or(0.0, |endpoint| client.score(endpoint, weight))
            }),
        })
    }

    /// Keeps a view for the next connections of such a source, unless another thread has just added the same.
    fn add_view(&self, view: View, port: RequestedPort, source: &Workload, choice: &Choice<'_>) {
        let mut views = self.views.write();
        if views.iter().any(|known| known.answers(port, source, choice)) {
            return;
        }
        if views.len() == VIEWS_MAX {
            views.remove(0);
        }
        views.push(view);
    }

    fn at(&self, slot: u32) -> Option<&Arc<Workload>> {
        self.slots[slot as usize].as_ref()
    }
}

/// What decides within a rank.
#[derive(Debug, Clone, Copy)]
enum By {
    Chance,
    Turn(u64),
    Client(Client),
}

/// A workload in a set or map keyed by its uid, without a second copy of the key.
#[derive(Debug, Clone)]
pub(in crate::model) struct ByUid(pub(in crate::model) Arc<Workload>);

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        &self.0.uid
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid
    }
}

impl Eq for ByUid {}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `Borrow<str>` demands: exactly as the text itself hashes.
        str::hash(&self.0.uid, state);
    }
}
