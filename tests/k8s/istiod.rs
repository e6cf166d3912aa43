//! An unmodified istiod as the control plane: who the agents are to it, what it tells them, and how they get over its end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::Cluster;
use weir_tests::cluster::istiod::Istiod;
use weir_tests::cluster::pods::app;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] = &[
    Case { name: "istiod: it knows every agent as its node's proxy", check: Check::Mesh(known) },
    Case { name: "istiod: objects of users come, and what is repeated is dropped", check: Check::Mesh(objects) },
    Case { name: "istiod: a policy that needs HTTP is enforced in its L4 form", check: Check::Mesh(l4_form) },
    Case {
        name: "istiod: killed and started again, streams are back and nothing failed",
        check: Check::OwnMesh(again),
    },
    Case {
        name: "istiod: while it is away a new pod is reached as policies say of its labels",
        check: Check::OwnMesh(reached),
    },
];

const POLICY: &str = "security.istio.io/v1";

fn known(cluster: &mut Cluster) -> Result<()> {
    let istiod = cluster.istiod.as_ref().context("istiod is part of the cluster")?;
    let agents = mesh::agents(cluster)?;
    wait::until("istiod knows the agents", Duration::from_secs(20), || {
        let connected: Value = serde_json::from_str(&istiod.debug("/debug/connections")?)?;
        let told = connected.to_string();
        for agent in &agents {
            ensure!(told.contains(&format!("{}.istio-system", agent.name)), "{} is not among {told}", agent.name);
        }
        Ok(())
    })
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
    pair.namespace.start(&app("another", Some("na"), &["serve", "echo:7001"]))?;
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
    wait::until("what needs HTTP denies at L4", Duration::from_secs(20), || {
        let seen = pair.namespace.ask("client", &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] == "", "{seen}");
        Ok(())
    })?;
    note(format!("in force {} ms after kubectl began", start.elapsed().as_millis()));
    let agents = mesh::agents(cluster)?;
    let agent = agents.iter().find(|agent| agent.node == "nb").context("the node has an agent")?;
    let status = cluster.kubectl.exec("istio-system", &agent.name, &["weir", "status"])?;
    ensure!(status.contains("policies enforced in L4 form") && status.contains("no-delete"), "{status}");
    cluster.kubectl.run(&["delete", "--namespace", &pair.namespace.name, "authorizationpolicy/no-delete"])?;
    wait::until("the policy is gone", Duration::from_secs(20), || pair.echoes())
}

/// Hands istiod over to a check, and puts it back.
fn with_istiod(cluster: &mut Cluster, check: fn(&Cluster, &mut Istiod) -> Result<()>) -> Result<()> {
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
        istiod.kill();
        istiod.resume()?;
        istiod.ready()?;
        let start = Instant::now();
        wait::until("every agent is connected again", Duration::from_secs(40), || {
            for agent in mesh::agents(cluster)? {
                let status = cluster.kubectl.exec("istio-system", &agent.name, &["weir", "status"])?;
                ensure!(status.contains(", connected"), "{status}");
            }
            Ok(())
        })?;
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
            let mut pod = app(name, Some("nb"), &["serve", "echo:7001"]);
            pod["metadata"]["labels"]["door"] = json!(door);
            let pod = pair.namespace.start(&pod)?;
            let seen = pair.namespace.ask("client", &["probe", &format!("{}:7001", pod.address), "--send", "hello"])?;
            ensure!(seen["received"] == expected, "{name}: {seen}");
            note(format!("{name}: {} after {:.0} ms", seen["received"], seen["ms"].as_f64().unwrap_or_default()));
        }
        istiod.resume()?;
        istiod.ready()
    })
}
