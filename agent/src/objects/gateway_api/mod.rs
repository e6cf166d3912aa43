//! The kinds of `gateway.networking.k8s.io`.

pub(super) mod gateway;

pub use gateway::{AllowedNamespaces, Gateway, WaypointAddress};
