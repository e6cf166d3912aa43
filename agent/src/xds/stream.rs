//! The delta discovery protocol without I/O: what to subscribe to, how a response changes the subscription state, and the ACK
//! or NACK that answers it.

use std::collections::HashSet;

use super::last_good::Record;
use super::received::{self, ReceivedResource};
use super::subscription_state::SubscriptionState;
use crate::model::mesh::MeshUpdate;
use crate::proto::envoy::config::core::v3::Node;
use crate::proto::envoy::service::discovery::v3 as discovery;
use crate::proto::google::rpc::Status;
use crate::resources::{ObjectUpdate, ResourceType, WantedObjects};

/// gRPC's INVALID_ARGUMENT: the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;
/// A control plane need not accept larger messages than 4 MiB, and a reason is for people.
const MAX_NACK_BYTES: usize = 64 * 1024;
/// A reason names its resource, whose name may be of any length.
const MAX_REASON_BYTES: usize = 1024;

/// What one response led to.
#[derive(Debug)]
pub struct Processed {
    /// The type that was updated; `None` if it is not one of ours.
    pub kind: Option<ResourceType>,
    /// ACK or NACK.
    pub reply: discovery::DeltaDiscoveryRequest,
    /// Every resource that was rejected, as `name: reason`. The others are in force.
    pub rejected: Vec<String>,
    /// The subscription state is no longer what it was.
    pub changed: bool,
    /// Resources that were byte for byte what was known.
    pub repeats: u64,
}

/// The requests that open a stream: a wildcard subscription per type with the versions that are known. Only the first
/// carries the node. `objects` says which users' objects are asked for as well.
#[must_use]
pub(super) fn subscriptions(
    node: Node,
    state: &SubscriptionState,
    objects: WantedObjects,
) -> Vec<discovery::DeltaDiscoveryRequest> {
    let mut node = Some(node);
    let request = |kind: ResourceType| discovery::DeltaDiscoveryRequest {
        node: node.take(),
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        initial_resource_versions: state.versions(kind).collect(),
        ..Default::default()
    };
    let wanted = |kind: &ResourceType| match kind {
        ResourceType::Object(kind) => objects.include(*kind),
        _ => true,
    };
    ResourceType::all().filter(wanted).map(request).collect()
}

/// Adds to the removals of a response that holds the whole of its type everything that is known and that it does not name.
pub(super) fn remove_what_is_not_named(response: &mut discovery::DeltaDiscoveryResponse, state: &SubscriptionState) {
    let Some(kind) = ResourceType::from_type_url(&response.type_url) else { return };
    // There is one mesh configuration, whatever a control plane calls it.
    if kind == ResourceType::MeshConfig {
        return;
    }
    let named: HashSet<&str> = response.resources.iter().map(|resource| resource.name.as_str()).collect();
    let gone = state.of(kind).keys().filter(|name| !named.contains(&***name)).map(|name| name.to_string());
    let gone: Vec<String> = gone.collect();
    response.removed_resources.extend(gone);
}

/// What one resource of a response changes.
#[derive(Debug, Default)]
pub(super) struct ResourceChange {
    /// To be applied to the mesh as one.
    pub updates: Vec<MeshUpdate>,
    /// To be added to the last good configuration.
    pub record: Option<Record>,
}

/// A response that is being applied, resource by resource, so that a large one need not be decoded as a whole before the
/// mesh changes: [`Self::apply_next`] until there is none, then [`Self::finish`].
#[derive(Debug)]
pub(super) struct Response {
    kind: Option<ResourceType>,
    type_url: String,
    nonce: String,
    received: std::vec::IntoIter<ReceivedResource>,
    removed: std::vec::IntoIter<String>,
    rejected: Vec<String>,
    changed: bool,
    repeats: u64,
}

impl Response {
    pub(super) fn new(response: discovery::DeltaDiscoveryResponse) -> Self {
        let discovery::DeltaDiscoveryResponse { resources, type_url, nonce, removed_resources, .. } = response;
        let kind = ResourceType::from_type_url(&type_url);
        let (received, mut removed, rejected) = match kind {
            Some(kind) => {
                let (received, repeated) = received::unpack(kind, resources);
                let rejected = repeated.iter().map(|name| reason(name, "the name comes twice")).collect();
                (received, removed_resources, rejected)
            }
            None => (Vec::new(), Vec::new(), vec![reason(&type_url, "not subscribed to")]),
        };
        if !removed.is_empty() {
            let named: HashSet<&str> = received.iter().map(|received| &*received.name).collect();
            removed.retain(|name| !named.contains(name.as_str()));
        }
        let (received, removed) = (received.into_iter(), removed.into_iter());
        Self { kind, type_url, nonce, received, removed, rejected, changed: false, repeats: 0 }
    }

