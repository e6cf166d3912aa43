//! The agent's two processes: what a death of either costs, and what the supervisor itself costs.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::load::{Load, moment};
use weir_tests::mesh::Mesh;
use weir_tests::wait;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "supervisor: a worker killed twice under load, on either node: new connections wait",
        check: Check::OwnMesh(workers_killed),
    },
    Case {
        name: "supervisor: with the supervisor goes its worker, and the next agent starts clean",
        check: Check::OwnMesh(supervisor_killed),
    },
    Case {
        name: "supervisor: a worker that dies again and again is started after a pause",
        check: Check::OwnMesh(crash_loop),
    },
    Case { name: "supervisor: the supervisor is small", check: Check::Mesh(small) },
];

/// A new connection is open for at most so many milliseconds before it has its answer, but when somebody dies.
const OPEN_MS: u64 = 100;
/// The longest time without a new connection that a death may cost, in milliseconds.
const GAP_MS: f64 = 500.0;

fn workers_killed(mesh: &mut Mesh) -> Result<()> {
    for (node, side) in [(0, "client's"), (1, "server's")] {
        let load = Load::start(&mesh.client.place, mesh.far.ipv4())?;
        let mut kills = Vec::new();
        for _ in 0..2 {
            load.goes_on(Duration::from_secs(3));
            let killed = mesh.agents[node].id()?;
            kills.push(moment());
            mesh.agents[node].kill_worker()?;
            wait::until("another worker serves", Duration::from_secs(5), || {
                ensure!(mesh.agents[node].id()? != killed, "the same");
                mesh.agents[node].metrics().map(drop)
            })?;
        }
        load.goes_on(Duration::from_secs(3));
        let seen = load.end()?;
        note(format!("{side} node: {}", seen.summary()));
        note(format!("the last worker: {}", phases(&mesh.agents[node].log())));
        let failed = seen.failed_but_at(&kills, OPEN_MS);
        ensure!(failed.is_empty(), "new connections failed; kills at {kills:?}: {failed:?}\n{}", mesh.logs());
        ensure!(seen.longest_gap_ms <= GAP_MS, "{}\n{}", seen.summary(), mesh.logs());
        let restarts = mesh.agents[node].metrics()?.sum("weir_worker_restarts_total", &[]);
        ensure!(restarts == 2.0, "{restarts} restarts were counted");
        let status = mesh.agents[node].weir(&["status"])?;
        ensure!(status.stdout.contains("2 restarts (the last one ended by SIGKILL)"), "{}", status.stdout);
    }
    mesh.carries_traffic()
}

/// How long a worker took for each step of its start, in its own words.
fn phases(log: &str) -> &str {
    let line = log.lines().rev().find_map(|line| line.split_once("agent serves\t"));
    line.map_or("it does not tell", |(_, phases)| phases)
}

fn supervisor_killed(mesh: &mut Mesh) -> Result<()> {
    let load = Load::start(&mesh.client.place, mesh.near.ipv4())?;
    load.goes_on(Duration::from_secs(1));
    mesh.agents[0].kill()?;
    mesh.agents[0].launch()?;
    mesh.agents[0].becomes_ready()?;
    load.goes_on(Duration::from_secs(1));
    note(load.end()?.summary());
    mesh.carries_traffic()
}

fn crash_loop(mesh: &mut Mesh) -> Result<()> {
    let agent = &mesh.agents[0];
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let killed = agent.id()?;
        agent.kill_worker()?;
        let start = Instant::now();
        wait::until("another worker", Duration::from_secs(10), || {
            ensure!(agent.id()? != killed, "the same");
            Ok(())
        })?;
        pauses.push(start.elapsed().as_millis());
    }
    note(format!("{pauses:?} ms from each death to the next start"));
    let tenth = |pause: &u128| *pause < 100;
    ensure!(pauses[..3].iter().all(tenth), "the first ones are not waited for: {pauses:?}");
    ensure!(pauses[6] >= 700, "the pauses grow: {pauses:?}");
    mesh.carries_traffic()
}

fn small(mesh: &Mesh) -> Result<()> {
    let supervisor = mesh.agents[0].supervisor()?;
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
