//! One delta stream as a state machine without I/O: what to ask first, and what to answer to each response. Must not
//! wait, connect or log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::decode::{Flaw, Malformed};
use super::held::{Held, Incoming};
use super::records::Records;
use super::version::Version;
use crate::model::mesh::MeshUpdate;
use crate::proto::envoy::config::core::v3::Node;
use crate::proto::envoy::service::discovery::v3 as discovery;
use crate::proto::google::rpc::Status;
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::resources::ResourceType;

/// gRPC's INVALID_ARGUMENT: the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;
/// A control plane need not accept larger messages than 4 MiB, and a reason is for people.
const MAX_NACK_BYTES: usize = 64 * 1024;
/// A reason names its resource, whose name may be of any length.
const MAX_REASON_BYTES: usize = 1024;

/// What one response led to.
#[derive(Debug)]
pub struct Outcome {
    /// The type that was updated; `None` if it is not one of ours.
    pub kind: Option<ResourceType>,
    /// ACK or NACK.
    pub reply: discovery::DeltaDiscoveryRequest,
    /// Every resource that was rejected, as `name: reason`. The others are in force.
    pub rejected: Vec<String>,
    /// What is held is no longer what it was.
    pub changed: bool,
    /// Resources that were byte for byte what was held.
    pub repeats: u64,
}

/// The requests that open a stream: a wildcard subscription per type with the versions that are held. Only the first
/// says who asks. Objects are asked for if they are wanted.
#[must_use]
pub(super) fn open(node: Node, held: &Held, objects: bool) -> Vec<discovery::DeltaDiscoveryRequest> {
    let mut node = Some(node);
    let request = |kind: ResourceType| discovery::DeltaDiscoveryRequest {
        node: node.take(),
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        initial_resource_versions: held.versions(kind).collect(),
        ..Default::default()
    };
    let wanted = |kind: &ResourceType| objects || !matches!(kind, ResourceType::Object(_));
    ResourceType::all().filter(wanted).map(request).collect()
}

/// What is to be done about a response before it is answered.
pub(super) trait Effects {
    /// Updates of the mesh, to be applied as one.
    fn mesh(&mut self, updates: Vec<MeshUpdate>);
    /// Where changes of what is held are written down, if they are.
    fn records(&mut self) -> Option<&mut Records>;
}

/// Takes in a response, resource by resource: good ones count, bad ones are listed in one NACK.
#[must_use]
pub(super) fn handle(
    held: &mut Held,
    response: discovery::DeltaDiscoveryResponse,
    effects: &mut impl Effects,
) -> Outcome {
    let discovery::DeltaDiscoveryResponse { resources, type_url, nonce, removed_resources, .. } = response;
    let Some(kind) = ResourceType::from_type_url(&type_url) else {
        let rejected = vec![reason(&type_url, "not subscribed to")];
        let reply = reply(type_url, nonce, &rejected);
        return Outcome { kind: None, reply, rejected, changed: false, repeats: 0 };
    };
    let mut taken = Taken { rejected: Vec::new(), changed: false, repeats: 0, effects };
    let incoming = merge_duplicates(kind, resources, &mut taken.rejected);
    // Which names came, unless nobody asks.
    let named: HashSet<Arc<str>> = match removed_resources.is_empty() {
        true => HashSet::new(),
        false => incoming.iter().map(|incoming| incoming.name.clone()).collect(),
    };
    for incoming in incoming {
        taken.put(held, kind, incoming);
    }
    // Last, so that nothing that moves to another name is gone in between.
    for name in removed_resources.iter().filter(|name| !named.contains(name.as_str())) {
        if let Some(updates) = held.remove(kind, name) {
            taken.changed = true;
            if let Some(records) = taken.effects.records() {
                records.gone(kind, name);
            }
            if !updates.is_empty() {
                taken.effects.mesh(updates);
            }
        }
    }
    let Taken { rejected, changed, repeats, .. } = taken;
    Outcome { kind: Some(kind), reply: reply(type_url, nonce, &rejected), rejected, changed, repeats }
}

struct Taken<'a, E> {
    rejected: Vec<String>,
    changed: bool,
    repeats: u64,
    effects: &'a mut E,
}

impl<E: Effects> Taken<'_, E> {
    fn put(&mut self, held: &mut Held, kind: ResourceType, incoming: Incoming) {
        let known = held.of(kind).get(&incoming.name);
        let new_version = known.is_none_or(|known| known.version != incoming.version);
        let change = held.put(kind, &incoming);
        let changed = new_version || !change.updates.is_empty() || !(change.is_repeat || change.rejected.is_some());
        self.changed |= changed;
        self.repeats += u64::from(change.is_repeat);
        let is_held = change.rejected.is_none() || kind.is_policy();
        if changed
            && is_held
            && let Some(records) = self.effects.records()
        {
            records.held(kind, &incoming, change.rejected.as_deref());
        }
        if !change.updates.is_empty() {
            self.effects.mesh(change.updates);
        }
        self.rejected.extend(change.rejected.map(|flaw| reason(&incoming.name, &flaw)));
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

/// One entry per name. A name that came twice is an error of the control plane either way: with one content it is used,
/// with two nobody can tell which was meant.
fn merge_duplicates(
    kind: ResourceType,
    resources: Vec<discovery::Resource>,
    rejected: &mut Vec<String>,
) -> Vec<Incoming> {
    let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(resources.len());
    let mut merged: Vec<Incoming> = Vec::with_capacity(resources.len());
    let mut twice: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for resource in resources {
        // A heartbeat: the resource lives on as it is.
        if resource.resource.is_none() && resource.ttl.is_some() {
            continue;
        }
        let incoming = unpack(kind, resource);
        match places.get(&incoming.name) {
            None => {
                places.insert(incoming.name.clone(), merged.len());
                merged.push(incoming);
            }
            Some(&place) => {
                twice.insert(incoming.name.clone(), place);
                if merged[place].body != incoming.body || incoming.flaw.is_some() {
                    merged[place].flaw = Some(Malformed::new("resource", Flaw::Ambiguous).to_string().into());
                }
            }
        }
    }
    let used = twice.iter().filter(|(_, place)| merged[**place].flaw.is_none());
    rejected.extend(used.map(|(name, _)| reason(name, "the name comes twice")));
    merged
}

/// The bytes of a resource, out of all envelopes.
fn unpack(kind: ResourceType, resource: discovery::Resource) -> Incoming {
    let version = Version::from(resource.version.as_str());
    // There is one mesh configuration, whatever a control plane calls it.
    let name: Arc<str> = if kind == ResourceType::MeshConfig { "".into() } else { resource.name.into() };
    let mut flaw = None;
    let mut any = resource.resource.unwrap_or_else(|| {
        flaw = Some(Flaw::Missing);
        prost_types::Any::default()
    });
    if kind.may_be_enveloped(&any.type_url) {
        match mcp::Resource::decode(any.value.as_slice()) {
            Ok(envelope) => any = envelope.body.unwrap_or_default(),
            Err(error) => flaw = Some(Flaw::NotProtobuf(error.to_string())),
        }
    }
    if flaw.is_none() && any.type_url != kind.body_type_url() {
        // The bytes mean something else: nothing may be read from them.
        any.value.clear();
        flaw = Some(Flaw::WrongType { found: any.type_url, expected: kind.body_type_url() });
    } else if flaw.is_none() && name.is_empty() && kind != ResourceType::MeshConfig {
        flaw = Some(Flaw::Empty);
    }
    let flaw = flaw.map(|flaw| Malformed::new("resource", flaw).to_string().into());
    Incoming { name, version, body: Bytes::from(any.value), flaw }
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
