//! Pod to workload.

use super::context::Context;
use super::fields;
use super::fields::octets;
use super::waypoint::{self, Traffic};
use super::workload::{Workloads, health, set_tunnel, trust_domain};
use crate::model::naming::{self, Controller};
use crate::objects::{EntryVisibility, Object, Pod, TargetPort};
use crate::proto::istio::workload::{
    ApplicationTunnel, Locality, NetworkMode, Workload, WorkloadType, application_tunnel::Protocol,
};

/// The Gateway a Pod is an instance of.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// How a waypoint in front of an application wants connections handed over.
const INBOUND_BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";

impl Workloads<'_> {
    /// The workload of a Pod; `None` before it has an address and after it has ended.
    pub(super) fn of_pod(&self, object: Object<'_, Pod>) -> Option<Workload> {
        let (metadata, spec, context) = (object.metadata, object.spec, self.context);
        if spec.finished || spec.addresses.is_empty() {
            return None;
        }
        let named = |name: &str| spec.named_ports.iter().find(|(port, _)| port == name).map(|(_, number)| *number);
        let made_by = metadata.controller.as_ref().map(|(kind, name)| Controller { kind, name });
        let workload_name = naming::workload_name(&metadata.name, &metadata.labels, made_by, metadata.is_generated);
        let (status, extensions) = health(spec.ready && !metadata.is_deleted, spec.ready && metadata.is_deleted);
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
            uid: fields::pod_uid(context.options, &metadata.namespace, &metadata.name),
            addresses: spec.addresses.iter().map(|ip| octets(*ip).into()).collect(),
            network: context.options.network.clone(),
            trust_domain: trust_domain(context),
            service_account: spec.service_account.clone(),
            waypoint,
            application_tunnel,
            node: spec.node.clone(),
            network_mode: if spec.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard }.into(),
            canonical_name: naming::canonical_name(&metadata.labels, &workload_name).to_owned(),
            canonical_revision: naming::canonical_revision(&metadata.labels).to_owned(),
            workload_type: WorkloadType::Pod.into(),
            workload_name,
            status: status.into(),
            extensions,
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
        let joined = self.joined.get(&(metadata.namespace.as_str(), metadata.name.as_str())).into_iter().flatten();
        let joined: Vec<_> = joined.filter_map(|joined| joined.service_of(&workload.addresses)).collect();
        workload.services.extend(joined);
        set_tunnel(&mut workload, metadata, &metadata.labels);
        self.asked_labels.add_to(&mut workload, &metadata.labels);
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