    /// Changes of users' objects that came by another way, applied as a response of the control plane would be.
    pub(super) fn of_objects(update: ObjectUpdate, state: &SubscriptionState) -> Self {
        let kind = ResourceType::Object(update.kind);
        let mut removed = update.removed;
        if update.is_whole {
            let named: HashSet<&str> = update.put.iter().map(|object| &*object.name).collect();
            removed = state.of(kind).keys().filter(|name| !named.contains(&***name)).map(ToString::to_string).collect();
        }
        let received = update.put.into_iter().map(ReceivedResource::from).collect::<Vec<_>>().into_iter();
        let (type_url, nonce) = (kind.type_url().to_owned(), String::new());
        let (kind, removed, rejected) = (Some(kind), removed.into_iter(), Vec::new());
        Self { kind, type_url, nonce, received, removed, rejected, changed: false, repeats: 0 }
    }

    /// Applies the next resource to the state: a good one replaces what was known, a bad one is rejected. `None` after the
    /// last.
    pub(super) fn apply_next(&mut self, state: &mut SubscriptionState) -> Option<ResourceChange> {
        let kind = self.kind?;
        if let Some(received) = self.received.next() {
            return Some(self.update(state, kind, received));
        }
        // Removals come last, so that what moves to another name is never gone in between.
        let name = self.removed.next()?;
        Some(self.remove(state, kind, &name))
    }

    /// The outcome, with one ACK or NACK for the whole response.
    pub(super) fn finish(self) -> Processed {
        let Self { kind, type_url, nonce, rejected, changed, repeats, .. } = self;
        Processed { kind, reply: reply(type_url, nonce, &rejected), rejected, changed, repeats }
    }

    fn update(
        &mut self,
        state: &mut SubscriptionState,
        kind: ResourceType,
        received: ReceivedResource,
    ) -> ResourceChange {
        let known = state.of(kind).get(&received.name);
        let new_version = known.is_none_or(|known| known.version != received.version);
        let change = state.update(kind, &received);
        let changed = new_version || !change.updates.is_empty() || !(change.is_repeat || change.rejected.is_some());
        self.changed |= changed;
        self.repeats += u64::from(change.is_repeat);
        self.rejected.extend(change.rejected.as_ref().map(|flaw| reason(&received.name, flaw)));
        let is_stored = change.rejected.is_none() || kind.is_policy();
        let record = (changed && is_stored)
            .then(|| Record::Stored(kind, ReceivedResource { flaw: change.rejected, ..received }));
        ResourceChange { updates: change.updates, record }
    }

    fn remove(&mut self, state: &mut SubscriptionState, kind: ResourceType, name: &str) -> ResourceChange {
        let Some(updates) = state.remove(kind, name) else { return ResourceChange::default() };
        self.changed = true;
        ResourceChange { updates, record: Some(Record::Removed(kind, name.into())) }
    }
}

/// Why a resource was rejected, for people: `name: flaw`, cut short where it is very long.
fn reason(name: &str, flaw: &str) -> String {
    let cut = |text: &str| match text.char_indices().nth(MAX_REASON_BYTES / 8) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let whole = format!("{name}: {flaw}");
    if whole.len() <= MAX_REASON_BYTES { whole } else { format!("{}: {}", cut(name), cut(flaw)) }
}

fn reply(type_url: String, nonce: String, rejected: &[String]) -> discovery::DeltaDiscoveryRequest {
    let error_detail = (!rejected.is_empty()).then(|| Status {
        code: INVALID_ARGUMENT,
        message: nack_message(rejected),
        details: Vec::new(),
    });
    discovery::DeltaDiscoveryRequest { type_url, response_nonce: nonce, error_detail, ..Default::default() }
}

fn nack_message(rejected: &[String]) -> String {
    let mut message = String::new();
    for (i, reason) in rejected.iter().enumerate() {
        if !message.is_empty() && message.len() + reason.len() > MAX_NACK_BYTES {
            return format!("{message}; and {} more", rejected.len() - i);
        }
        if i > 0 {
            message.push_str("; ");
        }
        message.push_str(reason);
    }
    message
}

#[cfg(test)]
mod tests;
