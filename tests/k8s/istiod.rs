//! An unmodified istiod as the control plane: who the agents are to it, what it tells them, and how they get over its end.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use weir_tests::cluster::istiod::Istiod;
use weir_tests::cluster::pods::app;
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] = &[
    Case { name: "istiod: it knows every agent as its node's proxy", check: Check::Mesh(known) },
    Case { name: "istiod: objects of users come, and what is repeated is dropped", check: Check::Mesh(objects) },
    Case { name: "istiod: a policy that needs HTTP is enforced as it is written", check: Check::Mesh(l4_form) },
    Case { name: "istiod: killed and started again, streams are back and nothing failed", check: Check::Mesh(again) },
    Case {
        name: "istiod: while it is away a new pod is reached as policies say of its labels",
        check: Check::Mesh(reached),
    },
];

pub(crate) const LONG: &[Case] = &[
    Case {
        name: "istiod: one that lets in one stream in ten seconds has all of them in the end",
        check: Check::Mesh(slowly),
    },
    Case { name: "istiod: of two one goes, and its agents are the other's", check: Check::Mesh(of_two) },
];

/// The variable that says how many new streams istiod takes in a second.
const STREAMS_A_SECOND: &str = "PILOT_MAX_REQUESTS_PER_SECOND";
/// How long those may take that were turned away: their pauses become longer.
const TURNED_AWAY: Duration = Duration::from_secs(60);
const POLICY: &str = "security.istio.io/v1";

fn known(cluster: &mut Cluster) -> Result<()> {
    has_all(cluster, cluster.istiod.as_ref().context("istiod is part of the cluster")?, Duration::from_secs(20))
}

/// Messages of a type that all agents have received.
fn messages(cluster: &Cluster, url: &str) -> Result<f64> {
    mesh::sum(cluster, "istio_xds_message_total", &[("url", url)])
}

fn repeats(cluster: &Cluster) -> Result<f64> {
    mesh::sum(cluster, "weir_xds_repeated_resources_total", &[])
}

fn objects(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "objects", &[IN_MESH])?;
    pair.is_meshed()?;
    let url = "networking.istio.io/v1/DestinationRule";
    let before = messages(cluster, url)?;
    pair.namespace.apply(&json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "server"},
        "spec": {"host": "server", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 7}}}},
    }))?;
    wait::until("the object has come", Duration::from_secs(20), || {
        ensure!(messages(cluster, url)? > before, "no message of its type");
        Ok(())
    })?;
    let before = repeats(cluster)?;
    pair.namespace.start(&app("another", Some(CLIENT_NODE), &["serve", "echo:7001"]))?;
    wait::until("what istiod repeats for a pod's sake is dropped", Duration::from_secs(20), || {
        ensure!(repeats(cluster)? > before, "nothing was dropped");
        Ok(())
    })?;
    note(format!("{:.0} repeated resources dropped so far", repeats(cluster)?));
    let rejected = mesh::sum(cluster, "weir_config_rejected_total", &[])?;
    ensure!(rejected == 0.0, "{rejected} resources were refused");
    Ok(())
}

fn l4_form(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "l4-form", &[IN_MESH])?;
    pair.is_meshed()?;
    let labels = cluster.kubectl.get(&["pod", "server", "--namespace", &pair.namespace.name])?;
    let policy = json!({
        "apiVersion": POLICY, "kind": "AuthorizationPolicy", "metadata": {"name": "no-delete"},
        "spec": {
            "selector": {"matchLabels": &labels["metadata"]["labels"]}, "action": "DENY",
            "rules": [{"to": [{"operation": {"methods": ["DELETE"]}}]}],
        },
    });
    let start = Instant::now();
    pair.namespace.apply(&policy)?;
    wait::until("what carries no HTTP is denied by a rule that needs it", Duration::from_secs(20), || {
        let seen = pair.namespace.ask("client", &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] == "", "{seen}");
        Ok(())
    })?;
    note(format!("in force {} ms after kubectl began", start.elapsed().as_millis()));
    let agent = mesh::agent_of(cluster, SERVER_NODE)?;
    let status = mesh::ask(cluster, &agent, "status")?;
    ensure!(status.contains("policies enforced as they are written") && status.contains("no-delete"), "{status}");
    cluster.kubectl.run(&["delete", "--namespace", &pair.namespace.name, "authorizationpolicy/no-delete"])?;
    wait::until("the policy is gone", Duration::from_secs(20), || pair.echoes())
}

/// Hands istiod over to a check, and puts it back.
pub(crate) fn with_istiod(
    cluster: &mut Cluster,
    check: impl FnOnce(&Cluster, &mut Istiod) -> Result<()>,
) -> Result<()> {
    let mut istiod = cluster.istiod.take().context("istiod is part of the cluster")?;
    let outcome = check(cluster, &mut istiod);
    cluster.istiod = Some(istiod);
    outcome
}

