//! Objects as their authors wrote them, out of their envelopes. Their content is read by `objects::protobuf`; a policy is
//! compiled by `compile`.

use std::sync::Arc;

use prost::Message;
use serde_json::{Value as Json, json};

use super::malformed::{Flaw, Malformed, named};
use crate::compile::{self, CompiledPolicy};
use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::model::policy_object::{PeerObject, PolicyObject, PolicyTarget};
use crate::objects::Kind;
use crate::objects::protobuf::{self, Checked, ReceivedHttpObject};
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::security::v1beta1 as pb;
use crate::resources::ObjectKind;

/// A policy; and, if it cannot be understood and so denies, the reason.
pub(in crate::xds) type Read<T> = (T, Option<Arc<str>>);

/// What of a policy has no effect, or another one than its author may expect: `field: reason`.
pub(in crate::xds) type Notices = Vec<String>;

const AUTHORIZATION_POLICY: &str = "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy";
const PEER_AUTHENTICATION: &str = "type.googleapis.com/istio.security.v1beta1.PeerAuthentication";
/// Sorts behind every time.
const NEVER_CREATED: &str = "~";

/// The envelope of an object that came under a name.
///
/// # Errors
/// When it is none, or one of another object.
pub(in crate::xds) fn envelope(name: &str, body: &[u8]) -> Result<mcp::Resource, Malformed> {
    let envelope = mcp::Resource::decode(body)?;
    let found = envelope.metadata.as_ref().map_or("", |metadata| &metadata.name);
    named("metadata.name", found, name)?;
    Ok(envelope)
}

/// The spec of an object as it came, for people; `None` for kinds whose content is not read.
///
/// # Errors
/// When the content is not of that kind.
pub(in crate::xds) fn spec(kind: ObjectKind, envelope: &mcp::Resource) -> Result<Option<Json>, Malformed> {
    Ok(match kind {
        ObjectKind::AuthorizationPolicy => {
            Some(json!(message::<pb::AuthorizationPolicy>(envelope, AUTHORIZATION_POLICY)?))
        }
        ObjectKind::PeerAuthentication => {
            Some(json!(message::<pb::PeerAuthentication>(envelope, PEER_AUTHENTICATION)?))
        }
        _ => match Kind::of_http(kind) {
            Some(kind) => Some(protobuf::http_spec(kind, envelope)?),
            None => None,
        },
    })
}

/// The message in an envelope. A field that this version does not know may restrict something: such a message is refused.
fn message<T: Message + Default>(envelope: &mcp::Resource, expected: &'static str) -> Result<T, Malformed> {
    let body = envelope.body.as_ref().ok_or_else(|| Malformed::new("body", Flaw::Missing))?;
    if body.type_url != expected {
        return Err(Malformed::new("body", Flaw::WrongType { found: body.type_url.clone(), expected }));
    }
    let message = T::decode(body.value.as_slice())?;
    if message.encoded_len() != body.value.len() {
        return Err(Malformed::new("spec", Flaw::Unsupported("a field that this version does not know")));
    }
    Ok(message)
}

/// Reads an AuthorizationPolicy; with what it comes to, where istiod's L4 form says something else.
///
/// # Errors
/// When not even what it is about can be read; give the reason to [`object_denial_of_unreadable`] then.
pub(in crate::xds) fn policy_object(
    name: &str,
    body: &[u8],
    root_namespace: &str,
) -> Result<(Read<PolicyObject>, Notices), Malformed> {
    let envelope = envelope(name, body)?;
    let mut object = PolicyObject {
        key: name.into(),
        namespace: namespace_of(name).into(),
        target: PolicyTarget::Elsewhere,
        own_form: None,
        notes: Vec::new(),
    };
    if is_for_waypoints(&envelope) {
        object.notes.push("targetRefs are a waypoint's business: not enforced at the workloads".into());
        return Ok(((object, None), Notices::new()));
    }
    let spec = message(&envelope, AUTHORIZATION_POLICY)?;
    let (metadata, checked, notices) = protobuf::authorization_policy(&envelope.metadata.unwrap_or_default(), &spec)?;
    let (enforced, rejected) = match checked {
        Checked::Valid(policy) => {
            let note = |text: String| object.notes.push(text.into());
            let enforced = match compile::policy(root_namespace, &metadata, &policy, note) {
                None | Some(CompiledPolicy { is_istiods: true, .. }) => None,
                Some(CompiledPolicy { authorization, .. }) => Some(authorization),
            };
            object.target = policy.target;
            (enforced, None)
        }
        Checked::Rejected(policy) => {
            let denial = compile::denial_of_rejected(root_namespace, &metadata, &policy, &metadata.name);
            let is_about_all = policy.selector.is_empty();
            object.target =
                if is_about_all { PolicyTarget::Namespace } else { PolicyTarget::Selector(policy.selector) };
            (Some(denial), Some(Arc::from(policy.reason)))
        }
    };
    if let Some(enforced) = enforced {
        named("name", &enforced.key, name)?;
        object.own_form = Some(Arc::new(enforced));
    }
    Ok(((object, rejected), notices))
}

