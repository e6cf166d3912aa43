//! Objects as they come over ADS: the message of a kind, and the metadata of the envelope around it
//! (`istio.mcp.v1alpha1.Resource`), read into the same structs and with the same checks as objects in files.

mod body;
pub(super) mod message;

use std::collections::BTreeMap;

use prost::Message as _;

use super::http_object::{HttpObject, WrittenHttpObject};
use super::kind::Kind;
use super::metadata::{self, Metadata};
use super::networking::{self, MeshConfig};
pub use super::reading::UnknownValue;
use super::reading::yaml::{Node, Value};
use super::reading::{Fields, Place, Report, SourceLocation};
use super::security::{self, AuthorizationPolicy, PeerAuthentication, PolicyTarget, RequestAuthentication};
use super::store::{Object, RejectedPolicy, WrittenPolicy};
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::security::v1beta1 as pb;

/// Annotation of an object without a time of creation: where it was defined, as text that sorts in the order of definition.
pub const DEFINED_AT: &str = "weir.dev/defined-at";

/// A policy after its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<T> {
    Valid(T),
    /// It denies what it was about.
    Rejected(RejectedPolicy),
}

/// Reads an AuthorizationPolicy; with what of it has no effect, or another one than its author may expect (`field: reason`).
///
/// # Errors
/// When an enum in it has a value that this version does not know: nothing of it can be trusted then.
pub fn authorization_policy(
    envelope: &mcp::Metadata,
    spec: &pb::AuthorizationPolicy,
) -> Result<(Metadata, Checked<AuthorizationPolicy>, Vec<String>), UnknownValue> {
    let report = Report::default();
    let metadata = metadata(envelope, Kind::AuthorizationPolicy, &report);
    let policy = security::protobuf::authorization_policy(spec, &metadata, &Place::without_lines("spec", &report))?;
    let checked = match report.first_error() {
        None => Checked::Valid(policy),
        Some(reason) => {
            let selector = if let PolicyTarget::Selector(labels) = policy.target { labels } else { Default::default() };
            Checked::Rejected(RejectedPolicy { selector, reason })
        }
    };
    Ok((metadata, checked, report.notices()))
}

/// Reads a PeerAuthentication; with its findings, as [`authorization_policy`].
///
/// # Errors
/// As [`authorization_policy`].
pub fn peer_authentication(
    envelope: &mcp::Metadata,
    spec: &pb::PeerAuthentication,
) -> Result<(Checked<PeerAuthentication>, Vec<String>), UnknownValue> {
    let report = Report::default();
    metadata(envelope, Kind::PeerAuthentication, &report);
    let policy = security::protobuf::peer_authentication(spec, &Place::without_lines("spec", &report))?;
    let checked = match report.first_error() {
        None => Checked::Valid(policy),
        Some(reason) => Checked::Rejected(RejectedPolicy { selector: policy.selector, reason }),
    };
    Ok((checked, report.notices()))
}

/// Reads the mesh-wide configuration, encoded. What of it has no effect, or has values that are not known here, is said in it.
///
/// # Errors
/// When it is no message of its type.
pub fn mesh_config(body: &[u8]) -> Result<MeshConfig, prost::DecodeError> {
    networking::protobuf::mesh_config(body)
}

/// An object about requests as it came, checked.
#[derive(Debug)]
pub struct ReceivedHttpObject {
    pub metadata: Metadata,
    pub object: HttpObject,
    /// What of it has no effect, and why: `field: reason`.
    pub notices: Vec<String>,
}

impl ReceivedHttpObject {
    /// Why it refuses the requests that it is about; `None` for objects that are valid.
    #[must_use]
    pub fn refusing_reason(&self) -> Option<&str> {
        match &self.object {
            HttpObject::RequestAuthentication(authentication) => authentication.invalid.as_deref(),
            _ => None,
        }
    }
}

/// What is wrong with an object first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidObject {
    /// Its path, such as `spec.http[0].route`.
    pub field: String,
    pub reason: String,
}

