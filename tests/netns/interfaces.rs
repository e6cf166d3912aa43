//! Second interfaces of pods, as Multus adds them after the pod is captured: what comes in by them obeys policy, and what
//! is bound to them is not sent past the mesh unless a setting says so.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE, ip};
use weir_tests::objects::peer_authentication;
use weir_tests::test_app::{self, ECHO, Seen};
use weir_tests::wait;
use weir_tests::world::N2;

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "interfaces: plaintext to a second interface obeys policy, also when it or its address came later",
        check: Check::OwnMesh(inbound),
    },
    Case {
        name: "interfaces: what is bound to a second interface is refused and told, or leaves by it where a setting says so",
        check: Check::OwnMesh(outbound),
    },
    Case {
        name: "interfaces: a family in which a pod has no address is out of its reach, not out of the mesh",
        check: Check::OwnMesh(one_family),
    },
    Case {
        name: "interfaces: a pod that has lost its own address reaches nobody past the mesh by another one, and it is told",
        check: Check::OwnMesh(lost_address),
    },
];

const PATIENCE: Duration = Duration::from_secs(30);
/// The node's end of the second network, and the pod's.
const NODE: &str = "192.168.7.1";
pub(crate) const POD: &str = "192.168.7.2";
pub(crate) const POD_V6: &str = "fd99::2";

/// The echo at the pod's link-local address on `net1`, as its node writes it.
pub(crate) fn link_local_address(mesh: &Mesh) -> Result<String> {
    let shown = mesh.node_of(&mesh.far).place.run(&["ip", "-o", "link", "show", "second"])?;
    let index = shown.split(':').next().context("ip shows the index first")?;
    Ok(format!("[fe80::7:2%{index}]:{ECHO}"))
}

/// What the node sees when it says something to that address.
fn link_local(mesh: &Mesh, text: &str) -> Result<Seen> {
    let address = link_local_address(mesh)?;
    test_app::client(&mesh.node_of(&mesh.far).place, PATIENCE, &["probe", &address, "--send", text])
}

/// Gives `far` an interface `net1` to its node.
pub(crate) fn add_interface(mesh: &Mesh) -> Result<()> {
    let node = &mesh.node_of(&mesh.far).place;
    let pod = mesh.far.netns();
    node.run(&["ip", "link", "add", "second", "type", "veth", "peer", "name", "net1", "netns", pod.name()])?;
    node.run(&["ip", "addr", "add", &format!("{NODE}/24"), "dev", "second"])?;
    node.run(&["ip", "addr", "add", "192.168.8.1/24", "dev", "second"])?;
    node.run(&["ip", "addr", "add", "fd99::1/64", "dev", "second", "nodad"])?;
    node.run(&["ip", "link", "set", "second", "up"])?;
    pod.ip(&format!("link set net1 up\naddr add {POD}/24 dev net1\naddr add {POD_V6}/64 dev net1 nodad\naddr add fe80::7:2/64 dev net1 nodad"))
}

fn make_strict(mesh: &Mesh) -> Result<()> {
    mesh.control_plane.objects.put("case", &peer_authentication("case", NAMESPACE, None, "STRICT"))?;
    wait::until("plaintext to the pod's own address is refused", Duration::from_secs(5), || {
        let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })
}

fn inbound(mesh: &mut Mesh) -> Result<()> {
    add_interface(mesh)?;
    let node = &mesh.node_of(&mesh.far).place;
    for address in [ip(POD), ip(POD_V6)] {
        let seen = test_app::probe(node, address, ECHO, "good day")?;
        ensure!(seen.received == "good day", "without STRICT, to {address}: {seen:?}");
    }
    let seen = link_local(mesh, "good day")?;
    ensure!(seen.received == "good day", "without STRICT, to a link-local address: {seen:?}");
    make_strict(mesh)?;
    mesh.far.netns().ip("addr add 192.168.8.2/24 dev net1")?;
    for address in [ip(POD), ip(POD_V6), ip("192.168.8.2")] {
        let seen = test_app::probe(node, address, ECHO, "let me in")?;
        ensure!(seen.refused(), "plaintext reached a STRICT pod at {address}: {seen:?}");
        let own = test_app::probe(&mesh.far.place, address, ECHO, "it is me")?;
        ensure!(own.received == "it is me", "the pod reaches itself at {address}: {own:?}");
    }
    let seen = link_local(mesh, "let me in")?;
    ensure!(seen.refused(), "plaintext reached a STRICT pod at a link-local address: {seen:?}");
    mesh.carries_traffic()
}

