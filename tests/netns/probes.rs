//! The kubelet's probes: the kubelet, and nobody else on its node, reaches the application of a STRICT pod as it is.
//!
//! A program called `kubelet` plays it, in a cgroup of its own beside the pods'. Everybody who is refused here has the
//! same address.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::{Agent, binary};
use weir_tests::cgroup;
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::peer_authentication;
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO, PEER, RESET, Seen, WATCH};
use weir_tests::wait;
use weir_tests::world::N2;

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "probes: without a kubelet's cgroup, a kubelet is like anybody", check: Check::Mesh(unknown) },
    Case {
        name: "probes: the kubelet alone reaches the application of a STRICT pod",
        check: Check::OwnMesh(kubelet_beside_the_pods),
    },
    Case {
        name: "probes: a kubelet above the pods' cgroup is told from all below it",
        check: Check::OwnMesh(kubelet_above_the_pods),
    },
    Case { name: "probes: the kubelet is found, and found again when restarted", check: Check::OwnMesh(found) },
    Case { name: "probes: they go on while no agent runs", check: Check::OwnMesh(without_agent) },
    Case {
        name: "probes: a probe of another pod, by its host, reaches no port but those that a pod's own probes name",
        check: Check::OwnMesh(only_named_ports),
    },
];

/// How soon a restarted kubelet must be found: it was looked for in vain for a while.
const FOUND_WITHIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);

/// What plays the kubelet of `far`'s node.
pub(crate) struct Kubelet {
    pub(crate) program: PathBuf,
    pub(crate) place: Place,
}

impl Kubelet {
    fn new(mesh: &Mesh, cgroup: &Path) -> Result<Self> {
        let node = mesh.node_of(&mesh.far);
        let program = node.folder("kubelet")?.join("kubelet");
        if !program.exists() {
            symlink(binary("weir-test-app")?, &program)?;
        }
        cgroup::create(cgroup)?;
        Ok(Self { program, place: node.place.in_cgroup("kubelet", cgroup) })
    }

    /// One in a cgroup beside the pods'.
    pub(crate) fn beside_the_pods(mesh: &Mesh) -> Result<Self> {
        Self::new(mesh, &mesh.world.run().cgroup()?.join("kubelet"))
    }

    fn probe(&self, address: SocketAddr) -> Result<Seen> {
        self.probe_from(&self.place, address, None)
    }

    /// Probes from somewhere else by the name of kubelet.
    fn probe_from(&self, place: &Place, address: SocketAddr, source: Option<SocketAddr>) -> Result<Seen> {
        let (address, source) = (address.to_string(), source.map(|source| source.to_string()));
        let mut arguments = vec!["probe", &address, "--send", "are you well?"];
        arguments.extend(source.iter().flat_map(|source| ["--source", source]));
        test_app::client_called(&self.program, place, PATIENCE, &arguments)
    }

    fn is_answered(&self, address: SocketAddr) -> Result<()> {
        let seen = self.probe(address)?;
        ensure!(seen.received == "are you well?", "the kubelet to {address}: {seen:?}");
        Ok(())
    }

    fn is_refused(&self, place: &Place, address: SocketAddr) -> Result<()> {
        let seen = self.probe_from(place, address, None)?;
        ensure!(seen.refused(), "{} got through to {address}: {seen:?}", place.name());
        Ok(())
    }

    /// What runs for as long as the kubelet does.
    fn run(&self) -> Result<Program> {
        let mut program = self.place.spawn(&[self.program.as_os_str(), "serve".as_ref(), "echo:10250".as_ref()])?;
        program.listens_on(10_250)?;
        Ok(program)
    }
}

fn strict() -> String {
    peer_authentication("case", NAMESPACE, None, "STRICT")
}

pub(crate) fn restart_with_kubelet(agent: &mut Agent, cgroup: &str) -> Result<()> {
    agent.set_kubelet_cgroup(cgroup);
    agent.restart()
}

fn is_strict(mesh: &Mesh) -> Result<()> {
    wait::until("plaintext is refused", Duration::from_secs(5), || {
        let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })
}

/// Every way to name the pod: IPv4, IPv6, and IPv4 over an IPv6 socket.
fn addresses(mesh: &Mesh, port: u16) -> Vec<SocketAddr> {
    let [v4, v6] = mesh.far.addresses();
    let mapped = match v4 {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => IpAddr::from(v6),
    };
    [v4, v6, mapped].map(|address| SocketAddr::new(address, port)).to_vec()
}