fn again(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, |cluster, istiod| {
        let pair = Pair::create(cluster, "again", &[IN_MESH])?;
        pair.is_meshed()?;
        let load = pair.load(20)?;
        istiod.restart()?;
        let start = Instant::now();
        all_connected(cluster, Duration::from_secs(40))?;
        note(format!("connected {} ms after istiod was ready", start.elapsed().as_millis()));
        let report = load.report(Duration::from_secs(60))?;
        note(report.line("new"));
        report.none_failed("new")?;
        report.none_failed("kept")
    })
}

fn reached(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, |cluster, istiod| {
        let pair = Pair::create(cluster, "reached", &[IN_MESH])?;
        pair.is_meshed()?;
        let strict = json!({
            "apiVersion": POLICY, "kind": "PeerAuthentication", "metadata": {"name": "closed"},
            "spec": {"selector": {"matchLabels": {"door": "closed"}}, "mtls": {"mode": "STRICT"}},
        });
        let before = messages(cluster, "security.istio.io/v1/PeerAuthentication")?;
        pair.namespace.apply(&strict)?;
        wait::until("the agents have the policy", Duration::from_secs(20), || {
            ensure!(messages(cluster, "security.istio.io/v1/PeerAuthentication")? >= before + 2.0, "not yet");
            Ok(())
        })?;
        istiod.kill();
        // istiod has never told of either of them, so what the client sends comes in plaintext.
        for (name, door, expected) in [("open", "open", "hello"), ("closed", "closed", "")] {
            let mut pod = app(name, Some(SERVER_NODE), &["serve", "echo:7001"]);
            pod["metadata"]["labels"]["door"] = json!(door);
            let pod = pair.namespace.start(&pod)?;
            let seen = pair.namespace.ask("client", &["probe", &format!("{}:7001", pod.address), "--send", "hello"])?;
            // A reset may come before the client has learned that it is connected.
            let received = seen["received"].as_str().unwrap_or_default();
            ensure!(received == expected, "{name}: {seen}");
            note(format!("{name}: {received:?} after {:.0} ms", seen["ms"].as_f64().unwrap_or_default()));
        }
        istiod.restart()
    })
}

/// Waits until every agent has a stream.
fn all_connected(cluster: &Cluster, within: Duration) -> Result<()> {
    wait::until("every agent is connected again", within, || {
        for agent in mesh::agents(cluster)? {
            let status = mesh::ask(cluster, &agent, "status")?;
            ensure!(status.contains(", connected"), "{status}");
        }
        Ok(())
    })
}

/// Those that it turns away are told RESOURCE_EXHAUSTED.
fn slowly(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, |cluster, istiod| {
        istiod.set(STREAMS_A_SECOND, Some(OsStr::new("0.1")));
        istiod.restart()?;
        let start = Instant::now();
        wait::until("an agent says why it is turned away", Duration::from_secs(30), || {
            for agent in mesh::agents(cluster)? {
                let status = mesh::ask(cluster, &agent, "status")?;
                if status.contains("rate limit exceeded") {
                    return Ok(());
                }
            }
            bail!("none does")
        })?;
        all_connected(cluster, TURNED_AWAY)?;
        note(format!("all are connected {:.1} s after it was ready", start.elapsed().as_secs_f64()));
        istiod.set(STREAMS_A_SECOND, None);
        istiod.restart()?;
        all_connected(cluster, TURNED_AWAY)
    })
}

fn of_two(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, |cluster, first| {
        let pair = Pair::create(cluster, "of-two", &[IN_MESH])?;
        pair.is_meshed()?;
        let mut second = Istiod::start_second(&cluster.control_plane, cluster.parts(), &[])?;
        second.answers_for(&cluster.kubectl, true)?;
        let load = pair.load(15)?;
        let start = Instant::now();
        first.kill();
        first.answers_for(&cluster.kubectl, false)?;
        has_all(cluster, &second, TURNED_AWAY)?;
        note(format!("agents are the other's {:.1} s after one was killed", start.elapsed().as_secs_f64()));
        certifies(&pair, "of-second")?;
        let report = load.report(Duration::from_secs(60))?;
        note(report.line("new"));
        report.none_failed("new").and_then(|()| report.none_failed("kept"))?;
        first.restart()?;
        first.answers_for(&cluster.kubectl, true)?;
        second.answers_for(&cluster.kubectl, false)?;
        second.kill();
        has_all(cluster, first, TURNED_AWAY)?;
        certifies(&pair, "of-first")
    })
}

/// Waits until every agent has its stream with this istiod.
fn has_all(cluster: &Cluster, istiod: &Istiod, within: Duration) -> Result<()> {
    let agents = mesh::agents(cluster)?;
    wait::until("it has all agents", within, || {
        let connections = istiod.debug("/debug/connections")?;
        for agent in &agents {
            ensure!(
                connections.contains(&format!("{}.istio-system", agent.name)),
                "{} is not among {connections}",
                agent.name
            );
        }
        Ok(())
    })
}

/// A pod of a new service account gets its certificate and is served.
pub(crate) fn certifies(pair: &Pair<'_>, account: &str) -> Result<()> {
    pair.start_as(account)?;
    let seen = pair.namespace.ask(account, &["probe", &pair.echo(), "--send", "hello"])?;
    ensure!(seen["received"] == "hello", "{account} asks the server: {seen}");
    Ok(())
}
