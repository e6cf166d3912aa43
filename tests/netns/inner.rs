//! Namespaces within a pod, as Docker in a pod or a virtual machine has them, with their own addresses behind the pod's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::cgroup;
use weir_tests::mesh::{Mesh, NAMESPACE, ip};
use weir_tests::namespace::Namespace;
use weir_tests::objects::peer_authentication;
use weir_tests::place::Place;
use weir_tests::test_app::{self, ECHO, Seen};
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "inner: what a container within a pod opens is carried as the pod's",
        check: Check::OwnMesh(outbound),
    },
    Case {
        name: "inner: connections that a pod forwards inwards are noticed and told, and a rule of the pod's own refuses them",
        check: Check::OwnMesh(forwarded),
    },
];

/// The inner end of the pod's own network.
const INNER: &str = "172.17.0.2";

/// A namespace within a pod, and where its programs run: below the pod's cgroup.
pub(crate) struct Inner {
    _netns: Namespace,
    place: Place,
}

impl Inner {
    pub(crate) fn new(mesh: &Mesh, pod: &Pod) -> Result<Self> {
        let netns = Namespace::create(&format!("{}-{}-inner", mesh.world.run().name(), pod.name()))?;
        let inside = pod.netns();
        inside.sysctl("net/ipv4/ip_forward", "1")?;
        inside.ip(&format!(
            "link add docker0 type veth peer name eth0 netns {}\nlink set docker0 up\naddr add 172.17.0.1/24 dev docker0",
            netns.name()
        ))?;
        netns.ip(&format!(
            "link set eth0 up\naddr add {INNER}/24 dev eth0\nroute add default via 172.17.0.1 dev eth0"
        ))?;
        nat(mesh, pod, &["POSTROUTING", "-s", "172.17.0.0/24", "-o", "eth0", "-j", "MASQUERADE"])?;
        let cgroup = pod.place.cgroup().join("container");
        cgroup::create(&cgroup)?;
        let place = Place::new("inner", Arc::clone(&netns.handle()), &cgroup, &mesh.world.run().logs());
        Ok(Self { _netns: netns, place })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Has the pod forward a port of its own to the echo within.
    pub(crate) fn publish(&self, mesh: &Mesh, pod: &Pod, port: u16) -> Result<()> {
        let (port, to) = (port.to_string(), format!("{INNER}:{ECHO}"));
        let rule = ["PREROUTING", "-i", "eth0", "-p", "tcp", "--dport", &port, "-j", "DNAT", "--to-destination", &to];
        nat(mesh, pod, &rule)
    }
}

/// Adds a rule to the pod's NAT table.
fn nat(mesh: &Mesh, pod: &Pod, rule: &[&str]) -> Result<()> {
    let netns = format!("--net={}", pod.netns().path().display());
    let command = [&["nsenter", &netns, "iptables", "-t", "nat", "-A"], rule].concat();
    mesh.node_of(pod).place.run(&command)?;
    Ok(())
}

fn outbound(mesh: &mut Mesh) -> Result<()> {
    let inner = Inner::new(mesh, &mesh.client)?;
    for (to, name) in [(&mesh.far, "a pod of another node"), (&mesh.near, "a pod of the same node")] {
        let received = Counter::received(mesh, &mesh.client, to)?;
        let seen = test_app::echoes(&inner.place, to.ipv4(), ECHO)?;
        ensure!(seen.local.starts_with(INNER), "to {name}: {seen:?}");
        received.grows_by_exactly(1.0)?;
    }
    let strict = peer_authentication("case", NAMESPACE, None, "STRICT");
    mesh.control_plane.objects.put("case", &strict)?;
    wait::until("a STRICT pod is reached from within the client pod only", Duration::from_secs(5), || {
        let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })?;
    test_app::echoes(&inner.place, mesh.far.ipv4(), ECHO)?;
    // Another namespace whose cgroup is no captured pod's is left alone.
    let stranger = inner.place.in_cgroup("stranger", mesh.outsider.place.cgroup());
    let seen = test_app::probe(&stranger, mesh.far.ipv4(), ECHO, "let me in")?;
    ensure!(seen.refused(), "plaintext of a stranger reached a STRICT pod: {seen:?}");
    mesh.carries_traffic()
}

fn forwarded(mesh: &mut Mesh) -> Result<()> {
    let inner = Inner::new(mesh, &mesh.far)?;
    let _server = test_app::serve(&inner.place)?;
    inner.publish(mesh, &mesh.far, 9999)?;
    let quiet = mesh.agent_of(&mesh.far).weir(&["status"])?;
    ensure!(!quiet.stdout.contains("forwards packets"), "before anything is forwarded: {}", quiet.summary());
    let seen: Seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), 9999, "inwards")?;
    ensure!(seen.received == "inwards", "the pod forwards it: {seen:?}");
    wait::until("the status tells of it", Duration::from_secs(15), || {
        let status = mesh.agent_of(&mesh.far).weir(&["status"])?;
        let line = format!("{NAMESPACE}/far forwards packets");
        ensure!(status.stdout.contains(&line), "{}", status.summary());
        Ok(())
    })?;
    // What the documents say that a pod's owner can do.
    mesh.far.netns().ip("rule add iif eth0 ipproto tcp prohibit")?;
    let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), 9999, "inwards")?;
    ensure!(seen.refused_by_answer(), "the pod's own rule refuses it: {seen:?}");
    test_app::echoes(inner.place(), mesh.near.ipv4(), ECHO)?;
    test_app::echoes(&mesh.far.place, ip(INNER), ECHO)?;
    mesh.carries_traffic()
}
