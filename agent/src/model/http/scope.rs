//! What the pods of a namespace know of the mesh: Istio's `Sidecar` objects.

use std::sync::Arc;

use super::visibility::HostPattern;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::peer_authentication::Labels;

/// A `Sidecar`, as far as outbound traffic goes.
#[derive(Debug, Clone, PartialEq)]
pub struct SidecarScope {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Empty: all pods of the namespace.
    pub selector: Labels,
    /// Empty: everything that is exported.
    pub imports: Vec<Import>,
    /// Only where the object has the block.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// One host of an egress listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub namespace: ImportedNamespace,
    pub host: HostPattern,
    /// Of an egress listener with a port: only that port of the services.
    pub port: Option<u16>,
    /// `~namespace/host`: what it names is not imported, whatever else says so.
    pub excludes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportedNamespace {
    Any,
    /// The namespace of the pod that asks, also in an object of the root namespace.
    Own,
    Named(Arc<str>),
}