/// Reads a RequestAuthentication. One that is not valid refuses the requests that it is about, and says why.
#[must_use]
pub fn request_authentication(envelope: &mcp::Resource) -> ReceivedHttpObject {
    const KIND: Kind = Kind::RequestAuthentication;
    let report = Report::default();
    let mut metadata = metadata(&envelope.metadata.clone().unwrap_or_default(), KIND, &report);
    metadata.created = envelope.metadata.as_ref().and_then(|metadata| metadata.create_time.as_ref()).map(sortable);
    let body = envelope.body.clone().unwrap_or_default();
    let object = match body::node_of(KIND, &body) {
        // A field that is not known here may have been meant to restrict something.
        Ok((_, unknown)) if !unknown.is_empty() => {
            RequestAuthentication::unreadable(format!("{}: is not known here", unknown.join(", ")))
        }
        Ok((spec, _)) => match Fields::of(&spec, "spec", &report).map(security::request_authentication::read) {
            Some(read) => RequestAuthentication { invalid: report.first_error(), ..read },
            None => RequestAuthentication::unreadable("spec is no map".to_owned()),
        },
        Err(error) => RequestAuthentication::unreadable(format!("body: {error}")),
    };
    let findings = report.into_findings().into_iter().filter(|finding| !finding.rejects);
    let notices = findings.map(|finding| format!("{}: {}", finding.field, finding.reason)).collect();
    ReceivedHttpObject { metadata, object: HttpObject::RequestAuthentication(Box::new(object)), notices }
}

/// What stands for a RequestAuthentication that did not even come as one: it refuses the requests of the namespace of its name.
#[must_use]
pub fn unreadable_request_authentication(name: &str, reason: &str) -> ReceivedHttpObject {
    let metadata = unchecked_metadata(&mcp::Metadata { name: name.to_owned(), ..mcp::Metadata::default() });
    let object = RequestAuthentication::unreadable(reason.to_owned());
    let object = HttpObject::RequestAuthentication(Box::new(object));
    ReceivedHttpObject { metadata, object, notices: Vec::new() }
}

/// Reads an object about requests.
///
/// # Errors
/// When it is not valid.
pub fn http_object(kind: Kind, envelope: &mcp::Resource) -> Result<ReceivedHttpObject, InvalidObject> {
    let invalid = |field: &str, reason: String| InvalidObject { field: field.to_owned(), reason };
    let report = Report::default();
    let mut metadata = unchecked_metadata(&envelope.metadata.clone().unwrap_or_default());
    metadata.created = envelope.metadata.as_ref().and_then(|metadata| metadata.create_time.as_ref()).map(sortable);
    let body = envelope.body.as_ref().ok_or_else(|| invalid("body", "not set".to_owned()))?;
    let (spec, unknown) = body::node_of(kind, body).map_err(|error| invalid("body", error.to_string()))?;
    let object = Fields::of(&spec, "spec", &report).and_then(|fields| HttpObject::read(kind, fields, &metadata));
    let findings = report.into_findings();
    if let Some(error) = findings.iter().find(|finding| finding.rejects) {
        return Err(invalid(&error.field, error.reason.clone()));
    }
    let object = object.ok_or_else(|| invalid("kind", format!("{kind} is not about requests")))?;
    let notices = findings.into_iter().map(|finding| format!("{}: {}", finding.field, finding.reason));
    let unknown = unknown.into_iter().map(|field| format!("{field}: is not known here and has no effect"));
    let notices = notices.chain(unknown);
    Ok(ReceivedHttpObject { metadata, object, notices: notices.collect() })
}

