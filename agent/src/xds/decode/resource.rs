//! The resources that make the mesh, each decoded whole.

use prost::Message;

use super::malformed::{Flaw, Malformed, named};
use super::{service, workload};
use crate::compile;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::objects::{MeshConfig, protobuf};
use crate::proto::istio::workload as pb;

/// Decodes an `istio.workload.Address` that came under a name.
///
/// # Errors
/// The first field that is malformed.
pub fn address(name: &str, body: &[u8]) -> Result<MeshUpdate, Malformed> {
    let address = pb::Address::decode(body)?;
    match address.r#type {
        Some(pb::address::Type::Workload(wire)) => {
            let workload = workload::workload(wire).map_err(|malformed| malformed.within("workload"))?;
            named("workload.uid", &workload.uid, name)?;
            Ok(MeshUpdate::Workload(Box::new(workload)))
        }
        Some(pb::address::Type::Service(wire)) => {
            let service = service::service(wire).map_err(|malformed| malformed.within("service"))?;
            named("service", &service.key.to_string(), name)?;
            Ok(MeshUpdate::Service(Box::new(service)))
        }
        None => Err(Malformed::new("type", Flaw::Missing)),
    }
}

/// Decodes mesh-wide configuration; with the settings that it comes to, on top of what this agent was started with.
///
/// # Errors
/// When it is no message of its type.
pub(in crate::xds) fn mesh_config(own: &MeshSettings, body: &[u8]) -> Result<(MeshSettings, MeshConfig), Malformed> {
    let config = protobuf::mesh_config(body)?;
    Ok((compile::mesh_settings(own, &config), config))
}