fn passed(agent: &Agent) -> Result<Counter<'_>> {
    Counter::of(agent, "weir_capture_verdicts_total", &[("verdict", "lookup_passed_probe")])
}

fn probes_open(agent: &Agent) -> Result<f64> {
    Ok(agent.metrics()?.sum("weir_capture_map_entries", &[("map", "probes")]))
}

fn unknown(mesh: &Mesh) -> Result<()> {
    let kubelet = Kubelet::beside_the_pods(mesh)?;
    kubelet.is_answered(addresses(mesh, ECHO)[0])?;
    let _strict = mesh.control_plane.objects.put_for_now("case", &strict())?;
    is_strict(mesh)?;
    for address in addresses(mesh, ECHO) {
        kubelet.is_refused(&kubelet.place, address)?;
    }
    Ok(())
}

fn kubelet_beside_the_pods(mesh: &mut Mesh) -> Result<()> {
    let kubelet = Kubelet::beside_the_pods(mesh)?;
    only_the_kubelet_passes(mesh, &kubelet)
}

fn kubelet_above_the_pods(mesh: &mut Mesh) -> Result<()> {
    let above = mesh.world.run().cgroup()?;
    let kubelet = Kubelet::new(mesh, &above)?;
    only_the_kubelet_passes(mesh, &kubelet)
}

fn only_the_kubelet_passes(mesh: &mut Mesh, kubelet: &Kubelet) -> Result<()> {
    mesh.control_plane.objects.put("case", &strict())?;
    restart_with_kubelet(&mut mesh.agents[N2], &kubelet.place.cgroup().display().to_string())?;
    is_strict(mesh)?;
    let agent = mesh.agent_of(&mesh.far);
    let let_through = passed(agent)?;
    for address in addresses(mesh, ECHO) {
        kubelet.is_answered(address).with_context(|| agent.tail())?;
    }
    let_through.grows_by(3.0)?;
    let seen = kubelet.probe(addresses(mesh, PEER)[0])?;
    ensure!(seen.received.contains(&seen.local), "the application sees the kubelet itself: {seen:?}");
    let closed = kubelet.probe(addresses(mesh, 9)[0])?;
    ensure!(closed.connect == "ConnectionRefused", "a port that nobody listens on: {closed:?}");

    let (node, child) = (&mesh.node_of(&mesh.far).place, kubelet.place.cgroup().join("child"));
    cgroup::create(&child)?;
    let child = kubelet.place.in_cgroup("a child of the kubelet's cgroup", &child);
    let beside = mesh.world.run().cgroup()?.join("other");
    cgroup::create(&beside)?;
    let beside = kubelet.place.in_cgroup("a cgroup beside the kubelet's", &beside);
    for place in [node, &child, &beside] {
        for address in addresses(mesh, ECHO) {
            kubelet.is_refused(place, address)?;
        }
    }
    port_is_not_inherited(mesh, kubelet)?;
    wait::until("no probe is left", Duration::from_secs(5), || {
        let open = probes_open(agent)?;
        ensure!(open == 0.0, "{open} are noted");
        Ok(())
    })?;
    // The kubelet reaches no pod of another node, and nobody else is kept from anything.
    let elsewhere = kubelet.probe(SocketAddr::new(mesh.near.ipv4(), ECHO))?;
    ensure!(elsewhere.refused(), "the kubelet of another node got through: {elsewhere:?}");
    mesh.carries_traffic()
}

/// The kubelet's connection ends by a reset, so its port is free at once; the next one who has it has nothing else.
fn port_is_not_inherited(mesh: &Mesh, kubelet: &Kubelet) -> Result<()> {
    let node = mesh.node_of(&mesh.far);
    let source = SocketAddr::new(node.ipv4().into(), 45_679);
    let target = addresses(mesh, RESET)[0];
    let let_through = passed(mesh.agent_of(&mesh.far))?;
    let seen = kubelet.probe_from(&kubelet.place, target, Some(source))?;
    ensure!(seen.local == source.to_string(), "{seen:?}");
    let_through.grows_by(1.0)?;
    let seen = kubelet.probe_from(&node.place, target, Some(source))?;
    ensure!(seen.connect != "AddrInUse" && seen.received.is_empty(), "{seen:?}");
    let_through.grows_by_exactly(1.0).with_context(|| format!("connections from {source} that are let through"))
}

