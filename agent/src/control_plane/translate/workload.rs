//! WorkloadEntry and the endpoints of ServiceEntries to workloads.

use std::collections::BTreeMap;

use super::context::{Context, selects};
use super::names;
use super::policies::Policies;
use super::service::{Host, octets};
use crate::objects::{Labels, Metadata, Object, ServiceEntry, WorkloadAddress, WorkloadEntry};
use crate::proto::istio::workload::{Locality, Port, PortList, TunnelProtocol, Workload, WorkloadType};

/// Kubernetes' label for the node something is on.
const NODE_LABEL: &str = "kubernetes.io/hostname";
const TUNNEL_LABEL: &str = "networking.istio.io/tunnel";
const REDIRECTION_ANNOTATION: &str = "ambient.istio.io/redirection";
/// The trust domain that goes without saying.
const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// What workloads are made from.
#[derive(Debug)]
pub(super) struct Workloads<'a> {
    pub(super) context: &'a Context<'a>,
    /// Hosts in force, by namespace and name of their ServiceEntry.
    pub(super) hosts: BTreeMap<(&'a str, &'a str), Vec<Host<'a>>>,
    pub(super) policies: &'a Policies,
}

impl Workloads<'_> {
    /// The workload of a WorkloadEntry.
    pub(super) fn of_workload_entry(&self, object: Object<'_, WorkloadEntry>) -> Workload {
        let (metadata, spec) = (object.metadata, object.spec);
        let mut labels = spec.labels.clone();
        labels.extend(metadata.labels.clone());
        let workload_name = names::workload_entry_workload_name(&metadata.annotations, &labels, &metadata.name);
        let mut workload = Workload {
            name: metadata.name.clone(),
            uid: names::workload_entry_uid(self.context.options, &metadata.namespace, &metadata.name),
            node: node(&labels),
            services: self.selected_services(&metadata.namespace, &labels, spec),
            authorization_policies: self.policies.of_workload(&metadata.namespace, &labels),
            ..self.common(metadata, spec, &labels, workload_name)
        };
        set_tunnel(&mut workload, metadata, &labels);
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
            return hosts
                .iter()
                .map(|host| self.endpoint(object, &by_name(host), std::slice::from_ref(host)))
                .collect();
        }
        spec.endpoints.iter().map(|endpoint| self.endpoint(object, endpoint, hosts)).collect()
    }

    fn endpoint(&self, object: Object<'_, ServiceEntry>, endpoint: &WorkloadEntry, hosts: &[Host<'_>]) -> Workload {
        let metadata = object.metadata;
        let mut labels = metadata.labels.clone();
        labels.extend(endpoint.labels.clone());
        let mut workload = Workload {
            name: metadata.name.clone(),
            uid: names::endpoint_uid(
                self.context.options,
                &metadata.namespace,
                &metadata.name,
                endpoint.address.written(),
            ),
            node: node(&endpoint.labels),
            services: hosts.iter().map(|host| service_ports(host, endpoint)).collect(),
            authorization_policies: self.policies.of_workload(&metadata.namespace, &labels),
            ..self.common(metadata, endpoint, &metadata.labels, &metadata.name)
        };
        set_tunnel(&mut workload, metadata, &metadata.labels);
        workload
    }

    /// The fields that both sorts of workloads take from the same places.
    fn common(&self, metadata: &Metadata, spec: &WorkloadEntry, labels: &Labels, workload_name: &str) -> Workload {
        let trust_domain = Some(&self.context.mesh.trust_domain).filter(|domain| *domain != DEFAULT_TRUST_DOMAIN);
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
            trust_domain: trust_domain.cloned().unwrap_or_default(),
            service_account: spec.service_account.clone(),
            canonical_name: names::canonical_name(labels, workload_name),
            canonical_revision: names::canonical_revision(labels),
            workload_type: WorkloadType::Pod.into(),
            workload_name: workload_name.to_owned(),
            cluster_id: self.context.options.cluster_id.clone(),
            locality: locality(&spec.locality),
            capacity: (spec.weight > 0).then_some(spec.weight),
            ..Workload::default()
        }
    }

    /// The services of a namespace whose selector is contained in a workload's labels.
    fn selected_services(&self, namespace: &str, labels: &Labels, spec: &WorkloadEntry) -> BTreeMap<String, PortList> {
        let of_namespace = self.hosts.range((namespace, "")..).take_while(|((found, _), _)| *found == namespace);
        let selecting = of_namespace.flat_map(|(_, hosts)| hosts).filter(|host| {
            host.object.spec.workload_selector.as_ref().is_some_and(|selector| selects(selector, labels))
        });
        selecting.map(|host| service_ports(host, spec)).collect()
    }
}

/// The service of a host, and the ports a workload serves it on: its own port of that name, else the service's target.
fn service_ports(host: &Host<'_>, workload: &WorkloadEntry) -> (String, PortList) {
    let ports = host.object.spec.ports.iter().map(|port| Port {
        service_port: port.number.into(),
        target_port: workload.ports.get(&port.name).copied().or(port.target_port).unwrap_or(port.number).into(),
        ..Port::default()
    });
    let key = names::service_key(&host.object.metadata.namespace, host.name);
    (key, PortList { ports: ports.collect() })
}

fn node(labels: &Labels) -> String {
    labels.get(NODE_LABEL).cloned().unwrap_or_default()
}

/// A workload is reached by HBONE if its node captures it, or if it terminates HBONE itself.
fn set_tunnel(workload: &mut Workload, metadata: &Metadata, labels: &Labels) {
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
