//! The mesh: workloads, services and policies, indexed for the questions the proxy asks.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::OriginalDst;
use super::authorization::{AccessRequest, Authorization, Denied, Permit};
use super::identity::TrustDomain;
use super::resolve::{OutboundTrafficPolicy, Unresolved, Upstream};
use super::service::{Service, ServiceKey};
use super::workload::Workload;

/// One change of the mesh. Updates of one batch may come in any order; each costs what it touches, never the whole.
#[derive(Debug, Clone)]
pub enum MeshUpdate {
    Workload(Box<Workload>),
    Service(Box<Service>),
    /// A workload's uid or a service's `namespace/hostname`: removals name no kind.
    RemoveAddress(Arc<str>),
    Authorization(Box<Authorization>),
    /// `namespace/name`.
    RemoveAuthorization(Arc<str>),
    Settings(MeshSettings),
}

/// What MeshConfig says about the whole mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    pub trust_domain: TrustDomain,
    pub trust_domain_aliases: Vec<TrustDomain>,
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    pub root_namespace: Arc<str>,
}

/// What policy says about one connection, and what dry-run policies would have said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub outcome: Result<Permit, Denied>,
    /// Dry-run DENY policies that match, and `true` in the second place if enforced dry-run ALLOWs would have refused.
    pub dry_run: DryRun,
}

/// The opinion of policies with `istio.io/dry-run`; it decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DryRun {
    /// DENY policies that match.
    pub would_deny: Vec<Arc<str>>,
    /// ALLOW policies that match.
    pub would_allow: Vec<Arc<str>>,
    /// There are dry-run ALLOW policies and none of them matches.
    pub no_allow_matched: bool,
}

/// All that is known about the mesh.
#[derive(Debug, Default)]
pub struct Mesh {}

impl Mesh {
    /// Applies one change.
    pub fn apply(&mut self, _update: MeshUpdate) {
        unimplemented!()
    }

    pub fn settings(&self) -> &MeshSettings {
        unimplemented!()
    }

    pub fn workload(&self, _uid: &str) -> Option<&Arc<Workload>> {
        unimplemented!()
    }

    /// The workload that owns an address. Host-network workloads share their node's address: where several workloads
    /// match, one that has the address for itself wins, and a host-network one is only returned when it is alone.
    pub fn workload_by_address(&self, _network: &str, _ip: IpAddr) -> Option<&Arc<Workload>> {
        unimplemented!()
    }

    /// The workload of an enrolled pod: the one with this namespace, and this name or service account, that has one of
    /// these addresses. An address alone never decides (a pod's IP may have belonged to another pod a moment ago).
    pub fn workload_of_pod(&self, _network: &str, _namespace: &str, _name: &str, _addresses: &[IpAddr]) -> Option<&Arc<Workload>> {
        unimplemented!()
    }

    pub fn service(&self, _key: &ServiceKey) -> Option<&Arc<Service>> {
        unimplemented!()
    }

    /// The service with this virtual address, as seen from a namespace (visibility, canonical): exact address first,
    /// then the longest block.
    pub fn service_by_vip(&self, _network: &str, _ip: IpAddr, _from_namespace: &str) -> Option<&Arc<Service>> {
        unimplemented!()
    }

    /// The service with this hostname as seen from a namespace: its own namespace's first, then the canonical one.
    pub fn service_by_hostname(&self, _hostname: &str, _from_namespace: &str) -> Option<&Arc<Service>> {
        unimplemented!()
    }

    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        std::iter::empty()
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        std::iter::empty()
    }

    pub fn authorizations(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        std::iter::empty()
    }

    /// The workloads that are endpoints of a service.
    pub fn endpoints(&self, _service: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        std::iter::empty()
    }

    /// Decides whether a connection may reach a workload of this node.
    pub fn authorize(&self, _destination: &Workload, _request: &AccessRequest) -> Decision {
        unimplemented!()
    }

    /// Decides where an outbound connection of an enrolled pod goes.
    ///
    /// # Errors
    /// When it may go nowhere; the connection is then refused.
    pub fn resolve(&self, _source: &Workload, _destination: OriginalDst) -> Result<Upstream, Unresolved> {
        unimplemented!()
    }
}
