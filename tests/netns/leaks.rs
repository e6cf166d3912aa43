//! What is left of pods and connections that are gone: nothing. Counted from outside, as the kernel has it, and by the
//! agents' own figures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::N1;

use crate::harness::{Case, Check, note};
use crate::holdings::{as_before, settled};

pub(crate) const CASES: &[Case] = &[
    Case { name: "leaks: 200 pods that came and went leave nothing", check: Check::OwnMesh(pods) },
    Case { name: "leaks: 20000 connections leave nothing", check: Check::OwnMesh(|mesh| connections(mesh, 20_000)) },
];

/// Forms that take minutes; each says how many.
pub(crate) const LONG: &[Case] = &[Case {
    name: "leaks: 100000 connections leave nothing (long: about two minutes)",
    check: Check::OwnMesh(|mesh| connections(mesh, 100_000)),
}];

/// Pods that are enrolled at the same time.
const ROUND: u64 = 10;
const ROUNDS: u64 = 20;
/// Connections per call of the client.
const CHUNK: u64 = 5000;
/// How long what is gone may linger: the sweep of idle HBONE connections, and the kernel's own pace.
const SETTLES: Duration = Duration::from_secs(20);
/// What resident memory may grow by: the allocator keeps freed pages, and pods that were there have left counters.
const MEMORY_MIB: f64 = 12.0;

fn pods(mesh: &mut Mesh) -> Result<()> {
    // One round and some connections first: what is made once and kept is no leak.
    round(mesh, 0)?;
    chunk(mesh, CHUNK)?;
    let before = settled(&mesh.agents, SETTLES)?;
    let start = Instant::now();
    for number in 1..=ROUNDS {
        round(mesh, number)?;
    }
    note(format!("{} pods in {:.1} s", ROUND * ROUNDS, start.elapsed().as_secs_f64()));
    as_before(&mesh.agents, &before, MEMORY_MIB, SETTLES)?;
    mesh.carries_traffic()
}

/// Pods are made, enrolled, used, and go: every other one is unenrolled first, the others just die.
fn round(mesh: &Mesh, number: u64) -> Result<()> {
    let agent = &mesh.agents[N1];
    let mut alive = Vec::new();
    for index in 0..ROUND {
        let pod = mesh.world.nodes[N1].pod(&format!("leak-{number}-{index}"))?;
        let server = if index == 0 { Some(test_app::serve(&pod.place)?) } else { None };
        // The first four carry an identity that the authority knows; the others get no certificate.
        agent.enroll(&pod, NAMESPACE, if index < 4 { mesh.client.name() } else { pod.name() })?;
        alive.push((pod, server));
    }
    for (pod, _) in alive.iter().take(4) {
        for to in [&mesh.far, &mesh.outsider] {
            test_app::echoes(&pod.place, to.ipv4(), ECHO)?;
        }
    }
    for (pod, _) in alive.iter().step_by(2) {
        agent.unenroll(pod.name())?;
    }
    drop(alive);
    wait::until("the agent lets go of them", Duration::from_secs(5), || {
        let pods = agent.weir(&["pods", "--socket", &agent.socket()])?;
        ensure!(pods.success && !pods.stdout.contains("leak-"), "{}", pods.summary());
        Ok(())
    })
}

fn connections(mesh: &mut Mesh, count: u64) -> Result<()> {
    chunk(mesh, CHUNK)?;
    let before = settled(&mesh.agents, SETTLES)?;
    let start = Instant::now();
    for _ in 0..count / CHUNK {
        chunk(mesh, CHUNK)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    note(format!("{count} connections in {seconds:.1} s, {:.0} per second", count as f64 / seconds));
    as_before(&mesh.agents, &before, MEMORY_MIB, SETTLES).map(drop)
}

/// So many connections to a pod of the other node, at most 64 at a time.
fn chunk(mesh: &Mesh, count: u64) -> Result<()> {
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let arguments = ["many", &to, "--count", &count.to_string(), "--concurrent", "64"];
    let many: Many = test_app::client(&mesh.client.place, Duration::from_secs(90), &arguments)
        .with_context(|| format!("{count} connections"))?;
    ensure!(many.ok == count, "{many:?}");
    Ok(())
}
