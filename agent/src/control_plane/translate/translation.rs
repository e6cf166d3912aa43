//! One translation as a whole: all objects in, all resources of the workload API out.

use std::collections::BTreeMap;

use super::context::{Context, Options};
use super::policies::Policies;
use super::vips::VipAllocations;
use super::workload::Workloads;
use super::{kubernetes_service, names, service};
use crate::objects::{EntryVisibility, MeshConfig, Object, Objects, ServiceEntry};
use crate::proto::istio::security::Authorization;
use crate::proto::istio::workload::{Address, Service, Workload, address};

/// The workload API's view of the objects, by resource name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resources {
    pub addresses: BTreeMap<String, Address>,
    pub authorizations: BTreeMap<String, Authorization>,
    pub mesh_config: MeshConfig,
    /// Objects, and parts of them, that have no effect, for the log.
    pub notices: Vec<String>,
}

/// Translates all objects. `vips` must be what the last translation left, from disk after a restart, and must be kept.
pub fn translate(objects: &Objects, options: &Options, vips: &mut VipAllocations) -> Resources {
    let context = Context::new(objects, options);
    let (policies, authorizations) = Policies::new(&context);
    let addresses = addresses(&context, &policies, vips);
    let mesh_config = context.mesh.clone();
    Resources { addresses, authorizations, mesh_config, notices: context.into_notices() }
}

fn addresses(context: &Context<'_>, policies: &Policies, vips: &mut VipAllocations) -> BTreeMap<String, Address> {
    let mut entries: Vec<Object<'_, ServiceEntry>> =
        context.objects.service_entries().filter(|object| context.is_ours(object.metadata)).collect();
    entries.sort_by_key(Object::age);
    entries.retain(|object| context.visibility(&object.metadata.namespace) != EntryVisibility::None);
    let (host_vips, without_vip) = vips.allocate(&entries);
    without_vip.into_iter().for_each(|notice| context.note(notice));

    let mut found = BTreeMap::new();
    let kubernetes = kubernetes_service::hosts(context);
    let mut workloads = Workloads { context, hosts: BTreeMap::new(), kubernetes: BTreeMap::new(), policies };
    for host in &kubernetes {
        add_service(&mut found, kubernetes_service::service(context, host));
        workloads.kubernetes.entry(&host.object.metadata.namespace).or_default().push(host);
    }
    for host in service::hosts(context, &entries, &kubernetes) {
        let metadata = host.object.metadata;
        add_service(&mut found, service::service(context, &host_vips, &host));
        workloads.hosts.entry((&metadata.namespace, &metadata.name)).or_default().push(host);
    }
    let pods = context.objects.pods().filter(|object| context.is_ours(object.metadata));
    let entry_workloads = context.objects.workload_entries().filter(|object| context.is_ours(object.metadata));
    let endpoints = entries.iter().flat_map(|object| workloads.of_service_entry(*object));
    let all = pods
        .filter_map(|object| workloads.of_pod(object))
        .chain(entry_workloads.map(|object| workloads.of_workload_entry(object)))
        .chain(endpoints);
    for workload in all {
        add_workload(context, &mut found, workload);
    }
    found
}

fn add_service(found: &mut BTreeMap<String, Address>, service: Service) {
    let name = names::service_key(&service.namespace, &service.hostname);
    found.insert(name, Address { r#type: Some(address::Type::Service(service)) });
}

/// Two endpoints of one ServiceEntry with the same address have the same uid: the first one counts.
fn add_workload(context: &Context<'_>, found: &mut BTreeMap<String, Address>, workload: Workload) {
    let uid = workload.uid.clone();
    if found.contains_key(&uid) {
        context.note(format!("{uid}: two endpoints have the same address: the second is left out"));
        return;
    }
    found.insert(uid, Address { r#type: Some(address::Type::Workload(workload)) });
}
