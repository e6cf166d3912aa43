//! istiod is away: what goes on, and how what cannot go on says so.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::cluster::istiod::Istiod;
use weir_tests::cluster::pods::{app, last_line};
use weir_tests::cluster::{CLIENT_NODE, Cluster};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::istiod::with_istiod;
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] =
    &[Case { name: "istiod outage: without istiod everything known goes on", check: Check::Mesh(shortly) }];

pub(crate) const LONG: &[Case] =
    &[Case { name: "istiod outage: without istiod for five minutes, in 6 minutes", check: Check::Mesh(for_long) }];

/// The longest time without a new connection that an agent may cause that is replaced while istiod is away, on however busy a
/// machine; what it is, is told.
const GAP_MS: f64 = 10_000.0;
/// By when a connection must end that cannot go on: a probe waits for five seconds, and then says that it is open.
const PATIENCE_MS: f64 = 5000.0;

fn shortly(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, |cluster, istiod| away(cluster, istiod, 30))
}

fn for_long(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, |cluster, istiod| away(cluster, istiod, 300))
}

fn away(cluster: &Cluster, istiod: &mut Istiod, seconds: u64) -> Result<()> {
    let pair = Pair::create(cluster, &format!("absent-{seconds}"), &[IN_MESH])?;
    pair.is_meshed()?;
    let load = pair.load(seconds)?;
    istiod.kill();

    pair.namespace.apply(&app("known", Some(CLIENT_NODE), &["dial", &pair.echo(), "--stay"]))?;
    let dial = first_dial(&pair, "known")?;
    ensure!(dial["ok"] == true && dial["first_error"].is_null(), "a new pod of a known identity: {dial}");
    note(format!(
        "a new pod of a known identity: first answer {:.0} ms after it began",
        dial["ms"].as_f64().unwrap_or_default()
    ));
    fails_fast(&pair)?;

    mesh::replace(cluster)?;
    let report = load.report(Duration::from_secs(seconds + 30))?;
    note(format!("{} without istiod, agents replaced meanwhile", report.line("new")));
    note(format!("longest time without a new connection: {:.0} ms", report.gap()));
    report.none_failed("new")?;
    ensure!(report.gap() <= GAP_MS, "no new connection for {:.0} ms", report.gap());
    istiod.restart()?;
    wait::until("the stranger is in the mesh", Duration::from_secs(60), || {
        let seen = pair.namespace.ask("stranger", &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "{seen}");
        Ok(())
    })
}

/// A pod of an identity that nobody can certify now: its connections end at once, and everybody can see why.
fn fails_fast(pair: &Pair<'_>) -> Result<()> {
    pair.start_as("stranger")?;
    // The first may wait for the authority's answer; from then on it is known.
    let mut slowest = 0.0_f64;
    for attempt in 0..5 {
        let seen = pair.namespace.ask("stranger", &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] == "", "served without a certificate: {seen}");
        if attempt > 0 {
            slowest = slowest.max(seen["ms"].as_f64().unwrap_or(f64::INFINITY));
        }
    }
    note(format!("what cannot go on fails after {slowest:.0} ms"));
    ensure!(slowest < PATIENCE_MS, "a connection that cannot go on waited {slowest:.0} ms");
    let agent = mesh::agent_of(pair.cluster, CLIENT_NODE)?;
    let status = mesh::ask(pair.cluster, &agent, "status")?;
    ensure!(status.contains("stranger"), "the status says nothing of it:\n{status}");
    Ok(())
}

/// What a pod that dials at once has reported of its first connection.
fn first_dial(pair: &Pair<'_>, name: &str) -> Result<serde_json::Value> {
    let words = ["logs", "--namespace", &pair.namespace.name, name];
    pair.namespace
        .kubectl
        .until("the pod has reported", Duration::from_secs(30), |kubectl| last_line(&kubectl.run(&words)?))
}
