//! A large mesh on the wire: pods of deployments, each behind one service, named and placed as Kubernetes and istiod do.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use weir::api::proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as WireResource};
use weir::api::proto::istio::workload as pb;
use weir::api::resources::{ADDRESS_TYPE_URL, Resource};

pub(crate) const WORKLOADS: usize = 100_000;
pub(crate) const SERVICES: usize = 10_000;
const NAMESPACES: usize = 200;
const NODES: usize = 1000;
/// The port every service listens on.
pub(crate) const PORT: u16 = 80;

/// An encoded mesh, in the order in which a control plane might send it: services first.
pub(crate) struct Wire {
    pub(crate) resources: Vec<(Arc<str>, Resource)>,
    services: usize,
}

impl Wire {
    pub(crate) fn new(workloads: usize, services: usize) -> Self {
        let of_services = (0..services).map(|number| (service_name(number).into(), encode(service(number))));
        let of_workloads = (0..workloads).map(|number| {
            let workload = workload(number, services);
            (workload.uid.as_str().into(), encode(pb::address::Type::Workload(workload)))
        });
        Self { resources: of_services.chain(of_workloads).collect(), services }
    }

    pub(crate) fn workloads(&self) -> usize {
        self.resources.len() - self.services
    }

    pub(crate) fn bytes(&self) -> usize {
        self.resources.iter().map(|(_, resource)| resource.body.len()).sum()
    }

    pub(crate) fn describe(&self) -> String {
        let (count, bytes) = (self.resources.len(), self.bytes());
        format!(
            "a mesh of {} workloads and {} services in {NAMESPACES} namespaces on {NODES} nodes: {:.1} MB encoded, {} bytes a resource",
            self.workloads(),
            self.services,
            bytes as f64 / 1e6,
            bytes / count,
        )
    }

    /// All of it as one response.
    pub(crate) fn response(&self) -> DeltaDiscoveryResponse {
        response(self.resources.iter().cloned())
    }

    /// One workload as one response, healthy or not.
    pub(crate) fn change(&self, number: usize, healthy: bool) -> DeltaDiscoveryResponse {
        let mut changed = workload(number, self.services);
        changed.status = if healthy { pb::WorkloadStatus::Healthy } else { pb::WorkloadStatus::Unhealthy }.into();
        response([(changed.uid.as_str().into(), encode(pb::address::Type::Workload(changed)))])
    }

    /// All of it, every workload on another node than before.
    pub(crate) fn moved(&self) -> DeltaDiscoveryResponse {
        let workloads = (0..self.workloads()).map(|number| {
            let mut workload = workload(number, self.services);
            workload.node.push_str("-new");
            (workload.uid.as_str().into(), encode(pb::address::Type::Workload(workload)))
        });
        response(self.resources[..self.services].iter().cloned().chain(workloads))
    }
}

fn response(resources: impl IntoIterator<Item = (Arc<str>, Resource)>) -> DeltaDiscoveryResponse {
    let resource = |(name, resource): (Arc<str>, Resource)| WireResource {
        name: name.to_string(),
        version: resource.version.to_string(),
        resource: Some(prost_types::Any { type_url: ADDRESS_TYPE_URL.to_owned(), value: resource.body.to_vec() }),
        ..Default::default()
    };
    DeltaDiscoveryResponse {
        resources: resources.into_iter().map(resource).collect(),
        type_url: ADDRESS_TYPE_URL.to_owned(),
        nonce: "n".to_owned(),
        ..Default::default()
    }
}

fn encode(kind: pb::address::Type) -> Resource {
    Resource::hashed(Bytes::from(pb::Address { r#type: Some(kind) }.encode_to_vec()))
}

/// The uid of a workload.
pub(crate) fn uid(number: usize, services: usize) -> String {
    workload(number, services).uid
}

/// The address of a service.
pub(crate) fn vip(number: usize) -> IpAddr {
    address([10, 96, 0, 0], number).into()
}

fn service_name(number: usize) -> String {
    let (namespace, name) = (namespace_of(number), app(number));
    format!("{namespace}/{name}.{namespace}.svc.cluster.local")
}

fn service(number: usize) -> pb::address::Type {
    let namespace = namespace_of(number);
    pb::address::Type::Service(pb::Service {
        name: app(number),
        hostname: format!("{}.{namespace}.svc.cluster.local", app(number)),
        namespace,
        addresses: vec![pb::NetworkAddress {
            network: "network1".to_owned(),
            address: address([10, 96, 0, 0], number).octets().to_vec(),
            length: None,
        }],
        ports: vec![port()],
        canonical: true,
        ..Default::default()
    })
}

fn workload(number: usize, services: usize) -> pb::Workload {
    let of = number % services;
    let (namespace, app) = (namespace_of(of), app(of));
    let name = format!("{app}-{}-{}", random_letters(of, 10), random_letters(number + 7 * of, 5));
    let node = number.wrapping_mul(0x9e37_79b9) % NODES;
    pb::Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}"),
        addresses: vec![address([10, 0, 0, 0], number).octets().to_vec().into()],
        network: "network1".to_owned(),
        tunnel_protocol: pb::TunnelProtocol::Hbone.into(),
        trust_domain: "mesh.example.org".to_owned(),
        service_account: app.clone(),
        node: format!("node-{node:04}.example.internal"),
        canonical_name: app.clone(),
        canonical_revision: "v1".to_owned(),
        workload_type: pb::WorkloadType::Deployment.into(),
        workload_name: app.clone(),
        cluster_id: "Kubernetes".to_owned(),
        services: [(service_name(of), pb::PortList { ports: vec![port()] })].into(),
        locality: Some(pb::Locality {
            region: "eu-central".to_owned(),
            zone: format!("eu-central-{}", node % 3),
            subzone: String::new(),
        }),
        name,
        namespace,
        ..Default::default()
    }
}

fn port() -> pb::Port {
    pb::Port { service_port: PORT.into(), target_port: 8080, ..Default::default() }
}

fn namespace_of(service: usize) -> String {
    format!("team-{:03}", service % NAMESPACES)
}

fn app(service: usize) -> String {
    format!("checkout-{service:05}")
}

fn address(base: [u8; 4], number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::from(base).to_bits() + u32::try_from(number).expect("meshes fit a /8") + 1)
}

/// The part of a pod's name that Kubernetes draws.
fn random_letters(number: usize, length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letter = |_| {
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31) ^ 0x94d0_49bb_1331_11eb;
        char::from(LETTERS[(state >> 33) as usize % LETTERS.len()])
    };
    (0..length).map(letter).collect()
}
