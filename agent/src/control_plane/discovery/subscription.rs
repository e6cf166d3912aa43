//! What one agent subscribed to of one type, and which versions it has: decides what the next response holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::control_plane::snapshot::Snapshot;
use crate::proto::envoy::service::discovery::v3 as discovery;
use crate::resources::ResourceType;

/// The name that stands for every resource.
const WILDCARD: &str = "*";

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Subscription {
    kind: ResourceType,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// Names just subscribed to: if there is no such resource, they are reported as removed.
    requested: BTreeSet<Arc<str>>,
    /// By name: the version that the agent has.
    sent: HashMap<Arc<str>, Arc<str>>,
    /// The generation that `sent` is up to date with; 0 if it must be compared in full.
    generation: u64,
    /// Whether there was any response: an agent waits for one to its first request even if that is empty.
    answered: bool,
    /// Nonce of the response that has not been acknowledged.
    unacknowledged: Option<String>,
}

/// What a response holds: the resources that changed and the names that were removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    upserted: Vec<Arc<str>>,
    removed: Vec<Arc<str>>,
}

impl Delta {
    pub(super) fn has_upserts(&self) -> bool {
        !self.upserted.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty()
    }
}

impl Subscription {
    /// From the first request for the type. One without names means every resource (the legacy wildcard of xDS).
    pub(super) fn new(kind: ResourceType, request: &discovery::DeltaDiscoveryRequest) -> Self {
        let mut subscription = Self {
            kind,
            wildcard: request.resource_names_subscribe.is_empty(),
            names: BTreeSet::new(),
            requested: BTreeSet::new(),
            sent: HashMap::new(),
            generation: 0,
            answered: false,
            unacknowledged: None,
        };
        subscription.update(request);
        let known = request.initial_resource_versions.iter();
        subscription.sent = known.map(|(name, version)| (name.as_str().into(), version.as_str().into())).collect();
        subscription
    }

    /// Adds and removes the names of a request. A name that is subscribed to again is sent again.
    pub(super) fn update(&mut self, request: &discovery::DeltaDiscoveryRequest) {
        for name in &request.resource_names_subscribe {
            self.generation = 0;
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            let name: Arc<str> = name.as_str().into();
            self.sent.remove(&name);
            self.requested.insert(name.clone());
            self.names.insert(name);
        }
        for name in &request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
                let names = &self.names;
                self.sent.retain(|name, _| names.contains(name));
            } else if self.names.remove(name.as_str()) && !self.wildcard {
                self.sent.remove(name.as_str());
            }
        }
    }

    /// The agent has acknowledged a response; false if it is not the one that is awaited.
    pub(super) fn acknowledge(&mut self, nonce: &str) -> bool {
        let expected = self.unacknowledged.as_deref() == Some(nonce);
        if expected {
            self.unacknowledged = None;
        }
        expected
    }

    /// True if a response may be sent: there is never more than one unanswered, so a slow agent gets the newest state
    /// instead of all states.
    pub(super) fn is_idle(&self) -> bool {
        self.unacknowledged.is_none()
    }

    /// True once there was a response.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// What differs between the snapshot and what the agent has.
    pub(super) fn delta(&self, snapshot: &Snapshot) -> Delta {
        let resources = snapshot.resources.of(self.kind);
        let mut delta = Delta::default();
        let mut compare = |name: &Arc<str>| match resources.get(name) {
            Some(resource) if self.wants(name) && self.sent.get(name) != Some(&resource.version) => {
                delta.upserted.push(name.clone());
            }
            None if self.sent.contains_key(name) || self.requested.contains(name) => delta.removed.push(name.clone()),
            _ => {}
        };
        if self.generation == snapshot.generation {
            return delta;
        }
        if self.generation != 0 && self.generation + 1 == snapshot.generation {
            snapshot.changes(self.kind).iter().for_each(compare);
            return delta;
        }
        resources.keys().for_each(&mut compare);
        let removed = self.sent.keys().chain(self.requested.iter()).filter(|name| !resources.contains_key(*name));
        removed.collect::<BTreeSet<_>>().into_iter().for_each(compare);
        delta
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// The response with a delta. The agent counts as having it from then on.
    pub(super) fn respond(
        &mut self,
        snapshot: &Snapshot,
        delta: Delta,
        nonce: String,
    ) -> discovery::DeltaDiscoveryResponse {
        let resources = snapshot.resources.of(self.kind);
        let mut wire = Vec::with_capacity(delta.upserted.len());
        for name in delta.upserted {
            let resource = &resources[&name];
            wire.push(discovery::Resource {
                version: resource.version.to_string(),
                resource: Some(prost_types::Any {
                    type_url: self.kind.body_type_url().to_owned(),
                    value: resource.body.to_vec(),
                }),
                name: name.to_string(),
                ..Default::default()
            });
            self.sent.insert(name, resource.version.clone());
        }
        for name in &delta.removed {
            self.sent.remove(name);
        }
        self.requested.clear();
        self.answered = true;
        self.unacknowledged = Some(nonce.clone());
        discovery::DeltaDiscoveryResponse {
            system_version_info: snapshot.generation.to_string(),
            resources: wire,
            type_url: self.kind.type_url().to_owned(),
            nonce,
            removed_resources: delta.removed.iter().map(ToString::to_string).collect(),
        }
    }

    /// Records that nothing of the snapshot is left to send: the next one is compared only where it differs.
    pub(super) fn mark_current(&mut self, snapshot: &Snapshot) {
        self.generation = snapshot.generation;
    }

    /// The delta without its removals, which are sent later.
    pub(super) fn upserts_only(delta: Delta) -> Delta {
        Delta { removed: Vec::new(), ..delta }
    }
}
