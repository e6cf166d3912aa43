//! One translation as a whole: all objects in, all resources of the workload API out.
//!
//! Where Weir differs from istiod 1.31, because istiod fails open or does what no author of an object can have meant:
//! - `source.trustDomains` and `notTrustDomains` of an AuthorizationPolicy are enforced, as prefixes of principals; istiod
//!   drops them, which widens an ALLOW. A leading star in them cannot be enforced and is an error.
//! - A policy with `selector: {}` stands for its whole namespace, as it does with sidecars; istiod's has no effect.
//! - A workload without labels lists no selector policy; istiod's lists them all, of which an ALLOW may open it.
//! - The labels that select policies for an endpoint of a ServiceEntry include the endpoint's own; istiod's do not.
//! - In the L4 form of a DENY policy a rule whose source, operation or condition needs HTTP denies whatever the rest of the rule
//!   matches; istiod's is a no-op where a part is left with nothing. That of a CUSTOM policy is such a DENY; istiod's is
//!   dropped. Agents are also sent the policy itself, and enforce that.
//! - An `istio.io/dry-run` annotation that is no boolean is an error; istiod enforces the policy. A dry-run policy is sent
//!   as such; istiod drops it unless configured otherwise.
//! - PeerAuthentication: the policy a workload lists always exists. istiod lists ones it never makes, where the mesh is
//!   STRICT, the namespace is UNSET or absent, and ports differ. A port that is DISABLE is an exception from STRICT just
//!   as PERMISSIVE is.
//! - A policy that is not valid denies its scope until it is (`objects::Objects::update` keeps its last valid version).
//! - The root namespace always belongs to the mesh, whatever discoverySelectors select.
//! - Ports of UDP and SCTP are left out. The workload API does not say which protocol a port is of, so in istiod's resources a
//!   UDP port of the same number stands beside the TCP port, and looks like it.
//! - ServiceEntries of one namespace with one host are merged, as Istio's sidecars have it: the oldest owns the host, younger
//!   ones add the ports that it does not have. istiod sends nothing of the younger ones.
//! - `sessionAffinity: ClientIP` of a Service is sent, as an extension; istiod does not read it.
//! - Labels of workloads that DestinationRules ask for are sent, as an extension; istiod sends version and app only.
//! - An endpoint's `network` counts for that endpoint alone; istiod's counts for those after it too.
//!
//! Weir's own readings, where istiod has none: the label `kubernetes.io/hostname` on a WorkloadEntry or endpoint is the node
//! it is on; the annotation `weir.dev/addresses` lists all addresses of a WorkloadEntry; objects without a creation time
//! are younger than those with one and rank by file, document and name (`objects::Object::age`); a waypoint's addresses
//! are those its Gateway asks for where its status has none.
//!
//! Not translated: WorkloadGroup, network gateways, canary waypoints, policies for waypoints.

use std::collections::BTreeMap;

use super::context::{Context, Options};
use super::labels::AskedLabels;
use super::policies::{Policies, TranslatedPolicies};
use super::vips::VipAllocations;
use super::workload::Workloads;
use super::{fields, kubernetes_service, service};
use crate::objects::{
    EntryVisibility, HttpObject, Kind, MeshConfig, Object, Objects, PARENT_HOSTS, ParentHosts, ServiceEntry,
    WrittenHttpObject, protobuf,
};
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::security::Authorization;
use crate::proto::istio::workload::{Address, Service, Workload, address};
use crate::resources::ObjectKind;

/// The workload API's view of the objects, by resource name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resources {
    pub addresses: BTreeMap<String, Address>,
    pub authorizations: BTreeMap<String, Authorization>,
    /// Objects about requests, and policies that say more than their L4 form, as they were written, by kind and name.
    pub objects: BTreeMap<(ObjectKind, String), mcp::Resource>,
    pub mesh_config: MeshConfig,
    /// Objects, and parts of them, that have no effect, for the log.
    pub notices: Vec<String>,
}

/// Translates all objects. `vips` must be what the last translation left, from disk after a restart, and must be kept.
pub fn translate(objects: &Objects, options: &Options, vips: &mut VipAllocations) -> Resources {
    let context = Context::new(objects, options);
    let (policies, TranslatedPolicies { authorizations, objects: policy_objects }) = Policies::new(&context);
    let addresses = addresses(&context, &policies, &AskedLabels::of(&context), vips);
    let mut objects = http_objects(&context);
    let policy_objects = policy_objects.into_iter();
    objects.extend(policy_objects.map(|(name, object)| ((ObjectKind::AuthorizationPolicy, name), object)));
    let mesh_config = context.mesh.clone();
    Resources { addresses, authorizations, objects, mesh_config, notices: context.into_notices() }
}

