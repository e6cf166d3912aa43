//! Pod to workload.

use super::context::Context;
use super::names;
use super::network_address::octets;
use super::waypoint::{self, Traffic};
use super::workload::{Workloads, set_tunnel, trust_domain};
use crate::objects::{EntryVisibility, Metadata, Object, Pod, TargetPort};
use crate::proto::istio::workload::{
    ApplicationTunnel, Locality, NetworkMode, Workload, WorkloadStatus, WorkloadType, application_tunnel::Protocol,
};

/// The Gateway a Pod is an instance of.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// How a waypoint in front of an application wants connections handed over.
const INBOUND_BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";
const WORKLOAD_NAME: &str = "service.istio.io/workload-name";

impl Workloads<'_> {
    /// The workload of a Pod; `None` before it has an address and after it has ended.
    pub(super) fn of_pod(&self, object: Object<'_, Pod>) -> Option<Workload> {
        let (metadata, spec, context) = (object.metadata, object.spec, self.context);
        if spec.finished || spec.addresses.is_empty() {
            return None;
        }
        let named = |name: &str| spec.named_ports.iter().find(|(port, _)| port == name).map(|(_, number)| *number);
        let workload_name = workload_name(metadata);
        let healthy = spec.ready && !metadata.is_deleted;
        let (waypoint, application_tunnel) = match metadata.labels.get(GATEWAY_NAME) {
            Some(gateway) => (None, application_tunnel(context, &metadata.namespace, gateway)),
            None => (
                waypoint::waypoint(context, metadata, &metadata.labels, Traffic::Workload, EntryVisibility::Public),
                None,
            ),
        };
        let mut workload = Workload {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: names::pod_uid(context.options, &metadata.namespace, &metadata.name),
            addresses: spec.addresses.iter().map(|ip| octets(*ip).into()).collect(),
            network: context.options.network.clone(),
            trust_domain: trust_domain(context),
            service_account: spec.service_account.clone(),
            waypoint,
            application_tunnel,
            node: spec.node.clone(),
            network_mode: if spec.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard }.into(),
            canonical_name: names::canonical_name(&metadata.labels, &workload_name),
            canonical_revision: names::canonical_revision(&metadata.labels),
            workload_type: WorkloadType::Pod.into(),
            workload_name,
            status: if healthy { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy }.into(),
            cluster_id: context.options.cluster_id.clone(),
            locality: locality(context, &spec.node),
            authorization_policies: self.policies.of_workload(&metadata.namespace, &metadata.labels),
            services: self.selected_services(
                &metadata.namespace,
                &metadata.labels,
                |port| named(&port.name),
                |port| match &port.target {
                    TargetPort::Number(number) => Some(*number),
                    TargetPort::Name(name) => named(name),
                },
            ),
            ..Workload::default()
        };
        set_tunnel(&mut workload, metadata, &metadata.labels);
        Some(workload)
    }
}

fn locality(context: &Context<'_>, node: &str) -> Option<Locality> {
    let labels = &context.objects.node(node)?.labels;
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let locality = Locality {
        region: label("topology.kubernetes.io/region"),
        zone: label("topology.kubernetes.io/zone"),
        subzone: label("topology.istio.io/subzone"),
    };
    (locality != Locality::default()).then_some(locality)
}

/// `PROXY`, `PROXY/<port>` or `NONE`, on the Gateway.
fn application_tunnel(context: &Context<'_>, namespace: &str, gateway: &str) -> Option<ApplicationTunnel> {
    let gateway = context.objects.gateway(namespace, gateway)?;
    let binding = gateway.metadata.annotations.get(INBOUND_BINDING)?;
    let (protocol, port) = binding.split_once('/').unwrap_or((binding, "0"));
    let protocol = match protocol {
        "PROXY" => Protocol::Proxy,
        "NONE" => Protocol::None,
        _ => return None,
    };
    Some(ApplicationTunnel { protocol: protocol.into(), port: port.parse().ok()? })
}

/// The name of what made the Pod, as a user knows it.
fn workload_name(metadata: &Metadata) -> String {
    if let Some(name) = metadata.labels.get(WORKLOAD_NAME) {
        return name.clone();
    }
    let Some((kind, name)) = metadata.controller.as_ref().filter(|_| metadata.is_generated) else {
        return metadata.name.clone();
    };
    let without_hash = || {
        let hashes = ["pod-template-hash", "rollouts-pod-template-hash"];
        let hash = hashes.iter().find_map(|label| metadata.labels.get(*label))?;
        name.strip_suffix(hash)?.strip_suffix('-').map(str::to_owned)
    };
    let made_by = match kind.as_str() {
        "ReplicaSet" => without_hash(),
        "ReplicationController" => metadata.labels.get("deploymentconfig").cloned(),
        "Job" => without_schedule(name),
        _ => None,
    };
    made_by.unwrap_or_else(|| name.clone())
}

/// `x` of `x-28000000`, a Job that a CronJob made.
fn without_schedule(job: &str) -> Option<String> {
    let (name, schedule) = job.rsplit_once('-')?;
    let scheduled = (8..=10).contains(&schedule.len()) && schedule.bytes().all(|byte| byte.is_ascii_digit());
    (scheduled && !name.is_empty()).then(|| name.to_owned())
}
