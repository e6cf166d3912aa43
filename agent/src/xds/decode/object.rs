//! Objects as their authors wrote them: out of their envelope, back into the shape of a file, and read with the rules for
//! files. What a policy comes to at L4 is `compile`'s to know.

use std::sync::Arc;

use prost::Message;
use serde_json::{Map, Value as Json, json};

use super::{Flaw, Malformed, not_protobuf};
use crate::compile;
use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::model::policy_object::{PeerObject, PolicyObject, PolicyTarget};
use crate::objects::{self, Body, Stored};
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::security::v1beta1 as pb;
use crate::resources::ObjectKind;

mod spec;

/// What a policy is, and why it denies in place of what it says, if it does.
pub(in crate::xds) type Read<T> = (T, Option<Arc<str>>);

/// Where objects come from, in what is wrong with them.
const FROM: &str = "control plane";
/// Sorts behind every time.
const NEVER_CREATED: &str = "~";

/// The envelope of an object that came under a name.
///
/// # Errors
/// When it is none, or one of another object.
pub(in crate::xds) fn envelope(name: &str, body: &[u8]) -> Result<mcp::Resource, Malformed> {
    let envelope = mcp::Resource::decode(body).map_err(|error| not_protobuf(&error))?;
    let named = envelope.metadata.as_ref().map_or("", |metadata| &metadata.name);
    super::named("metadata.name", named, name)?;
    Ok(envelope)
}

