//! WorkloadEntry and the endpoints of ServiceEntries to workloads.

use std::collections::BTreeMap;

use super::context::{Context, selects};
use super::fields;
use super::fields::octets;
use super::kubernetes_service::{JoinedPods, KubernetesHost};
use super::labels::AskedLabels;
use super::policies::Policies;
use super::service::Host;
use super::waypoint::{self, Traffic};
use crate::model::identity::DEFAULT_TRUST_DOMAIN;
use crate::model::naming;
use crate::model::workload::TERMINATING_EXTENSION;
use crate::objects::{
    EntryVisibility, KubernetesPort, Labels, Metadata, Object, ServiceEntry, ServiceEntryPort, TargetPort,
    WorkloadAddress, WorkloadEntry,
};
use crate::proto::istio::workload::{
    Extension, Locality, Port, PortList, TunnelProtocol, Workload, WorkloadStatus, WorkloadType,
};

/// Kubernetes' label for the node something is on.
const NODE_LABEL: &str = "kubernetes.io/hostname";
const TUNNEL_LABEL: &str = "networking.istio.io/tunnel";
const REDIRECTION_ANNOTATION: &str = "ambient.istio.io/redirection";

/// What workloads are made from.
#[derive(Debug)]
pub(super) struct Workloads<'a> {
    pub(super) context: &'a Context<'a>,
    /// Hosts in force, by namespace and name of their ServiceEntry.
    pub(super) hosts: BTreeMap<(&'a str, &'a str), Vec<Host<'a>>>,
    /// Kubernetes Services, by namespace.
    pub(super) kubernetes: BTreeMap<&'a str, Vec<&'a KubernetesHost<'a>>>,
    /// Services that Pods serve because an EndpointSlice says so.
    pub(super) joined: JoinedPods<'a>,
    pub(super) policies: &'a Policies,
    pub(super) asked_labels: &'a AskedLabels,
}

