//! What the matrix runs on: the standard mesh, and what makes further ways into its pod `far`: a second interface, the rules
//! by which kube-proxy plays service addresses and node ports, a container within the pod, and a kubelet.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::{Mesh, NAMESPACE, ip, workload_entry};
use weir_tests::objects::{ServiceEntry, WorkloadEntry};
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO, Seen, WATCH};
use weir_tests::wait;
use weir_tests::world::{N1, N2, Node, Pod};

use super::columns::{MEMBERS, NODE_PORT, SERVICE_PORT};
use super::ways::{From, To};
use crate::inner::Inner;
use crate::interfaces;
use crate::probes::{Kubelet, restart_with_kubelet};

/// The port of nodes at which the client's address is kept.
const NODE_PORT_LOCAL: u16 = 30002;
/// The port that the pod forwards to a container within.
const PUBLISHED: u16 = 9999;
const VIPS: [&str; 2] = ["10.96.0.99", "fd96::99"];
const PATIENCE: Duration = Duration::from_secs(30);

/// The mesh with all of it.
pub(super) struct Ground<'m> {
    pub(super) mesh: &'m Mesh,
    /// A pod of the mesh beside `far`, on the same agent.
    pub(super) witness: Pod,
    stranger: Pod,
    container_of_member: Inner,
    kubelet: Kubelet,
    _within: Inner,
    _servers: [Program; 2],
}

/// One connection to try.
pub(super) struct Dial {
    place: Place,
    program: PathBuf,
    pub(super) address: String,
}

impl Dial {
    /// Connects, sends the text and tells what came back.
    pub(super) fn attempt(&self, text: &str) -> Result<Seen> {
        test_app::client_called(&self.program, &self.place, PATIENCE, &["probe", &self.address, "--send", text])
    }
}

impl<'m> Ground<'m> {
    pub(super) fn prepare(mesh: &'m mut Mesh) -> Result<Self> {
        let kubelet = Kubelet::beside_the_pods(mesh)?;
        restart_with_kubelet(&mut mesh.agents[N2], &kubelet.place.cgroup().display().to_string())?;
        let mesh = &*mesh;
        let (witness, stranger) = (mesh.world.nodes[N2].pod("beside")?, mesh.world.nodes[N1].pod("stranger")?);
        describe(mesh, &witness, &stranger)?;
        mesh.agents[N2].enroll(&witness, NAMESPACE, witness.name())?;
        interfaces::add_interface(mesh)?;
        // The other node reaches the second network by the pod's.
        let second = format!("route add 192.168.7.0/24 via {}", mesh.world.nodes[N2].ipv4());
        mesh.world.nodes[N1].place.run(&[&["ip"][..], &second.split(' ').collect::<Vec<_>>()].concat())?;
        for node in &mesh.world.nodes {
            play_kube_proxy(node, mesh.far.addresses())?;
        }
        let (container_of_member, within) = (Inner::new(mesh, &mesh.client)?, Inner::new(mesh, &mesh.far)?);
        within.publish(mesh, &mesh.far, PUBLISHED)?;
        let servers = [test_app::serve(&witness.place)?, test_app::serve(within.place())?];
        let ground = Self { mesh, witness, stranger, container_of_member, kubelet, _within: within, _servers: servers };
        mesh.carries_traffic()?;
        ground.is_known()?;
        Ok(ground)
    }

    /// Waits until the members know the service, and each other.
    fn is_known(&self) -> Result<()> {
        wait::until("the service's addresses lead to the pod", Duration::from_secs(10), || {
            for from in [&self.mesh.near, &self.witness, &self.mesh.far] {
                for vip in VIPS {
                    test_app::echoes(&from.place, ip(vip), SERVICE_PORT)?;
                }
            }
            test_app::echoes(&self.witness.place, self.mesh.far.ipv4(), ECHO).map(drop)
        })
    }

    pub(super) fn dial(&self, from: From, to: To) -> Result<Dial> {
        let plain = |place: &Place| (place.clone(), binary("weir-test-app"));
        let (place, program) = match from {
            From::MemberElsewhere => plain(&self.mesh.near.place),
            From::MemberBeside => plain(&self.witness.place),
            From::Itself => plain(&self.mesh.far.place),
            From::ContainerOfMember => plain(self.container_of_member.place()),
            From::Outsider => plain(&self.mesh.outsider.place),
            From::Stranger => plain(&self.stranger.place),
            From::OwnNode => plain(&self.mesh.world.nodes[N2].place),
            From::OtherNode => plain(&self.mesh.world.nodes[N1].place),
            From::OutsideCluster => plain(&self.mesh.world.fabric),
            From::Kubelet => (self.kubelet.place.clone(), Ok(self.kubelet.program.clone())),
        };
        Ok(Dial { place, program: program?, address: self.address(to)? })
    }