/// True for a policy with target references, whatever else it has.
fn is_for_waypoints(envelope: &mcp::Resource) -> bool {
    envelope.body.as_ref().is_some_and(|body| {
        let policy = pb::AuthorizationPolicy::decode(body.value.as_slice());
        policy.is_ok_and(|policy| policy.target_ref.is_some() || !policy.target_refs.is_empty())
    })
}

/// The policy that stands for one that could not be read: it denies the namespace of its name.
pub(in crate::xds) fn object_denial_of_unreadable(name: &str, reason: &str, root_namespace: &str) -> PolicyObject {
    PolicyObject {
        key: name.into(),
        namespace: namespace_of(name).into(),
        target: PolicyTarget::Namespace,
        own_form: Some(Arc::new(super::authorization::denial_of_unreadable(name, &[], reason, root_namespace))),
        notes: Vec::new(),
    }
}

/// Reads an object about requests.
///
/// # Errors
/// The first thing that is wrong with it: such an object counts for nothing.
pub(in crate::xds) fn http_object(kind: Kind, name: &str, body: &[u8]) -> Result<ReceivedHttpObject, Malformed> {
    protobuf::http_object(kind, &envelope(name, body)?).map_err(Malformed::from)
}

/// Reads a RequestAuthentication; and, if it is not valid and so refuses requests, the reason.
///
/// # Errors
/// When it is none; give the reason to [`unreadable_authentication`] then.
pub(in crate::xds) fn request_authentication(name: &str, body: &[u8]) -> Result<Read<ReceivedHttpObject>, Malformed> {
    let received = protobuf::request_authentication(&envelope(name, body)?);
    let rejected = received.refusing_reason().map(Arc::from);
    Ok((received, rejected))
}

/// What stands for a RequestAuthentication that could not be read.
pub(in crate::xds) fn unreadable_authentication(name: &str, reason: &str) -> ReceivedHttpObject {
    protobuf::unreadable_request_authentication(name, reason)
}

/// Reads a PeerAuthentication. One that is not valid is STRICT.
///
/// # Errors
/// When it is none; give its name to [`strict_peer`] then.
pub(in crate::xds) fn peer_object(name: &str, body: &[u8]) -> Result<(Read<PeerObject>, Notices), Malformed> {
    let envelope = envelope(name, body)?;
    let created = envelope.metadata.as_ref().and_then(|metadata| metadata.create_time.as_ref());
    let age = created.map_or(NEVER_CREATED.to_owned(), |time| format!("{:020}.{:09}", time.seconds, time.nanos));
    let spec = message(&envelope, PEER_AUTHENTICATION)?;
    let (checked, notices) = protobuf::peer_authentication(&envelope.metadata.unwrap_or_default(), &spec)?;
    let (spec, rejected) = match checked {
        Checked::Valid(spec) => (spec, None),
        Checked::Rejected(policy) => {
            let strict = PeerAuthentication { mode: MtlsMode::Strict, selector: policy.selector, ..Default::default() };
            (strict, Some(Arc::from(policy.reason)))
        }
    };
    Ok(((PeerObject { key: name.into(), age: age.into(), spec }, rejected), notices))
}

/// What stands for a PeerAuthentication that could not be read.
pub(in crate::xds) fn strict_peer(name: &str) -> PeerObject {
    let spec = PeerAuthentication { mode: MtlsMode::Strict, ..PeerAuthentication::default() };
    PeerObject { key: name.into(), age: "".into(), spec }
}

fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
