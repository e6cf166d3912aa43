//! A node on which something that an agent writes to, or waits for, stands still: whoever has nothing to do with it goes on.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::disk::Disk;
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "faults: while the disk stands still pods come and go, questions are answered, connections are opened",
        check: Check::OwnMesh(disk),
    },
    Case {
        name: "faults: while a successor says nothing questions are answered and connections opened, and no pod is lost",
        check: Check::OwnMesh(successor),
    },
];

const WRITE_FAILURES: &str = "weir_state_write_failures_total";
/// How long a pod may take to be enrolled, or to leave: far more than it does, and less than whoever waits for a disk would wait.
const PROMPT: Duration = Duration::from_secs(10);
/// How long what stands still is watched while it does.
const WATCHED: Duration = Duration::from_secs(1);

/// What needs neither disk nor successor.
fn goes_on(mesh: &Mesh, agent: &Agent) -> Result<()> {
    agent.metrics().context("metrics")?;
    agent.config_dump().context("the configuration")?;
    ensure!(agent.has_enrolled(mesh.client.name())?, "the client is not on the list of pods");
    let status = agent.weir(&["status"])?;
    ensure!(status.stdout.contains("pods"), "{}", status.summary());
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("a connection over HBONE")?;
    test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO).context("a connection out of the mesh")?;
    Ok(())
}

/// Pods of the first node that the mesh knows, not enrolled yet.
fn known_pods<const N: usize>(mesh: &Mesh, names: [&str; N]) -> Result<[Pod; N]> {
    let mut pods = Vec::new();
    for name in names {
        let pod = mesh.world.nodes[N1].pod(name)?;
        mesh.control_plane.objects.put(name, &workload_entry(&pod))?;
        pods.push(pod);
    }
    Ok(pods.try_into().expect("one for each name"))
}

/// Enrols a pod, promptly, and has it reach another one over HBONE.
fn joins(mesh: &Mesh, agent: &Agent, pod: &Pod) -> Result<Duration> {
    let received = Counter::received(mesh, pod, &mesh.far)?;
    let start = Instant::now();
    agent.enroll(pod, NAMESPACE, pod.name())?;
    let took = start.elapsed();
    ensure!(took < PROMPT, "{} was enrolled after {took:.1?}", pod.name());
    wait::until("its connections are carried", PROMPT, || test_app::echoes(&pod.place, mesh.far.ipv4(), ECHO))?;
    received.grows_by(1.0)?;
    Ok(took)
}

fn disk(mesh: &mut Mesh) -> Result<()> {
    let state = mesh.agents[N1].folders().state.clone();
    mesh.agents[N1].kill()?;
    let disk = Disk::over(mesh.world.run(), &state)?;
    mesh.agents[N1].launch()?;
    mesh.agents[N1].becomes_ready()?;
    for pod in [&mesh.client, &mesh.near] {
        mesh.agents[N1].enroll(pod, NAMESPACE, pod.name())?;
    }
    mesh.carries_traffic()?;
    let pods = known_pods(mesh, ["one", "two", "three"])?;
    let [one, two, three] = &pods;
    let stands_still = disk.stands_still()?;
    let agent = &mesh.agents[N1];
    let failures = Counter::of(agent, WRITE_FAILURES, &[("file", "enrolled_pods")])?;
    let mut took = Vec::new();
    for pod in [one, two, three] {
        took.push(joins(mesh, agent, pod)?);
    }
    note(format!("enrolled within {took:.2?}"));
    failures.grows_by(3.0).context("the list was not written")?;
    agent.unenroll(two.name()).context("a pod may always leave")?;
    let _later = known_pods(mesh, ["later"])?;
    wait::until("what cannot be saved is in force all the same", PROMPT, || {
        ensure!(agent.config_dump()?.to_string().contains("\"later\""), "the workload is not known");
        Ok(())
    })?;
    wait::throughout("all else goes on", WATCHED, || goes_on(mesh, agent))?;
    drop(stands_still);
    wait::until("the list is written", PROMPT, || {
        let list = fs::read_to_string(state.join("enrolled-pods.json"))?;
        let has = |pod: &Pod| list.contains(&format!("\"{}\"", pod.name()));
        ensure!(has(one) && has(three) && has(&mesh.near) && !has(two), "{list}");
        Ok(())
    })?;
    mesh.agents[N1].restart()?;
    let agent = &mesh.agents[N1];
    for (pod, is_enrolled) in [(one, true), (two, false), (three, true), (&mesh.client, true)] {
        ensure!(agent.has_enrolled(pod.name())? == is_enrolled, "{} after a restart", pod.name());
    }
    mesh.agents[N1].kill()?;
    drop(disk);
    Ok(())
}

/// Connects to a supervisor as its successor does, waits for a file before it asks for the sockets, and says no more.
const SILENT_SUCCESSOR: &str = "
import json, os, socket, sys, time
network = os.stat('/proc/self/ns/net')
supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
supervisor.connect(sys.argv[1])
supervisor.send(json.dumps({'Hello': {'version': 1, 'network': [network.st_dev, network.st_ino]}}).encode())
print(supervisor.recv(4096).decode(), flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
supervisor.send(b'\"TakeOver\"')
time.sleep(600)
";

fn successor(mesh: &mut Mesh) -> Result<()> {
    let [early, meanwhile] = known_pods(mesh, ["early", "meanwhile"])?;
    let agent = &mesh.agents[N1];
    let socket = agent.folders().run.join("keeper.sock").display().to_string();
    let take_over = mesh.world.run().folder().join("take-over");
    let command = ["python3", "-c", SILENT_SUCCESSOR, &socket, &take_over.display().to_string()];
    let logged = agent.log().len();
    let silent = mesh.world.nodes[N1].place.spawn(&command)?;
    agent.logs_line(logged, &["a successor prepares"])?;
    joins(mesh, agent, &early).context("the successor prepares")?;
    fs::write(&take_over, "")?;
    agent.logs_line(logged, &["a successor takes over: pods that come or go wait"])?;
    thread::scope(|scope| -> Result<()> {
        let enrolling = scope.spawn(|| joins(mesh, agent, &meanwhile));
        let questions = wait::throughout("all else goes on", WATCHED, || {
            ensure!(!agent.log().contains("this agent goes on"), "the successor was given up");
            ensure!(!agent.has_enrolled(meanwhile.name())?, "whose the pod is must be decided first");
            goes_on(mesh, agent)
        });
        // It is decided now, also where a question was not answered.
        drop(silent);
        questions?;
        agent.logs_line(logged, &["the successor failed: this agent goes on"])?;
        let waited = enrolling.join().expect("it does not panic")?;
        note(format!("the pod that came meanwhile waited for {waited:.1?}"));
        Ok(())
    })?;
    mesh.carries_traffic()
}
