//! `istio.mesh.v1alpha1.MeshConfig` to the settings of the mesh.

use prost::Message;

use super::malformed::Malformed;
use crate::compile;
use crate::model::mesh::MeshSettings;
use crate::objects::protobuf;
use crate::proto::istio::mesh::v1alpha1 as pb;

/// Decodes mesh-wide configuration, on top of what this agent was started with.
///
/// # Errors
/// The first field that is malformed.
pub(in crate::xds) fn settings(own: &MeshSettings, body: &[u8]) -> Result<MeshSettings, Malformed> {
    Ok(compile::mesh_settings(own, &protobuf::mesh_config(&pb::MeshConfig::decode(body)?)?))
}
