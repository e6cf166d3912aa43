//! Objects as they come over ADS: the message of a kind, and the metadata of the envelope around it
//! (`istio.mcp.v1alpha1.Resource`), read into the same structs and with the same checks as objects in files.

use super::kind::Kind;
use super::metadata::{self, Metadata};
use super::networking::{self, MeshConfig};
pub use super::reading::UnknownValue;
use super::reading::{Place, Report};
use super::security::{self, AuthorizationPolicy, PeerAuthentication, PolicyTarget};
use super::store::RejectedPolicy;
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::mesh::v1alpha1 as mesh_pb;
use crate::proto::istio::security::v1beta1 as pb;

/// A policy after its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<T> {
    Valid(T),
    /// It denies what it was about.
    Rejected(RejectedPolicy),
}

/// Reads an AuthorizationPolicy.
///
/// # Errors
/// When an enum in it has a value that this version does not know: nothing of it can be trusted then.
pub fn authorization_policy(
    envelope: &mcp::Metadata,
    spec: &pb::AuthorizationPolicy,
) -> Result<(Metadata, Checked<AuthorizationPolicy>), UnknownValue> {
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
    Ok((metadata, checked))
}

/// Reads a PeerAuthentication.
///
/// # Errors
/// As [`authorization_policy`].
pub fn peer_authentication(
    envelope: &mcp::Metadata,
    spec: &pb::PeerAuthentication,
) -> Result<Checked<PeerAuthentication>, UnknownValue> {
    let report = Report::default();
    metadata(envelope, Kind::PeerAuthentication, &report);
    let policy = security::protobuf::peer_authentication(spec, &Place::without_lines("spec", &report))?;
    Ok(match report.first_error() {
        None => Checked::Valid(policy),
        Some(reason) => Checked::Rejected(RejectedPolicy { selector: policy.selector, reason }),
    })
}

/// Reads the mesh-wide configuration.
///
/// # Errors
/// As [`authorization_policy`].
pub fn mesh_config(spec: &mesh_pb::MeshConfig) -> Result<MeshConfig, UnknownValue> {
    networking::protobuf::mesh_config(spec)
}

/// The envelope names an object `namespace/name`. When it was made is read where it matters, from the envelope itself.
fn metadata(wire: &mcp::Metadata, kind: Kind, report: &Report) -> Metadata {
    let place = Place::without_lines("metadata", report);
    let (namespace, name) = wire.name.split_once('/').unwrap_or(("", &wire.name));
    let owned = |(key, value): (&String, &String)| (key.clone(), value.clone());
    Metadata {
        name: metadata::checked_name(name, kind, &place),
        namespace: metadata::checked_namespace(namespace, kind, &place),
        labels: wire.labels.iter().map(owned).collect(),
        annotations: wire.annotations.iter().map(owned).collect(),
        ..Metadata::default()
    }
}