fn from_second_interface(mesh: &Mesh) -> Result<Seen> {
    let (to, source) = (SocketAddr::new(ip(NODE), ECHO).to_string(), SocketAddr::new(ip(POD), 0).to_string());
    let arguments = ["probe", &to, "--send", "from net1", "--source", &source];
    test_app::client(&mesh.far.place, PATIENCE, &arguments)
}

fn outbound(mesh: &mut Mesh) -> Result<()> {
    add_interface(mesh)?;
    let _server = test_app::serve(&mesh.node_of(&mesh.far).place)?;
    let seen = from_second_interface(mesh)?;
    ensure!(seen.connect == "PermissionDenied", "a socket bound to net1's address: {seen:?}");
    let near = format!("http://{}:8080/", mesh.near.ipv4());
    let by = |device: &str| mesh.far.place.output(&["curl", "-sS", "--max-time", "5", "--interface", device, &near]);
    let refused = by("net1")?;
    ensure!(!refused.success, "a socket bound to net1 left by another device: {}", refused.summary());
    let carried = by("eth0")?;
    ensure!(carried.stdout == "hello from near\n", "a socket bound to the pod's own device: {}", carried.summary());
    let status = mesh.agent_of(&mesh.far).weir(&["status"])?;
    for line in ["bound to an address that the pod was not enrolled with", "bound to another device than that"] {
        ensure!(status.stdout.contains(line), "no line says {line:?}: {}", status.summary());
    }

    mesh.agents[N2].add_flags(["--uncapturable-outbound=pass".to_owned()]);
    mesh.agents[N2].restart()?;
    let seen = from_second_interface(mesh)?;
    ensure!(seen.received == "from net1", "with the setting: {seen:?}");
    let status = mesh.agent_of(&mesh.far).weir(&["status"])?;
    ensure!(status.stdout.contains("left outside the mesh"), "{}", status.summary());
    mesh.carries_traffic().context("afterwards")
}

/// The pod has an IPv6 address that the agent was not told of, as one that its network gave it later.
fn one_family(mesh: &mut Mesh) -> Result<()> {
    let (agent, pod) = (&mesh.agents[N2], mesh.world.nodes[N2].pod("single")?);
    let arguments = [
        "enroll".to_owned(),
        format!("--netns={}", pod.netns().path().display()),
        format!("--address={}", pod.ipv4()),
        format!("--socket={}", agent.socket()),
        "--uid=single".to_owned(),
        "--name=single".to_owned(),
        format!("--namespace={NAMESPACE}"),
    ];
    let output = agent.weir(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(output.success, "{}", output.summary());
    test_app::echoes(&pod.place, mesh.outsider.ipv4(), ECHO)?;
    let seen = test_app::probe(&pod.place, mesh.outsider.ipv6(), ECHO, "past the mesh")?;
    ensure!(seen.connect == "NetworkUnreachable", "{seen:?}");
    let status = agent.weir(&["status"])?;
    let line = format!("{NAMESPACE}/single were refused: the pod was enrolled without an address of that family");
    ensure!(status.stdout.contains(&line), "{}", status.summary());
    agent.unenroll("single")
}

/// Without capture, what the pod sends would leave by the address that it has instead.
fn lost_address(mesh: &mut Mesh) -> Result<()> {
    const OTHER: &str = "192.0.2.77";
    let (agent, pod) = (&mesh.agents[N2], &mesh.far);
    let (own, outside) = (pod.ipv4(), mesh.outsider.ipv4());
    test_app::echoes(&pod.place, outside, ECHO)?;
    let counted = Counter::of(agent, "weir_capture_verdicts_total", &[("verdict", "connect_source_unavailable")])?;
    pod.netns().ip(&format!("addr add {OTHER}/32 dev eth0\naddr del {own}/32 dev eth0"))?;
    let route = pod.place.run(&["ip", "route", "get", &outside.to_string()])?;
    ensure!(route.contains(OTHER), "the kernel would send from {route}");
    for to in [outside, mesh.near.ipv4()] {
        let seen = test_app::probe(&pod.place, to, ECHO, "past the mesh")?;
        ensure!(seen.connect == "NetworkUnreachable", "{seen:?}");
    }
    counted.grows_by_exactly(2.0)?;
    let status = agent.weir(&["status"])?;
    let line = format!("2 connections of {NAMESPACE}/far were refused: the pod's address could not be used");
    ensure!(status.stdout.contains(&line), "{}", status.summary());
    test_app::echoes(&pod.place, mesh.near.ipv6(), ECHO).context("by its address of the other family")?;
    pod.netns().ip(&format!("addr add {own}/32 dev eth0\naddr del {OTHER}/32 dev eth0"))?;
    test_app::echoes(&pod.place, outside, ECHO).context("with its address again")?;
    mesh.carries_traffic()
}