impl Workloads<'_> {
    /// The workload of a WorkloadEntry.
    pub(super) fn of_workload_entry(&self, object: Object<'_, WorkloadEntry>) -> Workload {
        let (metadata, spec) = (object.metadata, object.spec);
        let mut labels = spec.labels.clone();
        labels.extend(metadata.labels.clone());
        let workload_name = fields::workload_entry_workload_name(&metadata.annotations, &labels, &metadata.name);
        let mut workload = Workload {
            name: metadata.name.clone(),
            uid: fields::workload_entry_uid(self.context.options, &metadata.namespace, &metadata.name),
            node: node(&labels),
            services: self.selected_services(
                &metadata.namespace,
                &labels,
                |port| spec.ports.get(&port.name).copied(),
                |port| kubernetes_target(spec, port),
            ),
            waypoint: waypoint::waypoint(
                self.context,
                metadata,
                &metadata.labels,
                Traffic::Workload,
                EntryVisibility::Public,
            ),
            authorization_policies: self.policies.of_workload(&metadata.namespace, &labels),
            ..self.common(metadata, spec, &labels, workload_name)
        };
        set_tunnel(&mut workload, metadata, &labels);
        self.asked_labels.add_to(&mut workload, &labels);
        workload
    }

    /// The workloads of a ServiceEntry: one per endpoint or, without any and found by DNS, one per host in force.
    pub(super) fn of_service_entry(&self, object: Object<'_, ServiceEntry>) -> Vec<Workload> {
        let key = (object.metadata.namespace.as_str(), object.metadata.name.as_str());
        // A ServiceEntry that lost all its hosts has no endpoints either.
        let Some(hosts) = self.hosts.get(&key) else { return Vec::new() };
        let spec = object.spec;
        if spec.endpoints.is_empty() && spec.workload_selector.is_none() && spec.resolution.is_dns() {
            let by_name = |host: &Host<'_>| WorkloadEntry {
                address: WorkloadAddress::Name(host.name.to_owned()),
                ..WorkloadEntry::default()
            };
            // A wildcard is no name that DNS knows: agents look up the host of each request (`resolution: DYNAMIC_DNS`).
            return hosts
                .iter()
                .filter(|host| !host.name.starts_with('*'))
                .map(|host| self.endpoint(object, &by_name(host), std::slice::from_ref(host)))
                .collect();
        }
        spec.endpoints.iter().map(|endpoint| self.endpoint_with_waypoint(object, endpoint, hosts)).collect()
    }

    /// Endpoints that are written down may have a waypoint of their own.
    fn endpoint_with_waypoint(
        &self,
        object: Object<'_, ServiceEntry>,
        endpoint: &WorkloadEntry,
        hosts: &[Host<'_>],
    ) -> Workload {
        let visibility = hosts.first().map_or(EntryVisibility::Public, |host| host.visibility);
        let traffic = Traffic::Workload;
        let waypoint = waypoint::waypoint(self.context, object.metadata, &endpoint.labels, traffic, visibility);
        Workload { waypoint, ..self.endpoint(object, endpoint, hosts) }
    }

    fn endpoint(&self, object: Object<'_, ServiceEntry>, endpoint: &WorkloadEntry, hosts: &[Host<'_>]) -> Workload {
        let metadata = object.metadata;
        let mut labels = metadata.labels.clone();
        labels.extend(endpoint.labels.clone());
        let mut workload = Workload {
            name: metadata.name.clone(),
            uid: fields::endpoint_uid(
                self.context.options,
                &metadata.namespace,
                &metadata.name,
                endpoint.address.written(),
            ),
            node: node(&endpoint.labels),
            services: hosts
                .iter()
                .map(|host| service_ports(host, |port| endpoint.ports.get(&port.name).copied()))
                .collect(),
            authorization_policies: self.policies.of_workload(&metadata.namespace, &labels),
            ..self.common(metadata, endpoint, &metadata.labels, &metadata.name)
        };
        set_tunnel(&mut workload, metadata, &metadata.labels);
        self.asked_labels.add_to(&mut workload, &endpoint.labels);
        workload
    }

    /// The fields that both sorts of workloads take from the same places.
    fn common(&self, metadata: &Metadata, spec: &WorkloadEntry, labels: &Labels, workload_name: &str) -> Workload {
        let network = if spec.network.is_empty() { &self.context.options.network } else { &spec.network };
        let (addresses, hostname) = match &spec.address {
            WorkloadAddress::None => (Vec::new(), String::new()),
            WorkloadAddress::Ips { addresses, .. } => {
                (addresses.iter().map(|ip| octets(*ip).into()).collect(), String::new())
            }
            WorkloadAddress::Name(name) => (Vec::new(), name.clone()),
        };
        Workload {
            namespace: metadata.namespace.clone(),
            addresses,
            hostname,
            network: network.clone(),
            trust_domain: trust_domain(self.context),
            service_account: spec.service_account.clone(),
            canonical_name: naming::canonical_name(labels, workload_name).to_owned(),
            canonical_revision: naming::canonical_revision(labels).to_owned(),
            workload_type: WorkloadType::Pod.into(),
            workload_name: workload_name.to_owned(),
            cluster_id: self.context.options.cluster_id.clone(),
            locality: locality(&spec.locality),
            capacity: (spec.weight > 0).then_some(spec.weight),
            ..Workload::default()
        }
    }

    /// The services of a namespace whose selector is contained in a workload's labels. `own` is the workload's port for a
    /// port of a ServiceEntry, if it has one of its own; `target` its port for one of a Kubernetes Service, if it has any.
    pub(super) fn selected_services(
        &self,
        namespace: &str,
        labels: &Labels,
        own: impl Fn(&ServiceEntryPort) -> Option<u16>,
        target: impl Fn(&KubernetesPort) -> Option<u16>,
    ) -> BTreeMap<String, PortList> {
        let of_namespace = self.hosts.range((namespace, "")..).take_while(|((found, _), _)| *found == namespace);
        let entries = of_namespace.flat_map(|(_, hosts)| hosts).filter(|host| {
            host.object.spec.workload_selector.as_ref().is_some_and(|selector| selects(selector, labels))
        });
        let services = self.kubernetes.get(namespace).into_iter().flatten();
        let services = services.filter(|host| selects(&host.object.spec.selector, labels)).map(|host| {
            let port = |port: &KubernetesPort| Some(mapping(port.number, target(port)?));
            let ports = host.object.spec.ports.iter().filter(|port| port.is_tcp).filter_map(port).collect();
            (fields::service_key(namespace, &host.hostname), PortList { ports })
        });
        let mut found = BTreeMap::<String, PortList>::new();
        // Several ServiceEntries may have ports of one host.
        for (key, list) in entries.map(|host| service_ports(host, &own)).chain(services) {
            found.entry(key).or_default().ports.extend(list.ports);
        }
        found
    }
}

