//! One agent after the other on a node, both running for a while: nothing is refused, nothing is cut off before its time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::{Agent, Misconfigured};
use weir_tests::load::{KEPT, Kill, Load, Moment, moment, moment_of};
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "succession: agents replaced under load refuse nothing, and cut nothing off early",
        check: Check::OwnMesh(rolled),
    },
    Case {
        name: "succession: several in a row, each before the last one's drain is over",
        check: Check::OwnMesh(in_a_row),
    },
    Case { name: "succession: a successor that fails changes nothing", check: Check::OwnMesh(broken) },
    Case { name: "succession: a successor killed later on is stood in for", check: Check::OwnMesh(stood_in_for) },
    Case {
        name: "succession: an agent in a namespace of its own waits to be told that it is not needed any more",
        check: Check::OwnMesh(beside),
    },
    Case { name: "succession: no pod that comes meanwhile is lost", check: Check::OwnMesh(pods_meanwhile) },
];

/// How long a replaced agent may finish what is open.
const DRAIN: Duration = Duration::from_secs(8);

/// Starts an agent's successor and waits until it serves; the old one drains then.
fn replace(mesh: &mut Mesh, node: usize) -> Result<(Agent, Moment)> {
    let start = moment();
    let (old, serves) = mesh.agents[node].replace()?;
    let relieved = moment_of(serves);
    note(format!("n{}: {} ms from the successor's start until it serves", node + 1, relieved - start));
    Ok((old, relieved))
}

/// The mesh's agents again, with a short drain.
fn with_short_drain(mesh: &mut Mesh) -> Result<()> {
    for agent in &mut mesh.agents {
        agent.stop(Duration::from_secs(20))?;
        agent.add_flags([format!("--drain-seconds={}", DRAIN.as_secs())]);
        agent.launch()?;
        agent.becomes_ready()?;
    }
    mesh.carries_traffic()
}

fn rolled(mesh: &mut Mesh) -> Result<()> {
    with_short_drain(mesh)?;
    let mut load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
    load.goes_on(Duration::from_secs(2))?;
    let (old_client_side, relieved) = replace(mesh, N1)?;
    let (old_server_side, _) = replace(mesh, N2)?;
    for mut old in [old_client_side, old_server_side] {
        let ended = old.finish(DRAIN + Duration::from_secs(10))?;
        ensure!(ended.success, "a relieved agent ends with its drain: {}", ended.summary());
    }
    load.goes_on(Duration::from_secs(2))?;
    let seen = load.end()?;
    note(seen.summary());
    seen.no_new_failed().with_context(|| mesh.logs())?;
    ensure!(seen.ok > 2000, "{}", seen.summary());
    // They break when a drain ends, not before, and only those that were there.
    ensure!(seen.broken.len() <= 2 * KEPT, "{:?}", seen.broken);
    let first = seen.broken.iter().map(|broken| broken.ended).min().unwrap_or(Moment::MAX);
    let lasted = first.saturating_sub(relieved);
    note(format!("kept connections lasted {lasted} ms beyond the successor's start; then: {:?}", seen.broken.first()));
    ensure!(
        lasted + 100 >= u64::try_from(DRAIN.as_millis())?,
        "a kept connection broke {lasted} ms after: {:?}",
        seen.broken
    );
    mesh.carries_traffic()
}

fn in_a_row(mesh: &mut Mesh) -> Result<()> {
    let mut load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
    let mut old = Vec::new();
    for node in [N1, N2, N1, N2, N1, N2] {
        old.push(replace(mesh, node)?.0);
        load.goes_on(Duration::from_secs(1))?;
    }
    let seen = load.end()?;
    note(seen.summary());
    seen.nothing_failed().with_context(|| mesh.logs())?;
    for mut agent in old {
        let ended = agent.finish(Duration::from_secs(20))?;
        ensure!(ended.success, "a relieved agent ends when nothing is open any more: {}", ended.summary());
    }
    mesh.carries_traffic()
}

fn broken(mesh: &mut Mesh) -> Result<()> {
    let mut load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
    for node in [N1, N2] {
        load.goes_on(Duration::from_secs(1))?;
        // One that cannot capture, which shows when it has taken over already.
        let nowhere = Misconfigured::PodsCgroup("/nowhere".into());
        let mut failing = mesh.agents[node].successor().misconfigured(nowhere);
        failing.launch()?;
        let ended = failing.finish(Duration::from_secs(20))?;
        ensure!(!ended.success, "it has no cgroup to capture: {}", ended.summary());
        ensure!(ended.stderr.contains("/nowhere"), "it says why: {}", ended.summary());
        wait::until("the agent goes on", Duration::from_secs(5), || {
            ensure!(mesh.agents[node].log().contains("the successor failed: this agent goes on"), "it has not said so");
            Ok(())
        })?;
        // One that is killed while it prepares: it never gets a configuration.
        let silent = Misconfigured::ControlPlane("https://192.0.2.1:15012".to_owned());
        let mut waiting = mesh.agents[node].successor().misconfigured(silent);
        waiting.launch()?;
        wait::until("it prepares", Duration::from_secs(10), || {
            ensure!(waiting.log().contains("waiting for the configuration"), "not yet: {}", waiting.log());
            Ok(())
        })?;
        waiting.kill()?;
    }
    let late = mesh.world.nodes[N1].pod("late")?;
    mesh.control_plane.objects.put("late", &workload_entry(&late))?;
    mesh.agents[N1].enroll(&late, NAMESPACE, "late")?;
    load.goes_on(Duration::from_secs(1))?;
    let seen = load.end()?;
    note(seen.summary());
    seen.nothing_failed().with_context(|| mesh.logs())?;
    mesh.carries_traffic()
}

