//! The agent is replaced, or dies, while pods talk: what they see of it, in figures.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::load::{Kill, Moment, moment};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, KEPT, Pair, RATE, Report};
use crate::processes;

pub(crate) const CASES: &[Case] = &[
    Case { name: "agent replacement: the DaemonSet is rolled over under load", check: Check::Mesh(rolled_once) },
    Case {
        name: "agent replacement: the client's agent is killed twice under load",
        check: Check::Mesh(clients_killed),
    },
    Case {
        name: "agent replacement: the server's agent is killed twice under load",
        check: Check::Mesh(servers_killed),
    },
];

pub(crate) const LONG: &[Case] = &[Case {
    name: "agent replacement: the DaemonSet is rolled over under load of 18,000 connections",
    check: Check::Mesh(rolled_for_long),
}];

/// The longest time without a new connection that a killed agent may cause, on however busy a machine; what it is, is told.
const GAP_MS: f64 = 5000.0;

fn rolled_once(cluster: &mut Cluster) -> Result<()> {
    rolled(cluster, "rolled", 35, Duration::from_secs(15))
}

fn rolled_for_long(cluster: &mut Cluster) -> Result<()> {
    rolled(cluster, "rolled-for-long", 95, Duration::from_secs(60))
}

/// With load for so many seconds. The drain must leave time to tell of all before it ends.
fn rolled(cluster: &Cluster, namespace: &str, seconds: u64, drain: Duration) -> Result<()> {
    mesh::set_drain(cluster, drain)?;
    let pair = Pair::create(cluster, namespace, &[IN_MESH])?;
    pair.is_meshed()?;
    let load = pair.load(seconds)?;
    let start = Instant::now();
    mesh::replace(cluster)?;
    note(format!("both nodes have a new agent after {:.1} s", start.elapsed().as_secs_f64()));
    let report = load.report(Duration::from_secs(seconds + 30))?;
    tell(&report);
    note(format!("kept connections that ended, of {KEPT}, at a drain of {} s: {}", drain.as_secs(), report.ends()));
    report.none_failed("new")?;
    let (seen, wanted) = (report.count("new", "ok"), (seconds - 5) * RATE);
    ensure!(seen >= wanted, "only {seen} new connections of {wanted}");
    let early = cut_before(&report, start, drain);
    ensure!(early == 0, "{early} kept connections ended before the drain did: {}", report.0["kept"]);
    mesh::unset_drain(cluster)
}

fn clients_killed(cluster: &mut Cluster) -> Result<()> {
    killed_twice(cluster, "client-killed", CLIENT_NODE)
}

fn servers_killed(cluster: &mut Cluster) -> Result<()> {
    killed_twice(cluster, "server-killed", SERVER_NODE)
}

fn killed_twice(cluster: &Cluster, namespace: &str, node: &str) -> Result<()> {
    let node = cluster.node(node)?;
    let pair = Pair::create(cluster, namespace, &[IN_MESH])?;
    pair.is_meshed()?;
    let load = pair.load(14)?;
    let mut kills = Vec::new();
    for _ in 0..2 {
        let worker = processes::worker(node)?;
        let before = moment();
        node.place().run(&["kill", "-KILL", &worker.id])?;
        wait::until("the worker is gone", Duration::from_secs(5), || {
            ensure!(!processes::all(node)?.contains(&worker), "it goes on running");
            Ok(())
        })?;
        kills.push(Kill { before, after: moment() });
        wait::until("another worker runs", Duration::from_secs(10), || {
            let next = processes::worker(node)?;
            ensure!(next != worker, "it is the same");
            Ok(())
        })?;
        // Time for kept connections to be opened again, so that the second time there is something to lose.
        wait::throughout("the agents stay", Duration::from_secs(4), || mesh::agents(cluster).map(drop))?;
    }
    let report = load.report(Duration::from_secs(40))?;
    tell(&report);
    note(format!("longest time without a new connection: {:.0} ms", report.gap()));
    let late: Vec<&Value> =
        report.failures("new").iter().filter(|failure| !was_under_way(failure, &report, &kills)).collect();
    ensure!(late.is_empty(), "connections failed that began after the agent was killed: {late:?}");
    ensure!(report.gap() <= GAP_MS, "no new connection for {:.0} ms", report.gap());
    ensure!(mesh::agents(cluster)?.iter().all(|agent| agent.restarts == 0), "a container was restarted");
    Ok(())
}

/// Whether a connection that failed was under way when the agent was killed: what was being carried then is lost.
fn was_under_way(failure: &Value, report: &Report, kills: &[Kill]) -> bool {
    let ms = |value: &Value| value.as_f64().unwrap_or_default();
    let ended = ms(&report.0["began_unix_ms"]) + ms(&failure["at_ms"]);
    let begun = ended - ms(&failure["after_ms"]);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    let (begun, ended) = (begun as Moment, ended as Moment);
    kills.iter().any(|kill| begun <= kill.after && ended >= kill.before)
}

fn tell(report: &Report) {
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    note(format!("at {KEPT} kept and {RATE} new connections a second"));
}

/// Kept connections that ended before a drain that began after `start` can have been over.
fn cut_before(report: &Report, start: Instant, drain: Duration) -> usize {
    let load_began = Duration::from_millis(report.0["began_unix_ms"].as_u64().unwrap_or_default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let rollout = (now - start.elapsed()).saturating_sub(load_began);
    let over = (rollout + drain).as_secs_f64() * 1000.0;
    let failures = report.failures("kept");
    failures.iter().filter(|failure| failure["at_ms"].as_f64().is_some_and(|at| at < over)).count()
}
