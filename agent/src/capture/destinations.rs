//! Keeps the kernel's map of what is known of destinations equal to what the mesh says, before anybody can read that: the
//! programs refuse a connection that the agent would refuse, and none that it would carry.
//!
//! Only what differs is written. What is no longer refused goes first, and what is refused now comes last.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use aya::maps::{self, MapData, MapError};
use weir_common::{Address, Answer, ELSEWHERE};

use super::error::CaptureError;
use super::installed::Capture;
use super::maps::{Maps, absent_is_fine};
use crate::model::mesh::{Answers, Mesh, Touched};
use crate::state::Follower;

/// What the kernel programs know of destinations, from now on and until dropped. One at a time may be there.
#[derive(Debug)]
pub struct Destinations<M: AnswerMap = KernelMap> {
    map: M,
    node: Arc<str>,
    present: HashMap<IpAddr, Answers>,
    refuses_elsewhere: bool,
    /// Ports that are not refused elsewhere.
    open_elsewhere: BTreeSet<u16>,
    /// Addresses for which there was no room: the mesh knows them, and the map does not.
    without_room: HashSet<IpAddr>,
}

/// Where answers are written to.
pub trait AnswerMap {
    /// Sets the answer of a key.
    ///
    /// # Errors
    /// When there is no room, or the kernel refuses.
    fn set(&mut self, key: Address, answer: Answer) -> Result<(), MapError>;
    /// Removes the answer of a key, if there is one.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&mut self, key: Address) -> Result<(), MapError>;
}

/// The map that the kernel programs read.
#[derive(Debug)]
pub struct KernelMap(maps::HashMap<MapData, Address, u32>);

impl AnswerMap for KernelMap {
    fn set(&mut self, key: Address, answer: Answer) -> Result<(), MapError> {
        self.0.insert(key, answer as u32, 0)
    }

    fn remove(&mut self, key: Address) -> Result<(), MapError> {
        absent_is_fine(self.0.remove(&key))
    }
}

impl Destinations {
    /// Nothing is known until the mesh says something. `node` is the name of this agent's node.
    ///
    /// # Errors
    /// When the map cannot be opened or emptied.
    pub fn open(capture: &Capture, node: Arc<str>) -> Result<Self, CaptureError> {
        Ok(Self::new(KernelMap(Maps::open_destinations(&capture.pins)?), node))
    }
}

impl<M: AnswerMap> Destinations<M> {
    fn new(map: M, node: Arc<str>) -> Self {
        Self {
            map,
            node,
            present: HashMap::new(),
            refuses_elsewhere: false,
            open_elsewhere: BTreeSet::new(),
            without_room: HashSet::new(),
        }
    }

    fn update(&mut self, mesh: &Mesh, touched: Touched) {
        let may_refuse_elsewhere = mesh.refuses_elsewhere();
        if !may_refuse_elsewhere {
            self.refuse_elsewhere(false);
        }
        let addresses = match touched {
            Touched::Addresses(addresses) => addresses,
            Touched::All => self.present.keys().copied().chain(mesh.known_addresses()).collect(),
        };
        for ip in addresses {
            self.update_address(mesh, ip);
        }
        let open: BTreeSet<u16> = if may_refuse_elsewhere { mesh.http_ports().collect() } else { BTreeSet::new() };
        let are_open = self.open_elsewhere(&open);
        self.refuse_elsewhere(may_refuse_elsewhere && are_open && self.without_room.is_empty());
    }

    /// Has these ports, and no others, not be refused elsewhere. Returns whether that is so now.
    fn open_elsewhere(&mut self, wanted: &BTreeSet<u16>) -> bool {
        let at = |port: u16| Address::new(ELSEWHERE.ip, port);
        let mut is_done = true;
        for port in wanted.difference(&self.open_elsewhere.clone()) {
            match self.map.set(at(*port), Answer::Unknown) {
                Ok(()) => drop(self.open_elsewhere.insert(*port)),
                Err(_) => is_done = false,
            }
        }
        self.open_elsewhere.retain(|port| wanted.contains(port) || self.map.remove(at(*port)).is_err());
        is_done
    }