/// The object as a file would have it; `None` for kinds whose content is not read.
///
/// # Errors
/// When the content is not of that kind.
pub(in crate::xds) fn document(kind: ObjectKind, envelope: &mcp::Resource) -> Result<Option<Json>, Malformed> {
    let body = envelope.body.as_ref().ok_or_else(|| Malformed::new("body", Flaw::Missing))?;
    let (kind, spec) = match kind {
        ObjectKind::AuthorizationPolicy => {
            ("AuthorizationPolicy", spec::authorization_policy(&typed(body, AUTHORIZATION)?)?)
        }
        ObjectKind::PeerAuthentication => ("PeerAuthentication", spec::peer_authentication(&typed(body, PEER)?)?),
        _ => return Ok(None),
    };
    let metadata = metadata(envelope);
    Ok(Some(json!({ "apiVersion": "security.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec })))
}

const AUTHORIZATION: &str = "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy";
const PEER: &str = "type.googleapis.com/istio.security.v1beta1.PeerAuthentication";

/// The message in a body. A field that this version does not know may restrict something: such a message is refused.
fn typed<T: Message + Default>(body: &prost_types::Any, expected: &'static str) -> Result<T, Malformed> {
    if body.type_url != expected {
        return Err(Malformed::new("body", Flaw::WrongType { found: body.type_url.clone(), expected }));
    }
    let message = T::decode(body.value.as_slice()).map_err(|error| not_protobuf(&error))?;
    if message.encoded_len() != body.value.len() {
        return Err(Malformed::new("spec", Flaw::Unsupported("a field that this version does not know")));
    }
    Ok(message)
}

fn metadata(envelope: &mcp::Resource) -> Json {
    let Some(metadata) = &envelope.metadata else { return json!({}) };
    let (namespace, name) = metadata.name.split_once('/').unwrap_or(("", &metadata.name));
    let annotations: Map<String, Json> = metadata
        .annotations
        .iter()
        // What kubectl keeps for itself: the object once more.
        .filter(|(key, _)| *key != "kubectl.kubernetes.io/last-applied-configuration")
        .map(|(key, value)| (key.clone(), Json::from(value.as_str())))
        .collect();
    let labels: Map<String, Json> =
        metadata.labels.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    json!({ "namespace": namespace, "name": name, "labels": labels, "annotations": annotations })
}

/// Reads an AuthorizationPolicy, in its safe form where istiod's would allow more than its author did.
///
/// # Errors
/// When not even what it is about can be read; give the reason to [`denying_policy`] then.
pub(in crate::xds) fn policy_object(
    name: &str,
    body: &[u8],
    root_namespace: &str,
) -> Result<Read<PolicyObject>, Malformed> {
    let envelope = envelope(name, body)?;
    let mut object = PolicyObject {
        key: name.into(),
        namespace: namespace_of(name).into(),
        target: PolicyTarget::Elsewhere,
        form: None,
        notes: Vec::new(),
    };
    // A waypoint's policy, whatever else it says.
    let is_waypoints = envelope.body.as_ref().is_some_and(|body| {
        let policy = pb::AuthorizationPolicy::decode(body.value.as_slice());
        policy.is_ok_and(|policy| policy.target_ref.is_some() || !policy.target_refs.is_empty())
    });
    if is_waypoints {
        object.notes.push("targetRefs are a waypoint's business: not enforced at the workloads".into());
        return Ok((object, None));
    }
    let document = document(ObjectKind::AuthorizationPolicy, &envelope)?.unwrap_or_default();
    let loaded = objects::read_document(&document, FROM);
    let Some((_, Stored { metadata, body, .. })) = loaded.objects.iter().next() else { return Ok((object, None)) };
    let (form, rejected) = match body {
        Body::AuthorizationPolicy(policy) => {
            object.target = match &policy.target {
                objects::PolicyTarget::Namespace => PolicyTarget::Namespace,
                objects::PolicyTarget::Selector(labels) => PolicyTarget::Selector(labels.clone()),
                objects::PolicyTarget::References => PolicyTarget::Elsewhere,
            };
            let form = compile::form(root_namespace, metadata, policy, |note| object.notes.push(note.into()));
            (form.filter(|form| !form.is_istiods).map(|form| form.authorization), None)
        }
        Body::Rejected(refused) => {
            if !refused.selector.is_empty() {
                object.target = PolicyTarget::Selector(refused.selector.clone());
            } else {
                object.target = PolicyTarget::Namespace;
            }
            let refusal = compile::refusal(root_namespace, metadata, refused, metadata.name.clone());
            (Some(refusal), Some(Arc::<str>::from(refused.reason.as_str())))
        }
        _ => (None, None),
    };
    if let Some(form) = form {
        let mut form = super::authorization::from_wire(name, form)?;
        form.invalid.clone_from(&rejected);
        object.form = Some(Box::new(form));
    }
    Ok((object, rejected))
}

/// The policy that stands for one that could not be read: it denies the namespace of its name.
pub(in crate::xds) fn denying_policy(name: &str, reason: &str, root_namespace: &str) -> PolicyObject {
    PolicyObject {
        key: name.into(),
        namespace: namespace_of(name).into(),
        target: PolicyTarget::Namespace,
        form: Some(Box::new(super::authorization::denying(name, &[], reason, root_namespace))),
        notes: Vec::new(),
    }
}

/// Reads a PeerAuthentication. One that is not valid is STRICT.
///
/// # Errors
/// When it is none; give its name to [`strict_peer`] then.
pub(in crate::xds) fn peer_object(name: &str, body: &[u8]) -> Result<Read<PeerObject>, Malformed> {
    let envelope = envelope(name, body)?;
    let created = envelope.metadata.as_ref().and_then(|metadata| metadata.create_time.as_ref());
    let age = created.map_or(NEVER_CREATED.to_owned(), |time| format!("{:020}.{:09}", time.seconds, time.nanos));
    let document = document(ObjectKind::PeerAuthentication, &envelope)?.unwrap_or_default();
    let loaded = objects::read_document(&document, FROM);
    let (spec, rejected) = match loaded.objects.iter().next().map(|(_, stored)| &stored.body) {
        Some(Body::PeerAuthentication(spec)) => (spec.as_ref().clone(), None),
        Some(Body::Rejected(refused)) => {
            let spec = PeerAuthentication {
                selector: refused.selector.clone(),
                mode: MtlsMode::Strict,
                ..PeerAuthentication::default()
            };
            (spec, Some(Arc::<str>::from(refused.reason.as_str())))
        }
        _ => return Ok((strict_peer(name), None)),
    };
    Ok((PeerObject { key: name.into(), age: age.into(), spec }, rejected))
}

/// What stands for a PeerAuthentication that could not be read.
pub(in crate::xds) fn strict_peer(name: &str) -> PeerObject {
    let spec = PeerAuthentication { mode: MtlsMode::Strict, ..PeerAuthentication::default() };
    PeerObject { key: name.into(), age: "".into(), spec }
}

fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