/// A workload's port for one of a Kubernetes Service: the one of its own with the target's name, and none without that;
/// for a target that is a number, the one with the port's name, else the number.
fn kubernetes_target(spec: &WorkloadEntry, port: &KubernetesPort) -> Option<u16> {
    match &port.target {
        TargetPort::Name(name) => spec.ports.get(name).copied(),
        TargetPort::Number(number) => Some(spec.ports.get(&port.name).copied().unwrap_or(*number)),
    }
}

pub(super) fn mapping(service_port: u16, target_port: u16) -> Port {
    Port { service_port: service_port.into(), target_port: target_port.into(), ..Port::default() }
}

/// The service of a host, and the ports a workload serves it on: its own, else the service's target.
fn service_ports(host: &Host<'_>, own: impl Fn(&ServiceEntryPort) -> Option<u16>) -> (String, PortList) {
    let target = |port: &ServiceEntryPort| own(port).or(port.target_port).unwrap_or(port.number);
    let ports = host.ports.iter().map(|port| mapping(port.number, target(port))).collect();
    (fields::service_key(&host.object.metadata.namespace, host.name), PortList { ports })
}

/// The health of a workload, and what the workload API has no word for: one that is not ready any more, because it terminates,
/// may serve still.
pub(super) fn health(is_ready: bool, serves_while_terminating: bool) -> (WorkloadStatus, Vec<Extension>) {
    if is_ready {
        return (WorkloadStatus::Healthy, Vec::new());
    }
    let extension = || Extension { name: TERMINATING_EXTENSION.to_owned(), config: None };
    (WorkloadStatus::Unhealthy, serves_while_terminating.then(extension).into_iter().collect())
}

/// Left out where it is the default.
pub(super) fn trust_domain(context: &Context<'_>) -> String {
    Some(context.mesh.trust_domain()).filter(|domain| *domain != DEFAULT_TRUST_DOMAIN).unwrap_or_default().to_owned()
}

fn node(labels: &Labels) -> String {
    labels.get(NODE_LABEL).cloned().unwrap_or_default()
}

/// A workload is reached by HBONE if its node captures it, or if it terminates HBONE itself.
pub(super) fn set_tunnel(workload: &mut Workload, metadata: &Metadata, labels: &Labels) {
    let tunnels = labels.get(TUNNEL_LABEL).map(String::as_str).unwrap_or_default();
    workload.native_tunnel = tunnels.split(',').any(|tunnel| tunnel == "http");
    let captured = metadata.annotations.get(REDIRECTION_ANNOTATION).is_some_and(|value| value == "enabled");
    if captured || workload.native_tunnel {
        workload.tunnel_protocol = TunnelProtocol::Hbone.into();
    }
}

fn locality(text: &str) -> Option<Locality> {
    let mut parts = text.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let locality = Locality { region: next(), zone: next(), subzone: next() };
    (locality != Locality::default()).then_some(locality)
}