    fn refuse_elsewhere(&mut self, refuse: bool) {
        if refuse == self.refuses_elsewhere {
            return;
        }
        let written = if refuse { self.map.set(ELSEWHERE, Answer::Refused) } else { self.map.remove(ELSEWHERE) };
        match written {
            Ok(()) => self.refuses_elsewhere = refuse,
            Err(error) => {
                tracing::warn!(%error, refuse, "cannot change whether unknown destinations are refused early")
            }
        }
    }

    fn update_address(&mut self, mesh: &Mesh, ip: IpAddr) {
        let wanted = mesh.answers(ip, &self.node);
        let had = self.present.get(&ip).map_or(&[][..], Vec::as_slice);
        if let Err(error) = write(&mut self.map, ip, had, &wanted) {
            self.leave_to_agent(ip, &wanted, &error);
            return;
        }
        self.without_room.remove(&ip);
        if wanted.is_empty() {
            self.present.remove(&ip);
        } else {
            self.present.insert(ip, wanted);
        }
    }

    /// Has nothing known of an address, because what is known could not be written.
    fn leave_to_agent(&mut self, ip: IpAddr, wanted: &[(u16, Answer)], error: &MapError) {
        self.refuse_elsewhere(false);
        if self.without_room.is_empty() {
            tracing::warn!(%ip, %error, "the kernel programs cannot be told of more destinations: the agent decides about the rest");
        }
        self.without_room.insert(ip);
        let written = self.present.remove(&ip).unwrap_or_default();
        if let Err(error) = write(&mut self.map, ip, &[wanted, &written].concat(), &[]) {
            tracing::error!(%ip, %error, "what the kernel programs know of a destination may be out of date");
        }
    }
}

impl<M: AnswerMap + std::fmt::Debug + Send> Follower for Destinations<M> {
    fn on_change(&mut self, mesh: &Mesh, touched: Touched) {
        self.update(mesh, touched);
    }
}

/// The programs know nothing any more.
impl<M: AnswerMap> Drop for Destinations<M> {
    fn drop(&mut self) {
        self.refuse_elsewhere(false);
        self.open_elsewhere(&BTreeSet::new());
        for (ip, had) in self.present.drain() {
            // Whoever comes next empties the map.
            let _ = write(&mut self.map, ip, &had, &[]);
        }
    }
}

