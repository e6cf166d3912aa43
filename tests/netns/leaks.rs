//! What is left of pods and connections that are gone: nothing. Counted from outside, as the kernel has it, and by the
//! agents' own figures.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::folder::files_below;
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::N1;

use crate::harness::{Case, Check, note};

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

/// What an agent holds.
#[derive(Debug, Clone, PartialEq)]
struct Holdings {
    /// By kind: everything that must be as before.
    counts: BTreeMap<String, u64>,
    resident_mib: f64,
}

impl Holdings {
    fn of(agent: &Agent) -> Result<Self> {
        let mut counts = BTreeMap::new();
        let process = format!("/proc/{}", agent.id()?);
        for entry in fs::read_dir(format!("{process}/fd"))? {
            // A descriptor that was closed meanwhile is none.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.display().to_string();
            let kind = target.split([':', '[']).next().filter(|kind| !kind.starts_with('/')).unwrap_or("file");
            let is_namespace = target.starts_with("/run/netns") || kind == "net";
            *counts.entry(format!("fds: {}", if is_namespace { "netns" } else { kind })).or_default() += 1;
        }
        counts.insert("threads".into(), fs::read_dir(format!("{process}/task"))?.count() as u64);
        counts.insert("pins".into(), files_below(&agent.folders().bpf)?);
        counts.insert("keys".into(), files_below(&agent.folders().run.join("certificates"))?);
        let metrics = agent.metrics()?;
        for sample in metrics.matching("weir_capture_map_entries", &[]) {
            counts.insert(format!("map: {}", sample.labels["map"]), sample.value as u64);
        }
        for (name, metric) in [
            ("pods", "workload_manager_active_proxy_count"),
            ("connections open", "istio_tcp_sockets_open"),
            ("HBONE connections", "weir_hbone_connections_open"),
            ("identities", "weir_certificate_expiry_seconds"),
        ] {
            let samples: Vec<f64> = metrics.matching(metric, &[]).map(|sample| sample.value).collect();
            let count = if name == "identities" { samples.len() as f64 } else { samples.iter().sum() };
            counts.insert(name.into(), count as u64);
        }
        let resident_mib = metrics.sum("process_resident_memory_bytes", &[]) / f64::from(1 << 20);
        Ok(Self { counts, resident_mib })
    }

    /// What there is more of than before.
    fn more_than(&self, before: &Self) -> Vec<String> {
        let more = self.counts.iter().filter(|(kind, count)| {
            // Worker threads come and go with what must not hold up others.
            let allowed =
                before.counts.get(*kind).copied().unwrap_or_default() + if *kind == "threads" { 8 } else { 0 };
            **count > allowed
        });
        more.map(|(kind, count)| format!("{kind}: {count}, before {:?}", before.counts.get(kind))).collect()
    }
}

/// Waits until both agents hold no more than before, and prints what they hold.
fn as_before(mesh: &Mesh, before: &[Holdings]) -> Result<()> {
    for (agent, before) in mesh.agents.iter().zip(before) {
        let after = wait::until("nothing more is held than before", SETTLES, || {
            let now = Holdings::of(agent)?;
            let more = now.more_than(before);
            ensure!(more.is_empty(), "the agent of {} holds {more:#?}", agent.place().name());
            Ok(now)
        })?;
        let grown = after.resident_mib - before.resident_mib;
        let name = agent.place().name();
        let counts: Vec<String> = after.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        note(format!("{name}: {}", counts.join(", ")));
        note(format!("{name}: {:.1} MiB resident, {grown:+.1} MiB", after.resident_mib));
        ensure!(grown < MEMORY_MIB, "the agent of {name} has grown by {grown:.1} MiB");
    }
    Ok(())
}

fn pods(mesh: &mut Mesh) -> Result<()> {
    // One round and some connections first: what is made once and kept is no leak.
    round(mesh, 0)?;
    chunk(mesh, CHUNK)?;
    let before = settled(mesh)?;
    let start = Instant::now();
    for number in 1..=ROUNDS {
        round(mesh, number)?;
    }
    note(format!("{} pods in {:.1} s", ROUND * ROUNDS, start.elapsed().as_secs_f64()));
    as_before(mesh, &before)?;
    mesh.carries_traffic()
}

/// What both agents hold once nothing is under way.
fn settled(mesh: &Mesh) -> Result<Vec<Holdings>> {
    mesh.agents
        .iter()
        .map(|agent| {
            wait::until("all connections are closed", SETTLES, || {
                let now = Holdings::of(agent)?;
                ensure!(now.counts["connections open"] == 0 && now.counts["map: flows"] == 0, "{now:?}");
                Ok(now)
            })
        })
        .collect()
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
    let before = settled(mesh)?;
    let start = Instant::now();
    for _ in 0..count / CHUNK {
        chunk(mesh, CHUNK)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    note(format!("{count} connections in {seconds:.1} s, {:.0} per second", count as f64 / seconds));
    as_before(mesh, &before)
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
