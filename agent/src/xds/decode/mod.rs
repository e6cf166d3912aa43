//! From encoded resources to the model. Every field is checked here, so that nothing inside ever meets a malformed one;
//! an error names the field. What a bad resource means for the mesh is decided by the caller, not here.

mod authorization;
mod fields;
mod object;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod workload;

use prost::Message;

pub(super) use authorization::{authorization, denying};
pub(super) use object::{denying_policy, document, envelope, peer_object, policy_object, strict_peer};
pub(super) use settings::settings;

use crate::model::mesh::MeshUpdate;
use crate::proto::istio::workload as pb;

/// What is wrong with a resource, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {flaw}")]
pub struct Malformed {
    /// Path of the field, such as `services[a/b].ports[0].target_port`; `resource` is the whole.
    pub field: String,
    pub flaw: Flaw,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("not a protobuf message of its type ({0})")]
    NotProtobuf(String),
    #[error("type {found:?}, expected {expected:?}")]
    WrongType { found: String, expected: &'static str },
    #[error("empty")]
    Empty,
    #[error("not set")]
    Missing,
    #[error("an IP address has 4 or 16 bytes, not {0}")]
    AddressLength(usize),
    #[error("prefix length {length} for an address of {bits} bits")]
    PrefixLength { length: u32, bits: u8 },
    #[error("{0} is no port")]
    Port(u32),
    #[error("value {0} is not known")]
    UnknownValue(i32),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("{0:?} is not of the form namespace/hostname")]
    NotNamespacedHostname(String),
    #[error("{found:?} where the resource is named {expected:?}")]
    NameMismatch { found: String, expected: String },
    #[error("the name comes with two different contents")]
    Ambiguous,
}

impl Malformed {
    pub(super) fn new(field: impl Into<String>, flaw: Flaw) -> Self {
        Self { field: field.into(), flaw }
    }

    /// The same flaw, one level further out.
    fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), flaw: self.flaw }
    }
}

/// Decodes an `istio.workload.Address` that came under a name.
///
/// # Errors
/// The first field that is malformed.
pub fn address(name: &str, body: &[u8]) -> Result<MeshUpdate, Malformed> {
    let address = pb::Address::decode(body).map_err(|error| not_protobuf(&error))?;
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

/// Removals name resources only, so a resource must go by the name that its content gives it.
fn named(field: &str, found: &str, expected: &str) -> Result<(), Malformed> {
    if found == expected {
        return Ok(());
    }
    Err(Malformed::new(field, Flaw::NameMismatch { found: found.to_owned(), expected: expected.to_owned() }))
}

fn not_protobuf(error: &prost::DecodeError) -> Malformed {
    Malformed::new("resource", Flaw::NotProtobuf(error.to_string()))
}
