//! Which service or workload an address means, most specific first: a virtual address, a workload's own address, a block of
//! virtual addresses.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::mesh::{Mesh, VipKind};
use crate::model::service::Service;
use crate::model::workload::Workload;

/// What an address means to a source.
#[derive(Debug, Clone, Copy)]
pub(super) enum Destination<'a> {
    Service(&'a Arc<Service>),
    Workload(&'a Arc<Workload>),
    /// The mesh does not know the address.
    Unknown,
}

impl<'a> Destination<'a> {
    /// Looks an address up as it is seen from the source's network and namespace.
    pub(super) fn of(mesh: &'a Mesh, source: &Workload, ip: IpAddr) -> Self {
        let service = |kind| mesh.service_by_vip(&source.network, ip, &source.namespace, kind).map(Self::Service);
        let workload = || mesh.owner_of(&source.network, ip).map(Self::Workload);
        let found = service(VipKind::Single).or_else(workload).or_else(|| service(VipKind::Block));
        found.unwrap_or(Self::Unknown)
    }
}