/// The envelope, encoded, of an object about requests as the Kubernetes API tells it: `metadata` and `spec` of `object`.
///
/// # Errors
/// When it is not valid.
pub fn http_envelope_of_json(kind: Kind, object: &serde_json::Value) -> Result<Vec<u8>, InvalidObject> {
    let invalid = |field: &str, reason: String| InvalidObject { field: field.to_owned(), reason };
    let tree = body::node_of_json(object).map_err(|error| invalid("object", error.to_string()))?;
    let (place, absent) = (Report::default(), Node { line: 0, value: Value::Map(Vec::new()) });
    let mut fields = Fields::of(&tree, "", &place).ok_or_else(|| invalid("object", "is no map".to_owned()))?;
    let head = fields.get("metadata").map_or(&absent, |item| item.node);
    let spec = fields.get("spec").map_or(&absent, |item| item.node);
    let report = Report::default();
    let metadata = Fields::of(head, "metadata", &report).map(|head| metadata::read(head, kind)).unwrap_or_default();
    let read = Fields::of(spec, "spec", &report).and_then(|fields| HttpObject::read(kind, fields, &metadata));
    if let Some(error) = report.into_findings().into_iter().find(|finding| finding.rejects) {
        return Err(invalid(&error.field, error.reason));
    }
    let object = read.ok_or_else(|| invalid("kind", format!("{kind} is not about requests")))?;
    let (written, location) = (WrittenHttpObject { object, spec: spec.clone() }, SourceLocation::default());
    let object = Object { metadata: &metadata, location: &location, spec: &written };
    Ok(http_envelope(kind, object).encode_to_vec())
}

/// The envelope in which an object about requests reaches agents.
#[must_use]
pub fn http_envelope(kind: Kind, object: Object<'_, WrittenHttpObject>) -> mcp::Resource {
    envelope(kind, object, &object.spec.spec)
}

/// The envelope in which an AuthorizationPolicy reaches agents.
#[must_use]
pub fn policy_envelope(object: Object<'_, WrittenPolicy>) -> mcp::Resource {
    envelope(Kind::AuthorizationPolicy, object, &object.spec.spec)
}

fn envelope<T>(kind: Kind, object: Object<'_, T>, spec: &Node) -> mcp::Resource {
    let owned = |(key, value): (&String, &String)| (key.clone(), value.clone());
    let mut annotations: BTreeMap<String, String> = object.metadata.annotations.iter().map(owned).collect();
    if object.metadata.created.is_none() {
        annotations.insert(DEFINED_AT.to_owned(), object.location.sortable());
    }
    let metadata = mcp::Metadata {
        name: format!("{}/{}", object.metadata.namespace, object.metadata.name),
        create_time: object.metadata.created.as_deref().and_then(timestamp),
        labels: object.metadata.labels.iter().map(owned).collect(),
        annotations: annotations.into_iter().collect(),
        ..mcp::Metadata::default()
    };
    mcp::Resource { metadata: Some(metadata), body: Some(body::body_of(kind, spec)) }
}

/// A text that sorts as the times do.
fn sortable(time: &prost_types::Timestamp) -> String {
    format!("{:020}.{:09}", time.seconds, time.nanos)
}

/// The time that `YYYY-MM-DDTHH:MM:SS` is, in UTC.
fn timestamp(text: &str) -> Option<prost_types::Timestamp> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March.
    let years = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + day_of_year - 719_468;
    let seconds = days * 86_400 + number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// The `spec` of an object about requests, for people: as a file would have it.
///
/// # Errors
/// When it cannot be read.
pub fn http_spec(kind: Kind, envelope: &mcp::Resource) -> Result<serde_json::Value, InvalidObject> {
    let body = envelope.body.clone().unwrap_or_default();
    let invalid = |error: message::BodyError| InvalidObject { field: "body".to_owned(), reason: error.to_string() };
    body::node_of(kind, &body).map(|(spec, _)| spec.json()).map_err(invalid)
}

/// The metadata of an envelope, with the name of the object checked.
fn metadata(wire: &mcp::Metadata, kind: Kind, report: &Report) -> Metadata {
    let place = Place::without_lines("metadata", report);
    let unchecked = unchecked_metadata(wire);
    metadata::checked_name(&unchecked.name, kind, &place);
    let namespace = metadata::checked_namespace(&unchecked.namespace, kind, &place);
    Metadata { namespace, ..unchecked }
}

/// The envelope names an object `namespace/name`. A control plane makes names of its own for objects that it makes of others.
fn unchecked_metadata(wire: &mcp::Metadata) -> Metadata {
    let (namespace, name) = wire.name.split_once('/').unwrap_or(("", &wire.name));
    let owned = |(key, value): (&String, &String)| (key.clone(), value.clone());
    Metadata {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels: wire.labels.iter().map(owned).collect(),
        annotations: wire.annotations.iter().map(owned).collect(),
        ..Metadata::default()
    }
}
