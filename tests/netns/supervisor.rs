//! The agent's two processes: what a death of either costs, and what the supervisor itself costs.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::agent::binary;
use weir_tests::load::{Kill, Load, moment};
use weir_tests::mesh::Mesh;
use weir_tests::test_app::WATCH;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "supervisor: a worker killed twice under load, on either node: new connections wait",
        check: Check::OwnMesh(workers_killed),
    },
    Case {
        name: "supervisor: connections of a killed worker are reset, none seems to have ended, on either node",
        check: Check::OwnMesh(|mesh| ended_is_reset(mesh, Signal::SIGKILL)),
    },
    Case {
        name: "supervisor: connections of a worker that aborts are reset, none seems to have ended, on either node",
        check: Check::OwnMesh(|mesh| ended_is_reset(mesh, Signal::SIGABRT)),
    },
    Case {
        name: "supervisor: with the supervisor goes its worker, and the next agent starts clean",
        check: Check::OwnMesh(supervisor_killed),
    },
    Case {
        name: "supervisor: a worker that dies again and again is started after a pause",
        check: Check::OwnMesh(crash_loop),
    },
    Case {
        name: "supervisor: a worker that stands still is replaced, with what its threads do in the log",
        check: Check::OwnMesh(stopped_worker),
    },
    Case {
        name: "supervisor: a worker of which one data-plane thread stands still is not ready, and replaced",
        check: Check::OwnMesh(stopped_thread),
    },
    Case { name: "supervisor: the supervisor is small", check: Check::Mesh(small) },
];

/// The longest time without a new connection that a death may cost on however busy a machine; what it costs is told.
const GAP_MS: f64 = 5000.0;
/// How long a load goes on before and after a death.
const AROUND: Duration = Duration::from_secs(1);
/// The first deaths are followed by a start at once, later ones by one after a pause that grows.
const AT_ONCE_MS: u128 = 500;
const LATER_MS: u128 = 700;

fn workers_killed(mesh: &mut Mesh) -> Result<()> {
    for (node, side) in [(N1, "client's"), (N2, "server's")] {
        let mut load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
        let mut kills = Vec::new();
        for _ in 0..2 {
            load.goes_on(AROUND)?;
            let killed = mesh.agents[node].id()?;
            let before = moment();
            mesh.agents[node].kill_worker()?;
            kills.push(Kill { before, after: moment() });
            wait::until("another worker serves", Duration::from_secs(20), || {
                ensure!(mesh.agents[node].id()? != killed, "the same");
                mesh.agents[node].metrics().map(drop)
            })?;
        }
        load.goes_on(AROUND)?;
        let seen = load.end()?;
        note(format!("{side} node: {}", seen.summary()));
        note(format!("the last worker: {}", phases(&mesh.agents[node].log())));
        let failed = seen.failed_but_at(&kills);
        ensure!(failed.is_empty(), "new connections failed; {kills:?}: {failed:?}\n{}", mesh.logs());
        ensure!(seen.ok > 0 && seen.longest_gap_ms <= GAP_MS, "{}\n{}", seen.summary(), mesh.logs());
        wait::until("both restarts are counted and reported", Duration::from_secs(10), || {
            let restarts = mesh.agents[node].metrics()?.sum("weir_worker_restarts_total", &[]);
            ensure!(restarts == 2.0, "{restarts} restarts were counted");
            let status = mesh.agents[node].weir(&["status"])?;
            ensure!(status.stdout.contains("2 restarts (the last one ended by SIGKILL)"), "{}", status.stdout);
            Ok(())
        })?;
    }
    mesh.carries_traffic()
}

/// Connections of the client that are kept: over HBONE to the other node and on its own, and in plaintext out of the mesh.
/// Whichever end's agent dies, both applications see that their connection broke. A panic in a task that the agent does not go on without
/// ends it by SIGABRT.
fn ended_is_reset(mesh: &mut Mesh, signal: Signal) -> Result<()> {
    const EACH: usize = 16;
    let app = binary("weir-test-app")?.display().to_string();
    let count = format!("--count={EACH}");
    for (node, targets) in [(N1, vec![&mesh.far, &mesh.near, &mesh.outsider]), (N2, vec![&mesh.far])] {
        let mut held = Vec::new();
        for target in &targets {
            let to = SocketAddr::new(target.ipv4(), WATCH).to_string();
            let program = mesh.client.place.spawn(&[&app, "hold", &to, &count])?;
            wait::until("the connections are open", Duration::from_secs(10), || {
                ensure!(program.stdout().contains("open"), "it says {}", program.tail());
                Ok(())
            })?;
            held.push((target.name(), program));
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", mesh.agents[node].id()?))?;
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        ensure!(core.is_some_and(|core| core.split_ascii_whitespace().eq(["1", "1", "bytes"])), "{limits}");
        let printed = mesh.servers.far.stdout().len();
        mesh.agents[node].end_worker(signal)?;
        for (target, program) in held {
            let output = program.finish(Duration::from_secs(20))?;
            let resets = output.stdout.matches("\"ConnectionReset\"").count();
            ensure!(resets == EACH, "{resets} of {EACH} connections to {target} were reset:\n{}", output.stdout);
        }
        wait::until("the server sees resets only", Duration::from_secs(20), || {
            let seen = mesh.servers.far.stdout().split_off(printed);
            let ends = |end: &str| seen.matches(&format!("\"{end}\"")).count();
            ensure!(ends("ConnectionReset") == EACH && ends("eof") == 0, "it saw {seen}");
            Ok(())
        })?;
        wait::until("another worker serves", Duration::from_secs(20), || mesh.agents[node].metrics().map(drop))?;
        let status = mesh.agents[node].weir(&["status"])?.stdout;
        ensure!(status.contains(&format!("the last one ended by {signal}")), "{status}");
        mesh.carries_traffic()?;
    }
    Ok(())
}

/// How long a worker took for each step of its start, in its own words.
fn phases(log: &str) -> &str {
    let line = log.lines().rev().find_map(|line| line.split_once("agent serves\t"));
    line.map_or("it does not tell", |(_, phases)| phases)
}

fn supervisor_killed(mesh: &mut Mesh) -> Result<()> {
    let mut load = Load::start(&mesh.client.place, mesh.near.ipv4())?;
    load.goes_on(Duration::from_secs(1))?;
    mesh.agents[N1].restart()?;
    load.goes_on(Duration::from_secs(1))?;
    note(load.end()?.summary());
    mesh.carries_traffic()
}

fn crash_loop(mesh: &mut Mesh) -> Result<()> {
    let agent = &mesh.agents[N1];
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let killed = agent.id()?;
        agent.kill_worker()?;
        let start = Instant::now();
        wait::until("another worker", Duration::from_secs(20), || {
            ensure!(agent.id()? != killed, "the same");
            Ok(())
        })?;
        pauses.push(start.elapsed().as_millis());
    }
    note(format!("{pauses:?} ms from each death to the next start"));
    ensure!(pauses[..3].iter().all(|pause| *pause < AT_ONCE_MS), "the first ones are not waited for: {pauses:?}");
    ensure!(pauses[6] >= LATER_MS, "the pauses grow: {pauses:?}");
    mesh.carries_traffic()
}