/// Makes the answers of one address the wanted ones, in an order in which nothing is refused meanwhile that need not be.
fn write(
    map: &mut impl AnswerMap,
    ip: IpAddr,
    had: &[(u16, Answer)],
    wanted: &[(u16, Answer)],
) -> Result<(), MapError> {
    let key = |port| Address::new(ip.into(), port);
    let is_new = |answer: &&(u16, Answer)| !had.contains(answer);
    for &(port, answer) in wanted.iter().filter(is_new).filter(|(_, answer)| *answer == Answer::Unknown) {
        map.set(key(port), answer)?;
    }
    let is_wanted = |port| wanted.iter().any(|(wanted, _)| *wanted == port);
    // The answer for other ports is the last of an address, and must not outlive those of single ports.
    for &(port, _) in had.iter().rev().filter(|(port, _)| !is_wanted(*port)) {
        map.remove(key(port))?;
    }
    for &(port, answer) in wanted.iter().filter(is_new).filter(|(_, answer)| *answer != Answer::Unknown) {
        map.set(key(port), answer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::mesh::{MeshSettings, MeshUpdate, OutboundTrafficPolicy};
    use crate::model::service::{AppProtocol, PortMapping, Service, ServiceKey, ServicePort, Vip, Visibility};
    use crate::model::workload::{HealthStatus, Workload};

    /// A map with room for so many keys.
    #[derive(Debug)]
    struct Room(BTreeMap<String, Answer>, usize);

    impl AnswerMap for Room {
        fn set(&mut self, key: Address, answer: Answer) -> Result<(), MapError> {
            let key = shown(key);
            if self.0.len() == self.1 && !self.0.contains_key(&key) {
                return Err(MapError::OutOfBounds { index: 0, max_entries: 0 });
            }
            self.0.insert(key, answer);
            Ok(())
        }

        fn remove(&mut self, key: Address) -> Result<(), MapError> {
            self.0.remove(&shown(key));
            Ok(())
        }
    }

    fn shown(key: Address) -> String {
        format!("{} {}", IpAddr::from(key.ip), key.port)
    }

    const KEY: &str = "db.example";

    fn service(vip: &str, ports: &[u16]) -> Service {
        let port = |port: &u16| ServicePort { service_port: *port, target_port: 0, app_protocol: Default::default() };
        Service {
            key: ServiceKey::new("ns", KEY),
            name: KEY.into(),
            vips: vec![Vip { network: "".into(), block: vip.parse::<IpAddr>().expect("an address").into() }],
            ports: ports.iter().map(port).collect(),
            subject_alt_names: Vec::new(),
            waypoint: None,
            load_balancing: None,
            canonical: false,
            visibility: Visibility::Public,
            ip_families: Default::default(),
            ingress_use_waypoint: false,
            client_ip_affinity: false,
        }
    }

    fn workload(ip: &str, node: &str, serves: &[u16]) -> Workload {
        let ports: Vec<_> = serves.iter().map(|&port| PortMapping { service_port: port, target_port: port }).collect();
        let services = BTreeMap::from([(ServiceKey::new("ns", KEY), ports)]);
        Workload {
            addresses: vec![ip.parse().expect("an address")],
            node: node.into(),
            services: services.into(),
            ..Workload::new(ip, "ns", ip)
        }
    }

    /// A mesh that is followed into a map, and the map's content after each change.
    struct Followed(Mesh, Destinations<Room>);

    impl Followed {
        fn with_room(room: usize) -> Self {
            let mut mesh = Mesh::default();
            mesh.follow_addresses(true);
            Self(mesh, Destinations::new(Room(BTreeMap::new(), room), "n1".into()))
        }

        fn after(&mut self, updates: impl IntoIterator<Item = MeshUpdate>) -> Vec<(String, Answer)> {
            updates.into_iter().for_each(|update| self.0.apply(update));
            let touched = self.0.take_touched().expect("it is followed");
            self.1.update(&self.0, touched);
            self.1.map.0.clone().into_iter().collect()
        }
    }

    fn put(workload: Workload) -> [MeshUpdate; 1] {
        [MeshUpdate::Workload(Box::new(workload))]
    }

    fn put_service(service: Service) -> [MeshUpdate; 1] {
        [MeshUpdate::Service(Box::new(service))]
    }

    fn registry(policy: OutboundTrafficPolicy) -> [MeshUpdate; 1] {
        [MeshUpdate::Settings(MeshSettings { outbound_traffic_policy: policy, ..MeshSettings::default() })]
    }

    fn answers(answers: &[(&str, Answer)]) -> Vec<(String, Answer)> {
        answers.iter().map(|(key, answer)| ((*key).to_owned(), *answer)).collect()
    }

    #[test]
    fn a_service_refuses_the_ports_that_nobody_serves_until_somebody_does() {
        const VIP: &str = "10.96.0.1";
        let mut followed = Followed::with_room(100);
        let refused = answers(&[("10.96.0.1 80", Answer::Refused), ("10.96.0.1 81", Answer::Refused)]);
        assert_eq!(followed.after(put_service(service(VIP, &[80, 81]))), refused);
        assert_eq!(followed.after(put(workload("10.0.0.1", "n2", &[80]))), refused[1..]);
        let unhealthy = Workload { status: HealthStatus::Unhealthy, ..workload("10.0.0.1", "n2", &[80]) };
        assert_eq!(followed.after(put(unhealthy)), refused);
        assert_eq!(followed.after(put(workload("10.0.0.1", "n2", &[80, 81]))), []);
        assert_eq!(followed.after([MeshUpdate::RemoveAddress("10.0.0.1".into())]), refused);
        assert_eq!(followed.after([MeshUpdate::RemoveAddress(format!("ns/{KEY}").into())]), []);
    }

    #[test]
    fn what_sources_see_differently_and_what_passes_is_left_to_the_agent() {
        let kubernetes = Service {
            name: "db".into(),
            key: ServiceKey::new("ns", "db.ns.svc.cluster.local"),
            ..service("10.96.0.1", &[80])
        };
        let private = Service { visibility: Visibility::Namespace, ..service("10.96.0.1", &[80]) };
        for service in [kubernetes, private] {
            assert_eq!(Followed::with_room(100).after(put_service(service)), []);
        }
        let mut followed = Followed::with_room(100);
        let other = Service { key: ServiceKey::new("other", KEY), ..service("10.96.0.1", &[81]) };
        assert_eq!(followed.after(put_service(service("10.96.0.1", &[80]))).len(), 1);
        assert_eq!(followed.after(put_service(other)), [], "two services claim it");
    }

    #[test]
    fn an_address_that_was_allotted_has_only_the_ports_of_its_service() {
        let mut followed = Followed::with_room(100);
        followed.after(put(workload("10.0.0.1", "n2", &[80])));
        assert_eq!(
            followed.after(put_service(service("240.240.0.1", &[80]))),
            answers(&[("240.240.0.1 0", Answer::Refused), ("240.240.0.1 80", Answer::Unknown)])
        );
    }

    #[test]
    fn pods_of_this_node_refuse_where_nobody_listens() {
        let mut followed = Followed::with_room(100);
        assert_eq!(followed.after(put(workload("10.0.0.1", "n2", &[]))), []);
        assert_eq!(followed.after(put(workload("fd00::1", "n1", &[]))), answers(&[("fd00::1 0", Answer::OpenPorts)]));
    }

    #[test]
    fn registry_only_refuses_all_other_addresses_as_long_as_all_that_are_known_have_room() {
        const ELSE: (&str, Answer) = (":: 0", Answer::Refused);
        let mut followed = Followed::with_room(3);
        followed.after(put(workload("10.0.0.1", "n2", &[])));
        let one = [("10.0.0.1 0", Answer::Unknown), ELSE];
        assert_eq!(followed.after(registry(OutboundTrafficPolicy::RegistryOnly)), answers(&one));
        assert_eq!(followed.after(put(workload("10.0.0.2", "n2", &[]))).len(), 3);
        let full = followed.after(put(workload("10.0.0.3", "n2", &[])));
        assert!(!full.contains(&(ELSE.0.to_owned(), ELSE.1)), "{full:?}");
        followed.after([MeshUpdate::RemoveAddress("10.0.0.3".into())]);
        assert_eq!(followed.after([MeshUpdate::RemoveAddress("10.0.0.2".into())]), answers(&one));
        let web = ServicePort { service_port: 80, target_port: 0, app_protocol: AppProtocol::Http11 };
        let with_http =
            followed.after(put_service(Service { ports: vec![web], vips: Vec::new(), ..service("10.9.0.0", &[]) }));
        assert_eq!(with_http, answers(&[one[0], ELSE, (":: 80", Answer::Unknown)]), "a request there has an answer");
        let own = |decide| [MeshUpdate::SidecarsDecideOutbound(decide)];
        assert_eq!(followed.after(own(true)), [], "pods differ");
        assert_eq!(followed.after(own(false)), with_http);
        followed.after([MeshUpdate::RemoveAddress(format!("ns/{KEY}").into())]);
        let block = Service {
            vips: vec![Vip { network: "".into(), block: "10.9.0.0/16".parse().expect("a block") }],
            ..service("10.9.0.0", &[80])
        };
        assert_eq!(followed.after(put_service(block)), answers(&one[..1]), "blocks are the agent's to look up");
        assert_eq!(followed.after(registry(OutboundTrafficPolicy::AllowAny)), []);
    }
}
