//! What is known of a connection to an address before it is accepted, whichever pod of this node opens it: the kernel programs
//! refuse what [`Mesh::resolve`] would refuse for every source. Where sources differ, the answer is that nothing is known.

use std::net::IpAddr;

use weir_common::Answer;

use super::store::Mesh;
use super::update::OutboundTrafficPolicy;
use crate::model::address::is_allocated;
use crate::model::balance::may_serve;
use crate::model::service::{BalancingMode, Service, Visibility};
use crate::model::workload::{NetworkMode, Workload};

/// Port of the answer that holds for every port without one of its own. Nobody serves port 0.
const OTHER_PORTS: u16 = 0;

/// Answers of one IP address, by port; empty where nothing is known.
pub type Answers = Vec<(u16, Answer)>;

impl Mesh {
    /// What is known of connections to an address from pods of `node`, which are in the mesh's own network.
    #[must_use]
    pub fn answers(&self, ip: IpAddr, node: &str) -> Answers {
        let network = &self.settings().network;
        let mut claims = self.services.claims_of_vip(network, ip);
        let mut owners = self.workloads.owners(network, ip);
        match (claims.next(), claims.next()) {
            (None, _) => owners.next().map_or_else(Answers::new, |owner| self.answers_of_workload(owner, node)),
            (Some(service), None) if is_one_for_all(service) => {
                self.answers_of_service(service, ip, owners.next().is_some())
            }
            _ => self.unknown(),
        }
    }

    /// Whether an address of which the mesh knows nothing is refused to every pod. Not where blocks of addresses belong to
    /// services: such an address may be in one of them. Nor at ports at which services speak HTTP ([`Self::http_ports`]): a
    /// request there has an answer.
    #[must_use]
    pub fn refuses_elsewhere(&self) -> bool {
        self.refuses_unknown() && !self.services.has_blocks(&self.settings().network)
    }

    /// Every single address that belongs to a service or a workload of the mesh's own network, in no order.
    pub fn known_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let network = &self.settings().network;
        let of_services = self.services.single_vips(network);
        of_services.chain(self.workloads.addresses(network))
    }

    /// Whether every pod is refused what the mesh does not know.
    fn refuses_unknown(&self) -> bool {
        let is_refused = self.settings().outbound_traffic_policy == OutboundTrafficPolicy::RegistryOnly;
        is_refused && !self.sidecars_decide_outbound()
    }

    /// Nothing is known of an address that the mesh knows. It needs to be said only where others are refused.
    fn unknown(&self) -> Answers {
        if self.refuses_unknown() { vec![(OTHER_PORTS, Answer::Unknown)] } else { Answers::new() }
    }

    fn answers_of_workload(&self, workload: &Workload, node: &str) -> Answers {
        let is_direct = workload.network_mode == NetworkMode::Standard && workload.waypoint.is_none();
        if is_direct && !node.is_empty() && *workload.node == *node {
            return vec![(OTHER_PORTS, Answer::OpenPorts)];
        }
        self.unknown()
    }

    fn answers_of_service(&self, service: &Service, ip: IpAddr, is_workloads_too: bool) -> Answers {
        let refuses_others = !is_workloads_too && (is_allocated(ip) || self.refuses_unknown());
        let mut answers = Answers::new();
        let passes = self.is_left_to_kube_proxy(service);
        for port in service.ports.iter().map(|port| port.service_port) {
            let refuses = !passes && !self.is_served(service, port);
            if refuses || refuses_others {
                answers.push((port, if refuses { Answer::Refused } else { Answer::Unknown }));
            }
        }
        answers.sort_unstable_by_key(|(port, _)| *port);
        answers.dedup();
        if refuses_others {
            answers.push((OTHER_PORTS, Answer::Refused));
        } else {
            answers.extend(self.unknown());
        }
        answers
    }

    /// Whether connections to a service pass, since the mesh knows no endpoint at all and kube-proxy may.
    fn is_left_to_kube_proxy(&self, service: &Service) -> bool {
        service.is_kubernetes() && !self.refuses_unknown() && self.endpoints(&service.key).next().is_none()
    }

    fn is_served(&self, service: &Service, port: u16) -> bool {
        self.endpoints(&service.key).any(|endpoint| may_serve(service, endpoint, port))
    }
}

/// Whether a service's address means the same to every source, and its endpoints are chosen here.
fn is_one_for_all(service: &Service) -> bool {
    let passes = service.load_balancing.as_ref().is_some_and(|lb| lb.mode == BalancingMode::Passthrough);
    service.visibility == Visibility::Public && service.waypoint.is_none() && !passes
}
