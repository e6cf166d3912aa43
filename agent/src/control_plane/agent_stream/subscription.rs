//! What one agent wants of one type and what it has: a state machine without I/O. It decides what the next response
//! holds.

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
    /// Names just asked for: if there is no such resource, that is the answer.
    asked: BTreeSet<Arc<str>>,
    /// By name: the version that the agent has.
    sent: HashMap<Arc<str>, Arc<str>>,
    /// The generation that `sent` is up to date with; 0 if it must be compared in full.
    generation: u64,
    /// An agent waits for an answer to its first request even if that is empty.
    answered: bool,
    /// Nonce of the response that has not been acknowledged.
    awaiting: Option<String>,
}

/// What a response brings: the resources that changed and the names that are gone.
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
    /// From the first request for the type. One without names means everything, as from agents older than `*`.
    pub(super) fn new(kind: ResourceType, request: &discovery::DeltaDiscoveryRequest) -> Self {
        let mut subscription = Self {
            kind,
            wildcard: request.resource_names_subscribe.is_empty(),
            names: BTreeSet::new(),
            asked: BTreeSet::new(),
            sent: HashMap::new(),
            generation: 0,
            answered: false,
            awaiting: None,
        };
        subscription.change(request);
        let held = request.initial_resource_versions.iter();
        subscription.sent = held.map(|(name, version)| (name.as_str().into(), version.as_str().into())).collect();
        subscription
    }

    /// Takes the names of a request; an agent that asks again for a name gets it again.
    pub(super) fn change(&mut self, request: &discovery::DeltaDiscoveryRequest) {
        for name in &request.resource_names_subscribe {
            self.generation = 0;
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            let name: Arc<str> = name.as_str().into();
            self.sent.remove(&name);
            self.asked.insert(name.clone());
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

    /// The agent has answered a response. True if it was the one waited for.
    pub(super) fn acknowledged(&mut self, nonce: &str) -> bool {
        let expected = self.awaiting.as_deref() == Some(nonce);
        if expected {
            self.awaiting = None;
        }
        expected
    }

    /// True if a response may be sent: there is never more than one unanswered, so a slow agent gets the newest state
    /// instead of all states.
    pub(super) fn is_idle(&self) -> bool {
        self.awaiting.is_none()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// What the agent lacks.
    pub(super) fn delta(&self, snapshot: &Snapshot) -> Delta {
        let resources = snapshot.resources.of(self.kind);
        let mut delta = Delta::default();
        let mut look = |name: &Arc<str>| match resources.get(name) {
            Some(resource) if self.wants(name) && self.sent.get(name) != Some(&resource.version) => {
                delta.upserted.push(name.clone());
            }
            None if self.sent.contains_key(name) || self.asked.contains(name) => delta.removed.push(name.clone()),
            _ => {}
        };
        if self.generation == snapshot.generation {
            return delta;
        }
        if self.generation != 0 && self.generation + 1 == snapshot.generation {
            snapshot.changes(self.kind).iter().for_each(look);
            return delta;
        }
        resources.keys().for_each(&mut look);
        let gone = self.sent.keys().chain(self.asked.iter()).filter(|name| !resources.contains_key(*name));
        gone.collect::<BTreeSet<_>>().into_iter().for_each(look);
        delta
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// The response with a delta; from now on the agent counts as having it.
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
        self.asked.clear();
        self.answered = true;
        self.awaiting = Some(nonce.clone());
        discovery::DeltaDiscoveryResponse {
            system_version_info: snapshot.generation.to_string(),
            resources: wire,
            type_url: self.kind.type_url().to_owned(),
            nonce,
            removed_resources: delta.removed.iter().map(ToString::to_string).collect(),
        }
    }

    /// Nothing of a snapshot is left to send, so the next one need only be compared where it differs.
    pub(super) fn is_current_with(&mut self, snapshot: &Snapshot) {
        self.generation = snapshot.generation;
    }

    /// Without the removals, which then wait.
    pub(super) fn upserts_only(delta: Delta) -> Delta {
        Delta { removed: Vec::new(), ..delta }
    }
}