/// Objects about requests reach agents as they are: which of them count depends on who asks. A route that is attached to a
/// ServiceEntry comes with the hosts of that.
fn http_objects(context: &Context<'_>) -> BTreeMap<(ObjectKind, String), mcp::Resource> {
    let ours = context.objects.http_objects().filter(|(_, object)| context.is_ours(object.metadata));
    let mut hosts = ParentHosts::default();
    for entry in context.objects.service_entries().filter(|object| context.is_ours(object.metadata)) {
        hosts.add(&entry.metadata.namespace, &entry.metadata.name, entry.spec.hosts.iter().map(String::as_str));
    }
    let one = |(kind, object): (Kind, Object<'_, WrittenHttpObject>)| {
        let name = format!("{}/{}", object.metadata.namespace, object.metadata.name);
        let mut envelope = protobuf::http_envelope(kind, object);
        if let HttpObject::HttpRoute(route) | HttpObject::GrpcRoute(route) = &object.spec.object {
            let annotations = &mut envelope.metadata.get_or_insert_default().annotations;
            annotations.remove(PARENT_HOSTS);
            annotations.extend(hosts.annotation(route).map(|text| (PARENT_HOSTS.to_owned(), text)));
        }
        Some(((kind.object_kind()?, name), envelope))
    };
    ours.filter_map(one).collect()
}

fn addresses(
    context: &Context<'_>,
    policies: &Policies,
    asked_labels: &AskedLabels,
    vips: &mut VipAllocations,
) -> BTreeMap<String, Address> {
    let mut entries: Vec<Object<'_, ServiceEntry>> =
        context.objects.service_entries().filter(|object| context.is_ours(object.metadata)).collect();
    entries.sort_by_key(Object::age);
    entries.retain(|object| context.visibility(&object.metadata.namespace) != EntryVisibility::None);
    let (host_vips, without_vip) = vips.allocate(&entries);
    without_vip.into_iter().for_each(|notice| context.note(notice));

    let mut found = BTreeMap::new();
    let kubernetes = kubernetes_service::hosts(context);
    let (hosts, by_namespace, joined) = Default::default();
    let mut workloads = Workloads { context, hosts, kubernetes: by_namespace, joined, policies, asked_labels };
    for host in &kubernetes {
        add_service(&mut found, kubernetes_service::service(context, host));
        workloads.kubernetes.entry(&host.object.metadata.namespace).or_default().push(host);
    }
    for host in service::hosts(context, &entries, &kubernetes) {
        let metadata = host.object.metadata;
        add_host(&mut found, service::service(context, &host_vips, &host));
        workloads.hosts.entry((&metadata.namespace, &metadata.name)).or_default().push(host);
    }
    let slices: Vec<_> = context.objects.endpoint_slices().filter(|object| context.is_ours(object.metadata)).collect();
    workloads.joined = workloads.joined_pods(&slices);
    let pods = context.objects.pods().filter(|object| context.is_ours(object.metadata));
    let entry_workloads = context.objects.workload_entries().filter(|object| context.is_ours(object.metadata));
    let endpoints = entries.iter().flat_map(|object| workloads.of_service_entry(*object));
    let all = pods
        .filter_map(|object| workloads.of_pod(object))
        .chain(entry_workloads.map(|object| workloads.of_workload_entry(object)))
        .chain(endpoints)
        .chain(slices.iter().flat_map(|object| workloads.of_endpoint_slice(*object)));
    for workload in all {
        add_workload(context, &mut found, workload);
    }
    found
}

fn add_service(found: &mut BTreeMap<String, Address>, service: Service) {
    let name = fields::service_key(&service.namespace, &service.hostname);
    found.insert(name, Address { r#type: Some(address::Type::Service(service)) });
}

/// Only hosts of one namespace that are to be merged have one name.
fn add_host(found: &mut BTreeMap<String, Address>, service: Service) {
    match found.get_mut(&fields::service_key(&service.namespace, &service.hostname)) {
        Some(Address { r#type: Some(address::Type::Service(owner)) }) => service::add(owner, service),
        _ => add_service(found, service),
    }
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