fn stood_in_for(mesh: &mut Mesh) -> Result<()> {
    let mut load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
    load.goes_on(Duration::from_secs(1))?;
    // As long as something is open at the old one, it is there to stand in.
    let (old, _) = replace(mesh, N1)?;
    load.goes_on(Duration::from_secs(1))?;
    let before = moment();
    mesh.agents[N1].kill()?;
    let kill = Kill { before, after: moment() };
    mesh.agents[N1] = old;
    mesh.agents[N1].becomes_ready()?;
    load.goes_on(Duration::from_secs(2))?;
    let seen = load.end()?;
    note(seen.summary());
    let failed = seen.failed_but_at(&[kill]);
    ensure!(seen.ok > 0 && failed.is_empty(), "{failed:?}\n{}", mesh.logs());
    mesh.carries_traffic()
}

fn beside(mesh: &mut Mesh) -> Result<()> {
    let mut load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
    load.goes_on(Duration::from_secs(1))?;
    // Every container has a network namespace and a cgroup of its own: no port is in anybody's way.
    let successor = mesh.agents[N1].successor().elsewhere(&mesh.world.fabric);
    let mut old = std::mem::replace(&mut mesh.agents[N1], successor);
    mesh.agents[N1].launch()?;
    mesh.agents[N1].becomes_ready()?;
    wait::until("the successor serves", Duration::from_secs(5), || {
        ensure!(old.log().contains("a successor serves the node"), "not yet: {}", old.tail());
        Ok(())
    })?;
    load.goes_on(Duration::from_secs(1))?;
    let seen = load.end()?;
    note(seen.summary());
    seen.nothing_failed().with_context(|| mesh.logs())?;
    wait::until("nothing is open at the old one any more", Duration::from_secs(20), || {
        ensure!(old.workers()?.is_empty(), "it still has a worker");
        Ok(())
    })?;
    // Ending by itself it would be started again, and take over in its turn.
    wait::throughout("it waits to be told", Duration::from_millis(500), || old.supervisor().map(drop))?;
    let ended = old.stop(Duration::from_secs(5))?;
    ensure!(ended.success, "told to stop, it ends: {}", ended.summary());
    mesh.carries_traffic()
}

fn pods_meanwhile(mesh: &mut Mesh) -> Result<()> {
    let mut pods = Vec::new();
    for serial in 0..6 {
        let pod = mesh.world.nodes[N1].pod(&format!("pod{serial}"))?;
        mesh.control_plane.objects.put(pod.name(), &workload_entry(&pod))?;
        pods.push(pod);
    }
    mesh.agents[N1].enroll(&pods[0], NAMESPACE, "pod0")?;
    let mut successor = mesh.agents[N1].successor();
    successor.launch()?;
    // As pods come: whichever agent has the socket, the pod is enrolled.
    for pod in &pods[1..] {
        let enrolled = wait::until("a pod is enrolled meanwhile", Duration::from_secs(5), || {
            successor.enroll(pod, NAMESPACE, pod.name())
        });
        enrolled.with_context(|| format!("{}\n{}", mesh.agents[N1].tail(), successor.tail()))?;
    }
    wait::until("the successor serves", Duration::from_secs(20), || {
        ensure!(mesh.agents[N1].log().contains("a successor serves the node"), "not yet");
        Ok(())
    })?;
    drop(std::mem::replace(&mut mesh.agents[N1], successor));
    mesh.agents[N1].becomes_ready()?;
    let socket = mesh.agents[N1].socket();
    let listed = mesh.agents[N1].weir(&["pods", "--socket", &socket])?.stdout;
    for pod in &pods {
        ensure!(listed.contains(pod.name()), "{} is lost:\n{listed}", pod.name());
        let reached = wait::until("it is captured", Duration::from_secs(10), || {
            test_app::echoes(&pod.place, mesh.far.ipv4(), ECHO)
        });
        reached.with_context(|| mesh.logs())?;
    }
    mesh.carries_traffic()
}
