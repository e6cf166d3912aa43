//! Shares of the log and of the queue of spans: a pod of which more is told than can be written or exported costs no other pod's.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use weir_tests::agent::Agent;
use weir_tests::collector::{CLIENT, Collector};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::mesh::Mesh;
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::N1;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "limits: a pod that floods the log, while nobody reads it, costs no line of another pod",
        check: Check::OwnMesh(log),
    },
    Case {
        name: "limits: a pod that floods the queue of spans, while the collector takes none, costs no span of another pod",
        check: Check::OwnHttp(spans),
    },
];

const WITHIN: Duration = Duration::from_secs(15);
/// More than there is room for, and what must not be lost of another pod.
const FLOOD: u64 = 16_000;
const FEW: usize = 50;

/// Opens a pipe, and copies what is in it once a file exists.
const READER: &str = "
import os, sys, time
pipe = open(sys.argv[1], 'rb', buffering=0)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
while data := pipe.read(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
";

/// Waits until the limit is counted, and shown for the client alone.
fn is_told(agent: &Agent, limit: &str) -> Result<()> {
    wait::until("the limit is counted and shown", WITHIN, || {
        let times = agent.metrics()?.sum("weir_limit_reached_total", &[("limit", limit)]);
        ensure!(times >= 1.0, "it was reached {times} times");
        let status = agent.weir(&["status"])?.stdout;
        let shown: Vec<&str> = status.lines().filter(|line| line.contains("has reached its limit")).collect();
        let [one] = &*shown else { anyhow::bail!("{status}") };
        ensure!(one.contains(&format!("shop/client has reached its limit {limit} ")), "{status}");
        Ok(())
    })
}

fn log(mesh: &mut Mesh) -> Result<()> {
    let folder = mesh.world.run().folder();
    let (pipe, read) = (folder.join("log-pipe"), folder.join("read"));
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let [from, once] = [&pipe, &read].map(|path| path.display().to_string());
    let reader = mesh.world.nodes[N1].place.spawn(&["python3", "-c", READER, &from, &once])?;
    mesh.agents[N1].run_under(["sh".to_owned(), "-c".to_owned(), format!("exec \"$0\" \"$@\" >{from}")]);
    mesh.agents[N1].restart()?;
    mesh.carries_traffic()?;
    let connect = |pod: &weir_tests::world::Pod, to, count: u64| -> Result<()> {
        let (to, count_flag) = (SocketAddr::new(to, ECHO).to_string(), format!("--count={count}"));
        let many: Many = test_app::client(&pod.place, 4 * WITHIN, &["many", &to, &count_flag, "--concurrent=32"])?;
        ensure!(many.ok == count, "{many:?}");
        Ok(())
    };
    connect(&mesh.client, mesh.far.ipv4(), FLOOD)?;
    connect(&mesh.near, mesh.far.ipv6(), FEW as u64)?;
    fs::write(&read, "")?;
    let to = format!("dst.hbone_addr={} ", SocketAddr::new(mesh.far.ipv6(), ECHO));
    wait::until("the other pod's lines come, all of them", WITHIN, || {
        let log = reader.stdout();
        let is_its = |line: &&str| line.contains("src.workload=\"near\"") && line.contains(&to);
        let lines = log.lines().filter(is_its).count();
        ensure!(lines == FEW, "{lines} of {FEW} have come");
        Ok(())
    })?;
    let agent = &mesh.agents[N1];
    is_told(agent, "log_bytes")?;
    let dropped = agent.metrics()?.sum("weir_log_lines_dropped_total", &[]);
    ensure!(dropped > 0.0, "there was room for all lines: this proves nothing");
    note(format!("{dropped} of {FLOOD} lines of the flooding pod were dropped"));
    Ok(())
}

fn spans(mesh: &mut HttpMesh) -> Result<()> {
    let collector = Collector::start(mesh, "collector")?;
    let (service, other) = (mesh.version("v2"), mesh.pod("v1"));
    let url = format!("http://{}/", service.vip());
    let ask = |count: usize| {
        let urls = vec![&*url; count];
        let mut curl = vec!["curl", "-sS", "--max-time", "20", "--output", "/dev/null"];
        curl.extend(urls);
        other.place.run(&curl).map(drop)
    };
    let of_other = || -> Result<usize> {
        let spans = collector.spans()?;
        Ok(spans.iter().filter(|span| span.pod.as_deref() == Some(other.name()) && span.kind == CLIENT).count())
    };
    wait::until("spans come", WITHIN, || {
        ask(1)?;
        ensure!(of_other()? > 0, "none of {}", other.name());
        Ok(())
    })?;
    wait::until("nothing is on its way", WITHIN, || {
        let before = of_other()?;
        wait::between_measurements(Duration::from_millis(1500));
        ensure!(of_other()? == before, "some still came");
        Ok(())
    })?;
    let before = of_other()?;
    collector.stands_still()?;
    let flood = service.load(80, &[&format!("--requests={FLOOD}"), "--connections=16"])?;
    flood.all_are(200)?;
    ask(FEW)?;
    collector.goes_on()?;
    wait::until("the other pod's spans come, all of them", WITHIN, || {
        let come = of_other()? - before;
        ensure!(come == FEW, "{come} of {FEW} have come");
        Ok(())
    })?;
    is_told(mesh.agent_of(other), "waiting_spans")?;
    let dropped = mesh.agent_of(other).metrics()?.sum("weir_spans_dropped_total", &[]);
    ensure!(dropped > 0.0, "there was room for all spans: this proves nothing");
    note(format!("{dropped} of {FLOOD} spans of the flooding pod were dropped"));
    Ok(())
}