/// Stops one thread as a debugger does, until it is killed.
const STOP_THREAD: &str = "
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT = 0x4206, 0x4207
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, int(sys.argv[1]), None, None) != 0:
        sys.exit('ptrace: errno %d' % ctypes.get_errno())
print('stopped', flush=True)
time.sleep(600)
";

fn stopped_worker(mesh: &mut Mesh) -> Result<()> {
    hang_soon(mesh)?;
    let (worker, logged) = (mesh.agents[N1].id()?, mesh.agents[N1].log().len());
    kill(Pid::from_raw(worker.cast_signed()), Signal::SIGSTOP)?;
    is_replaced(mesh, worker, logged)
}

fn stopped_thread(mesh: &mut Mesh) -> Result<()> {
    hang_soon(mesh)?;
    let (worker, logged) = (mesh.agents[N1].id()?, mesh.agents[N1].log().len());
    let thread = thread_called(worker, "weir-worker-1")?;
    let debugger = mesh.world.nodes[N1].place.spawn(&["python3", "-c", STOP_THREAD, &thread])?;
    wait::until("the thread is stopped", Duration::from_secs(5), || {
        ensure!(debugger.stdout().contains("stopped"), "{}", debugger.tail());
        Ok(())
    })?;
    mesh.agents[N1].is_not_ready_for("data plane threads", Duration::from_secs(10))?;
    mesh.agents[N1].logs_line(logged, &["the worker stands still: it is replaced"])?;
    // A thread that is traced is waited for by its tracer, and its process until then.
    drop(debugger);
    is_replaced(mesh, worker, logged)
}

/// Starts the agent again with a short patience.
fn hang_soon(mesh: &mut Mesh) -> Result<()> {
    mesh.agents[N1].add_flags(["--hang-seconds=3".to_owned(), "--worker-threads=2".to_owned()]);
    mesh.agents[N1].restart()?;
    mesh.carries_traffic()
}

fn is_replaced(mesh: &mut Mesh, worker: u32, logged: usize) -> Result<()> {
    let agent = &mut mesh.agents[N1];
    let start = Instant::now();
    wait::until("another worker", Duration::from_secs(20), || {
        ensure!(agent.id()? != worker, "the same");
        Ok(())
    })
    .with_context(|| agent.tail())?;
    note(format!("replaced after {:.1} s", start.elapsed().as_secs_f64()));
    agent.logs_line(logged, &["a thread of the worker that stands still", "weir-worker-1 ("])?;
    agent.logs_line(logged, &["the worker stands still: it is replaced"])?;
    agent.becomes_ready()?;
    mesh.carries_traffic()
}

/// The id of a thread of a process.
fn thread_called(process: u32, name: &str) -> Result<String> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim() == name {
            return Ok(task.file_name().to_string_lossy().into_owned());
        }
    }
    anyhow::bail!("no thread of {process} is called {name}")
}

fn small(mesh: &Mesh) -> Result<()> {
    let supervisor = mesh.agents[N1].supervisor()?;
    let text = fs::read_to_string(format!("/proc/{supervisor}/smaps_rollup"))?;
    let of = |name: &str| -> Result<u64> {
        let line = text.lines().find(|line| line.starts_with(name)).context("the kernel tells it")?;
        Ok(line.split_ascii_whitespace().nth(1).context("a figure")?.parse()?)
    };
    let own = of("Private_Dirty:")? + of("Private_Clean:")?;
    note(format!("supervisor: {} KiB resident, {} KiB its share, {own} KiB its own", of("Rss:")?, of("Pss:")?));
    ensure!(own < 3072, "{text}");
    let threads = fs::read_dir(format!("/proc/{supervisor}/task"))?.count();
    ensure!(threads == 1, "{threads} threads");
    Ok(())
}