/// A directory like /proc that shows nothing but this test's kubelet.
fn processes(mesh: &Mesh) -> Result<PathBuf> {
    mesh.node_of(&mesh.far).folder("proc")
}

fn found(mesh: &mut Mesh) -> Result<()> {
    let kubelet = Kubelet::beside_the_pods(mesh)?;
    let proc = processes(mesh)?;
    mesh.control_plane.objects.put("case", &strict())?;
    mesh.agents[N2].add_flags([format!("--host-proc={}", proc.display())]);
    restart_with_kubelet(&mut mesh.agents[N2], "auto")?;
    is_strict(mesh)?;
    let agent = mesh.agent_of(&mesh.far);
    let status = agent.weir(&["status"])?;
    ensure!(status.stdout.contains("the kubelet is not found"), "{}", status.summary());
    let address = addresses(mesh, ECHO)[0];
    kubelet.is_refused(&kubelet.place, address)?;

    let first = kubelet.run()?;
    symlink(format!("/proc/{}", first.id()), proc.join(first.id().to_string()))?;
    let answered = || kubelet.is_answered(address);
    wait::until("the kubelet is found", FOUND_WITHIN, answered).with_context(|| agent.tail())?;
    let status = agent.weir(&["status"])?;
    ensure!(!status.stdout.contains("the kubelet is not found"), "{}", status.summary());
    let seen = test_app::probe(&kubelet.place, address.ip(), address.port(), "let me in")?;
    ensure!(seen.refused(), "another program in the kubelet's cgroup got through: {seen:?}");

    fs::remove_file(proc.join(first.id().to_string()))?;
    first.stop(PATIENCE)?;
    cgroup::remove(kubelet.place.cgroup())?;
    cgroup::create(kubelet.place.cgroup())?;
    kubelet.is_refused(&kubelet.place, address)?;
    let second = kubelet.run()?;
    symlink(format!("/proc/{}", second.id()), proc.join(second.id().to_string()))?;
    wait::until("the new kubelet is found", FOUND_WITHIN, || kubelet.is_answered(address))
        .with_context(|| agent.tail())?;

    // A pod that calls itself kubelet is not one.
    let posing = Kubelet { program: kubelet.program.clone(), place: mesh.outsider.place.clone() };
    let process = posing.place.spawn(&[posing.program.as_os_str(), "serve".as_ref(), "echo:10250".as_ref()])?;
    symlink(format!("/proc/{}", process.id()), proc.join(process.id().to_string()))?;
    mesh.agents[N2].restart()?;
    kubelet.is_answered(address)?;
    kubelet.is_refused(&mesh.outsider.place, address)
}

/// Whatever pod a probe is of, the kubelet dials what it says. The pods of the mesh are enrolled with the ports of some
/// services as those of their probes.
fn only_named_ports(mesh: &mut Mesh) -> Result<()> {
    let kubelet = Kubelet::beside_the_pods(mesh)?;
    mesh.control_plane.objects.put("case", &strict())?;
    restart_with_kubelet(&mut mesh.agents[N2], &kubelet.place.cgroup().display().to_string())?;
    is_strict(mesh)?;
    let labels = [("verdict", "probe_port_not_named")];
    let refused = Counter::of(mesh.agent_of(&mesh.far), "weir_capture_verdicts_total", &labels)?;
    for (named, other) in addresses(mesh, ECHO).into_iter().zip(addresses(mesh, WATCH)) {
        kubelet.is_answered(named)?;
        kubelet.is_refused(&kubelet.place, other)?;
    }
    refused.grows_by_exactly(3.0)
}

fn without_agent(mesh: &mut Mesh) -> Result<()> {
    let kubelet = Kubelet::beside_the_pods(mesh)?;
    mesh.control_plane.objects.put("case", &strict())?;
    restart_with_kubelet(&mut mesh.agents[N2], &kubelet.place.cgroup().display().to_string())?;
    is_strict(mesh)?;
    mesh.agents[N2].kill()?;
    for address in addresses(mesh, ECHO) {
        kubelet.is_answered(address)?;
        kubelet.is_refused(&mesh.node_of(&mesh.far).place, address)?;
    }
    mesh.agents[N2].launch()?;
    mesh.agents[N2].becomes_ready()?;
    kubelet.is_answered(SocketAddr::new(mesh.far.ipv4(), ECHO))?;
    let nobody = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
    ensure!(kubelet.probe(nobody)?.connect == "ConnectionRefused", "what is no pod's is as it was");
    Ok(())
}
