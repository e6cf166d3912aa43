//! Workloads, services and policies for tests: ordinary ones, to be changed where a case needs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::authorization::{Action, Authorization, Group, PolicyScope};
use super::mesh::{Mesh, MeshUpdate};
use super::service::{
    GatewayAddress, GatewayDestination, IpFamilies, LoadBalancing, PortMapping, Service, ServiceKey, ServicePort, Vip,
    Visibility,
};
use super::workload::{Locality, TunnelProtocol, Workload, WorkloadType};

/// A healthy HBONE pod of namespace `bookinfo`, with its own name as its service account.
pub(super) fn workload(name: &str, addresses: &[&str]) -> Workload {
    Workload {
        service_account: name.into(),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        cluster_id: "Kubernetes".into(),
        node: "node1".into(),
        protocol: TunnelProtocol::Hbone,
        workload_name: name.into(),
        workload_type: WorkloadType::Pod,
        canonical_name: name.into(),
        canonical_revision: "v1".into(),
        locality: Locality { region: "eu".into(), zone: "eu-1".into(), subzone: "".into() }.into(),
        ..Workload::new(&format!("Kubernetes//Pod/bookinfo/{name}"), "bookinfo", name)
    }
}

/// The same workload as an endpoint of services, each `(hostname, service port, target port)` in its own namespace.
pub(super) fn serving(mut workload: Workload, services: &[(&str, u16, u16)]) -> Workload {
    let mut mapped = BTreeMap::<ServiceKey, Vec<PortMapping>>::new();
    for (hostname, service_port, target_port) in services {
        let key = ServiceKey::new(&workload.namespace, hostname);
        mapped.entry(key).or_default().push(PortMapping { service_port: *service_port, target_port: *target_port });
    }
    workload.services = mapped.into();
    workload
}

/// A public, canonical service of namespace `bookinfo`.
pub(super) fn service(hostname: &str, vips: &[&str], ports: &[(u16, u16)]) -> Service {
    let vip = |text: &&str| Vip {
        network: "".into(),
        block: text.parse().unwrap_or_else(|_| text.parse::<std::net::IpAddr>().expect("an address or block").into()),
    };
    Service {
        key: ServiceKey::new("bookinfo", hostname),
        name: hostname.into(),
        vips: vips.iter().map(vip).collect(),
        ports: ports
            .iter()
            .map(|(service_port, target_port)| ServicePort {
                service_port: *service_port,
                target_port: *target_port,
                app_protocol: super::service::AppProtocol::Unknown,
            })
            .collect(),
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: None,
        canonical: true,
        visibility: Visibility::Public,
        ip_families: IpFamilies::Automatic,
        ingress_use_waypoint: false,
        client_ip_affinity: false,
    }
}

pub(super) fn balanced(mut service: Service, load_balancing: LoadBalancing) -> Service {
    service.load_balancing = Some(load_balancing);
    service
}

/// A gateway named by a service of namespace `bookinfo`.
pub(super) fn gateway_named(hostname: &str) -> GatewayAddress {
    let destination = GatewayDestination::Hostname(ServiceKey::new("bookinfo", hostname));
    GatewayAddress { destination, hbone_mtls_port: 15008 }
}

/// A gateway of the default network, named by its address.
pub(super) fn gateway_at(ip: &str) -> GatewayAddress {
    let address = super::address::NetworkAddress { network: "".into(), ip: ip.parse().expect("an address") };
    GatewayAddress { destination: GatewayDestination::Address(address), hbone_mtls_port: 15008 }
}

/// An enforced policy of namespace `bookinfo`.
pub(super) fn policy(name: &str, scope: PolicyScope, action: Action, groups: Vec<Group>) -> Authorization {
    Authorization {
        key: format!("bookinfo/{name}").into(),
        namespace: "bookinfo".into(),
        scope,
        action,
        dry_run: false,
        provider: "".into(),
        groups: groups.into(),
        invalid: None,
    }
}

pub(super) fn mesh(updates: impl IntoIterator<Item = MeshUpdate>) -> Mesh {
    let mut mesh = Mesh::default();
    for update in updates {
        mesh.apply(update);
    }
    mesh
}

impl From<Workload> for MeshUpdate {
    fn from(workload: Workload) -> Self {
        Self::Workload(Box::new(workload))
    }
}

impl From<Service> for MeshUpdate {
    fn from(service: Service) -> Self {
        Self::Service(Box::new(service))
    }
}

impl From<Authorization> for MeshUpdate {
    fn from(policy: Authorization) -> Self {
        Self::Authorization(Box::new(policy))
    }
}

/// A small generator (SplitMix64): tests that draw must draw the same every time.
#[derive(Debug)]
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than a usize")
    }

    pub(super) fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }

    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            values.swap(end, self.below(end + 1));
        }
    }
}

/// Shared texts, for values built in tests.
pub(super) fn text(value: &str) -> Arc<str> {
    value.into()
}
