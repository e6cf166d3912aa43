//! The mesh as it travels: encoded resources by type and name. What a control plane publishes, a stream carries and the
//! disk keeps; nothing here knows what a resource says.

mod object_kind;
mod object_update;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

pub use self::object_kind::ObjectKind;
pub use self::object_update::{ObjectBody, ObjectUpdate, WantedObjects};

/// Type URL of workloads and services.
pub const ADDRESS_TYPE_URL: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of L4 authorization policies.
pub const AUTHORIZATION_TYPE_URL: &str = "type.googleapis.com/istio.security.Authorization";
/// Type URL of the mesh-wide configuration on a discovery stream.
pub const MESH_CONFIG_TYPE_URL: &str = "core/v1alpha1/MeshConfig";
/// Type URL of the message that carries the mesh-wide configuration.
pub const MESH_CONFIG_BODY_TYPE_URL: &str = "type.googleapis.com/istio.mesh.v1alpha1.MeshConfig";
/// Type URL of the envelope in which Istio objects travel.
pub const ENVELOPE_TYPE_URL: &str = "type.googleapis.com/istio.mcp.v1alpha1.Resource";

/// The kinds of resources that make the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `istio.workload.Address`: a workload or a service.
    Address,
    /// `istio.security.Authorization`.
    Authorization,
    /// `istio.mesh.v1alpha1.MeshConfig`; one, without a name.
    MeshConfig,
    /// An object as its author wrote it, in its envelope.
    Object(ObjectKind),
}

impl ResourceType {
    pub const COUNT: usize = 3 + ObjectKind::COUNT;

    /// Those that make the mesh, in the order of subscription: what Authorization forbids should be known before Address
    /// says where to go.
    pub const MESH: [Self; 3] = [Self::MeshConfig, Self::Authorization, Self::Address];

    /// Those that files come to: policies among users' objects are compiled into Authorization there.
    pub fn of_files() -> impl Iterator<Item = Self> {
        Self::MESH.into_iter().chain(ObjectKind::HTTP.into_iter().map(Self::Object))
    }

    /// All of them, in the order of subscription: policies first.
    pub fn all() -> impl Iterator<Item = Self> {
        let objects = ObjectKind::ALL.into_iter().map(Self::Object);
        let policies = objects.clone().filter(|kind| kind.is_policy());
        let others = objects.filter(|kind| !kind.is_policy());
        [Self::MeshConfig, Self::Authorization].into_iter().chain(policies).chain([Self::Address]).chain(others)
    }

    /// True where what cannot be understood, or is missing, must deny.
    #[must_use]
    pub const fn is_policy(self) -> bool {
        matches!(
            self,
            Self::Authorization
                | Self::Object(
                    ObjectKind::AuthorizationPolicy
                        | ObjectKind::PeerAuthentication
                        | ObjectKind::RequestAuthentication
                )
        )
    }

    /// What requests and responses on a stream call the type.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Address => ADDRESS_TYPE_URL,
            Self::Authorization => AUTHORIZATION_TYPE_URL,
            Self::MeshConfig => MESH_CONFIG_TYPE_URL,
            Self::Object(kind) => kind.type_url(),
        }
    }

    /// What the encoded resource itself is called; differs from [`Self::type_url`] for Istio objects.
    #[must_use]
    pub const fn body_type_url(self) -> &'static str {
        match self {
            Self::Address => ADDRESS_TYPE_URL,
            Self::Authorization => AUTHORIZATION_TYPE_URL,
            Self::MeshConfig => MESH_CONFIG_BODY_TYPE_URL,
            Self::Object(_) => ENVELOPE_TYPE_URL,
        }
    }

    /// The type that a stream calls by this URL.
    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::all().find(|kind| kind.type_url() == url)
    }

    /// True for types whose objects may come in an envelope of metadata that says nothing of use.
    #[must_use]
    pub fn may_be_enveloped(self, body_type_url: &str) -> bool {
        self == Self::MeshConfig && body_type_url == ENVELOPE_TYPE_URL
    }

    /// A short name for logs, metrics and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Authorization => "authorization",
            Self::MeshConfig => "mesh_config",
            Self::Object(kind) => kind.label(),
        }
    }

    /// A table with one entry per type.
    #[must_use]
    pub fn in_table<T>(mut entry: impl FnMut(Self) -> T) -> [T; Self::COUNT] {
        std::array::from_fn(|index| entry(Self::at(index)))
    }

    /// The type at a position in such a table.
    const fn at(index: usize) -> Self {
        match index {
            0 => Self::Address,
            1 => Self::Authorization,
            2 => Self::MeshConfig,
            _ => Self::Object(ObjectKind::ALL[index - 3]),
        }
    }

    /// Position in such a table.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Address => 0,
            Self::Authorization => 1,
            Self::MeshConfig => 2,
            Self::Object(kind) => 3 + kind.index(),
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One encoded resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Changes whenever the body does; opaque.
    pub version: Arc<str>,
    /// The protobuf message of [`ResourceType::body_type_url`].
    pub body: Bytes,
}

impl Resource {
    /// A resource whose version is made from its content, as istiod makes it: xxhash64 in unpadded hex.
    #[must_use]
    pub fn hashed(body: Bytes) -> Self {
        Self { version: format!("{:x}", xxh64(&body, 0)).into(), body }
    }
}

/// Every resource of every type, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceSet {
    by_type: [BTreeMap<Arc<str>, Resource>; ResourceType::COUNT],
}

impl ResourceSet {
    #[must_use]
    pub fn of(&self, kind: ResourceType) -> &BTreeMap<Arc<str>, Resource> {
        &self.by_type[kind.index()]
    }

    pub fn of_mut(&mut self, kind: ResourceType) -> &mut BTreeMap<Arc<str>, Resource> {
        &mut self.by_type[kind.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_what_the_wire_calls_it() {
        for kind in ResourceType::all() {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
        }
        let table = ResourceType::in_table(|kind| kind);
        assert!(
            ResourceType::all().all(|kind| table[kind.index()] == kind) && ResourceType::all().count() == table.len()
        );
        assert_eq!(ResourceType::from_type_url(MESH_CONFIG_BODY_TYPE_URL), None);
    }

    #[test]
    fn a_version_is_made_from_the_content() {
        assert_eq!(&*Resource::hashed(Bytes::new()).version, "ef46db3751d8e999");
    }
}
