//! EndpointSlices to endpoints of Services without a selector: a workload for each address that is no Pod's, and further services
//! for Pods.
//!
//! istiod gives these workloads no identity and no policies, and takes them for parts of a node's network. So does this.

use super::fields::{self, octets};
use super::kubernetes_service::{Joined, JoinedPods, KubernetesHost};
use super::workload::{Workloads, health, mapping, trust_domain};
use crate::objects::{EndpointSlice, KubernetesPort, Metadata, Object, SERVICE_NAME_LABEL};
use crate::proto::istio::workload::{NetworkMode, PortList, Workload};

impl<'a> Workloads<'a> {
    /// The workloads of a slice, one per endpoint that is no Pod.
    pub(super) fn of_endpoint_slice(&self, object: Object<'_, EndpointSlice>) -> Vec<Workload> {
        let Some(host) = self.host_of(object.metadata) else { return Vec::new() };
        let mut found = Vec::new();
        for endpoint in object.spec.endpoints.iter().filter(|endpoint| endpoint.pod.is_none()) {
            let Some(address) = endpoint.addresses.first() else { continue };
            let metadata = object.metadata;
            let options = self.context.options;
            let (status, extensions) = health(endpoint.ready, endpoint.serving && endpoint.terminating);
            found.push(Workload {
                uid: fields::slice_endpoint_uid(options, &metadata.namespace, &metadata.name, &address.to_string()),
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                addresses: vec![octets(*address).into()],
                network: options.network.clone(),
                network_mode: NetworkMode::HostNetwork.into(),
                trust_domain: trust_domain(self.context),
                cluster_id: options.cluster_id.clone(),
                status: status.into(),
                extensions,
                services: [ports(host, object.spec)].into(),
                ..Workload::default()
            });
        }
        found
    }

    /// What slices say of Pods. Services with a selector find their Pods by it.
    pub(super) fn joined_pods(&self, slices: &[Object<'a, EndpointSlice>]) -> JoinedPods<'a> {
        let mut found = JoinedPods::new();
        for slice in slices {
            let Some(host) = self.host_of(slice.metadata).filter(|host| host.object.spec.selector.is_empty()) else {
                continue;
            };
            for endpoint in &slice.spec.endpoints {
                let Some(pod) = &endpoint.pod else { continue };
                let addresses = endpoint.addresses.iter().map(|ip| octets(*ip).into()).collect();
                let joined = Joined { addresses, service: ports(host, slice.spec) };
                found.entry((&slice.metadata.namespace, pod)).or_default().push(joined);
            }
        }
        found
    }

    /// The Service of a slice.
    fn host_of(&self, slice: &Metadata) -> Option<&'a KubernetesHost<'a>> {
        let name = slice.labels.get(SERVICE_NAME_LABEL)?;
        let of_namespace = self.kubernetes.get(slice.namespace.as_str())?;
        of_namespace.iter().find(|host| host.object.metadata.name == *name).copied()
    }
}

/// The service of a host, and its ports that a slice has: those of one name are one port.
fn ports(host: &KubernetesHost<'_>, slice: &EndpointSlice) -> (String, PortList) {
    let target = |port: &KubernetesPort| {
        let (_, number) = slice.ports.iter().find(|(name, _)| *name == port.name)?;
        Some(mapping(port.number, *number))
    };
    let ports = host.object.spec.ports.iter().filter(|port| port.is_tcp).filter_map(target).collect();
    (fields::service_key(&host.object.metadata.namespace, &host.hostname), PortList { ports })
}