    fn address(&self, to: To) -> Result<String> {
        let [v4, v6] = self.mesh.far.addresses();
        let node = &self.mesh.world.nodes;
        let (ip, port) = match to {
            To::V4 => (v4, ECHO),
            To::V6 => (v6, ECHO),
            To::Mapped => (mapped(v4), ECHO),
            To::UnnamedPort => (v4, WATCH),
            To::VipV4 => (ip(VIPS[0]), SERVICE_PORT),
            To::VipV6 => (ip(VIPS[1]), SERVICE_PORT),
            To::NodePort => (node[N2].ipv4().into(), NODE_PORT),
            To::NodePortV6 => (node[N2].ipv6().into(), NODE_PORT),
            To::NodePortElsewhere => (node[N1].ipv4().into(), NODE_PORT),
            To::NodePortLocal => (node[N2].ipv4().into(), NODE_PORT_LOCAL),
            To::SecondV4 => (ip(interfaces::POD), ECHO),
            To::SecondV6 => (ip(interfaces::POD_V6), ECHO),
            To::SecondLinkLocal => return interfaces::link_local_address(self.mesh),
            To::Published => (v4, PUBLISHED),
        };
        Ok(SocketAddr::new(ip, port).to_string())
    }

    /// The agent tells which pod forwards what no policy sees.
    pub(super) fn forwarding_is_told(&self) -> Result<()> {
        wait::until("the status tells of the pod that forwards", Duration::from_secs(15), || {
            let status = self.mesh.agents[N2].weir(&["status"])?;
            ensure!(status.stdout.contains(&format!("{NAMESPACE}/far forwards packets")), "{}", status.summary());
            Ok(())
        })
    }
}

fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// What the mesh is told: a further member, a service with a port of its own, and a workload without capture that has the
/// service account of a member.
fn describe(mesh: &Mesh, witness: &Pod, stranger: &Pod) -> Result<()> {
    let objects = &mesh.control_plane.objects;
    objects.put(witness.name(), &workload_entry(witness))?;
    let vips = VIPS.map(ip);
    let service = ServiceEntry {
        name: "matrix",
        namespace: NAMESPACE,
        addresses: &vips,
        ports: &[(SERVICE_PORT, ECHO)],
        selector: ("app", "far"),
    };
    objects.put("service-matrix", &service.yaml())?;
    let entry = WorkloadEntry {
        name: stranger.name(),
        namespace: NAMESPACE,
        service_account: MEMBERS[0],
        node: "n1",
        addresses: &stranger.addresses(),
        labels: &[("app", stranger.name())],
        hbone: false,
    };
    objects.put(stranger.name(), &entry.yaml())
}

/// Adds what kube-proxy adds to a node for the service: its addresses and node ports lead to the pod. The node sets its own
/// address for node ports, except where the service keeps the client's.
fn play_kube_proxy(node: &Node, pod: [IpAddr; 2]) -> Result<()> {
    let ours: [IpAddr; 2] = [node.ipv4().into(), node.ipv6().into()];
    for ((iptables, pod), (vip, ours)) in ["iptables", "ip6tables"].iter().zip(pod).zip(VIPS.map(ip).iter().zip(ours)) {
        let to = SocketAddr::new(pod, ECHO).to_string();
        for (address, port) in [(*vip, SERVICE_PORT), (ours, NODE_PORT), (ours, NODE_PORT_LOCAL)] {
            let rule = format!("PREROUTING -d {address} -p tcp --dport {port} -j DNAT --to-destination {to}");
            nat(node, iptables, &rule)?;
        }
        let rule =
            format!("POSTROUTING -p tcp -m conntrack --ctorigdst {ours} --ctorigdstport {NODE_PORT} -j MASQUERADE");
        nat(node, iptables, &rule)?;
    }
    Ok(())
}

fn nat(node: &Node, iptables: &str, rule: &str) -> Result<()> {
    let command: Vec<&str> = [iptables, "-t", "nat", "-A"].into_iter().chain(rule.split(' ')).collect();
    node.place.run(&command).map(drop).with_context(|| format!("on {}", node.name()))
}
