//! New pods on nodes whose containerd asks the agent about them itself, by NRI: without the CNI plugin, beside it, while
//! containerd starts again and while agents are replaced.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::pods::{Namespace, app, last_line};
use weir_tests::cluster::{CLIENT_NODE, Cluster, NODES};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::pair::{IN_MESH, Pair};
use crate::{cni, enrollment_under_load, mesh};

pub(crate) const LONG: &[Case] = &[
    Case {
        name: "nri: without the CNI plugin, a new pod's first instruction goes over mutual TLS",
        check: Check::Otherwise(newborn),
    },
    Case {
        name: "nri: containerd starts again, and new pods are captured as before",
        check: Check::Otherwise(restarted),
    },
    Case {
        name: "nri: a pod outside the mesh and one on the node's network start as always",
        check: Check::Otherwise(others),
    },
    Case {
        name: "nri: while agents are replaced, new pods wait for the one that comes",
        check: Check::Otherwise(replaced),
    },
    // Last: an agent that is to leave the plugin alone leaves it where it is.
    Case { name: "nri: beside the CNI plugin, a pod is enrolled once", check: Check::Otherwise(beside) },
];

/// New pods of a case.
const NEWBORN: usize = 20;
const SOON: Duration = Duration::from_secs(20);
/// How long a pod may take that the kubelet tries again.
const RETRIED: Duration = Duration::from_secs(90);

/// Installs Weir as it is deployed where the node's CNI configuration is not ours to write.
fn install_without_cni(cluster: &Cluster) -> Result<()> {
    let manifest = mesh::manifest()?;
    let (begin, setting) = ("          env:\n", "            - {name: WEIR_CNI, value: \"off\"}\n");
    ensure!(manifest.contains(begin), "the manifest sets no variables");
    cluster.kubectl.apply(&manifest.replacen(begin, &format!("{begin}{setting}"), 1))?;
    cluster.kubectl.rolled_out(mesh::NAMESPACE, "daemonset/weir", mesh::READY)?;
    for node in NODES {
        let plugins = cni::plugins(cluster, node)?;
        ensure!(plugins == ["bridge", "portmap"], "{node} has the plugins {plugins:?}");
    }
    connected(cluster)
}

/// Waits until every node's containerd asks its agent.
fn connected(cluster: &Cluster) -> Result<()> {
    for agent in mesh::agents(cluster)? {
        is_connected(cluster, &agent, true)?;
        let status = mesh::ask(cluster, &agent, "status")?;
        let line = status.lines().find(|line| line.starts_with("nri")).context("weir status says nothing of NRI")?;
        ensure!(line.contains("connected to containerd"), "{line}");
    }
    Ok(())
}

fn is_connected(cluster: &Cluster, agent: &Pod, expected: bool) -> Result<()> {
    wait::until(&format!("{} is asked: {expected}", agent.name), SOON, || {
        let said = mesh::metrics(cluster, agent)?.sum("weir_nri_connected", &[]);
        ensure!((said == 1.0) == expected, "it says {said}");
        Ok(())
    })
}

/// How many calls about new pods all agents have answered so.
fn answered(cluster: &Cluster, metric: &str, answer: &str) -> Result<f64> {
    let labels = [("command", "add"), ("answer", answer)];
    mesh::agents(cluster)?.iter().map(|agent| Ok(mesh::metrics(cluster, agent)?.sum(metric, &labels))).sum()
}

fn by_nri(cluster: &Cluster, answer: &str) -> Result<f64> {
    answered(cluster, "weir_nri_requests_total", answer)
}

fn newborn(cluster: &mut Cluster) -> Result<()> {
    install_without_cni(cluster)?;
    let pair = Pair::create(cluster, "newborn", &[IN_MESH])?;
    pair.is_meshed()?;
    let before = by_nri(cluster, "enrolled")?;
    enrollment_under_load::dial_at_once(&pair, 1, NEWBORN)?;
    let enrolled = by_nri(cluster, "enrolled")? - before;
    ensure!(enrolled >= 20.0, "containerd asked about {enrolled} of them");
    Ok(())
}

fn beside(cluster: &mut Cluster) -> Result<()> {
    mesh::install(cluster)?;
    connected(cluster)?;
    let pair = Pair::create(cluster, "beside", &[IN_MESH])?;
    pair.is_meshed()?;
    enrollment_under_load::dial_at_once(&pair, 1, NEWBORN)?;
    for metric in ["weir_cni_calls_total", "weir_nri_requests_total"] {
        let enrolled = answered(cluster, metric, "enrolled")?;
        ensure!(enrolled >= 22.0, "{metric}: {enrolled} of 22");
    }
    for agent in mesh::agents(cluster)? {
        let pods = mesh::ask(cluster, &agent, "pods")?;
        let mut lines: Vec<&str> = pods.lines().filter_map(|line| line.split_whitespace().next()).collect();
        lines.sort_unstable();
        ensure!(lines.windows(2).all(|two| two[0] != two[1]), "a pod is there twice: {pods}");
    }
    Ok(())
}

fn restarted(cluster: &mut Cluster) -> Result<()> {
    install_without_cni(cluster)?;
    let agent = mesh::agent_of(cluster, CLIENT_NODE)?;
    let index =
        cluster.nodes.iter().position(|node| node.name() == CLIENT_NODE).context("there is no node for clients")?;
    cluster.nodes[index].kill_containerd();
    is_connected(cluster, &agent, false)?;
    let start = Instant::now();
    cluster.nodes[index].start_containerd()?;
    is_connected(cluster, &agent, true)?;
    note(format!("asked again {} ms after containerd was started", start.elapsed().as_millis()));
    ensure!(mesh::agents(cluster)?.iter().all(|agent| agent.restarts == 0), "an agent was restarted");
    let pair = Pair::create(cluster, "restarted", &[IN_MESH])?;
    pair.is_meshed()?;
    enrollment_under_load::dial_at_once(&pair, 1, 4)
}

fn others(cluster: &mut Cluster) -> Result<()> {
    install_without_cni(cluster)?;
    let inside = Namespace::create(&cluster.kubectl, "inside", &[IN_MESH])?;
    let outside = Namespace::create(&cluster.kubectl, "outside", &[])?;
    let mut on_node = app("on-node", Some(CLIENT_NODE), &["serve", "echo:7999"]);
    on_node["spec"]["hostNetwork"] = json!(true);
    let start = Instant::now();
    inside.apply(&on_node)?;
    let started = outside.start(&app("starts", Some(CLIENT_NODE), &["serve", "echo:7001"]))?;
    let on_node = inside.ready("on-node")?;
    note(format!("both ready after {:.1} s", start.elapsed().as_secs_f64()));
    ensure!(by_nri(cluster, "not_for_the_mesh")? >= 1.0, "containerd did not ask about the pod outside the mesh");
    for agent in mesh::agents(cluster)? {
        let pods = mesh::ask(cluster, &agent, "pods")?;
        for pod in [&started, &on_node] {
            ensure!(!pods.contains(&pod.uid), "{} is enrolled: {pods}", pod.name);
        }
    }
    for namespace in [&inside, &outside] {
        let warnings = cluster.kubectl.run(&["events", "--namespace", &namespace.name, "--types=Warning"])?;
        ensure!(!warnings.contains("FailedCreatePodSandBox"), "{warnings}");
    }
    Ok(())
}

/// Plaintext is refused, so that a pod that started uncaptured would say so.
fn replaced(cluster: &mut Cluster) -> Result<()> {
    install_without_cni(cluster)?;
    let pair = Pair::create(cluster, "replaced", &[IN_MESH])?;
    pair.is_meshed()?;
    pair.namespace.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "strict"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }))?;
    let outside = Namespace::create(&cluster.kubectl, "plain", &[])?;
    outside.start(&app("client", Some(CLIENT_NODE), &["serve", "echo:7001"]))?;
    wait::until("plaintext is refused", SOON, || {
        let seen = outside.ask("client", &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] != "hello", "{seen}");
        Ok(())
    })?;
    let before = mesh::agents(cluster)?;
    let restart = ["rollout", "restart", "--namespace", mesh::NAMESPACE, "daemonset/weir"];
    cluster.kubectl.run(&restart)?;
    let mut born = Vec::new();
    let start = Instant::now();
    // One by one, so that some are born at every moment of it.
    while start.elapsed() < RETRIED {
        let name = format!("dial-{}", born.len());
        pair.namespace.apply(&app(&name, Some(CLIENT_NODE), &["dial", &pair.echo(), "--stay"]))?;
        born.push(name);
        let now = cluster.kubectl.pods(mesh::NAMESPACE, mesh::SELECTOR)?;
        if now.iter().all(|new| new.ready && before.iter().all(|old| old.uid != new.uid)) {
            break;
        }
    }
    for name in &born {
        let dial = cluster.kubectl.until(&format!("{name} has reported"), RETRIED, |kubectl| {
            last_line(&kubectl.run(&["logs", "--namespace", &pair.namespace.name, name])?)
        })?;
        ensure!(dial["ok"] == true && dial["first_error"].is_null(), "{name}: its first connection failed: {dial}");
    }
    let events = cluster.kubectl.run(&["events", "--namespace", &pair.namespace.name, "--types=Warning"])?;
    let again = events.lines().filter(|line| line.contains("must join the mesh")).count();
    note(format!("{} pods born meanwhile, all captured; {again} had to be tried again", born.len()));
    Ok(())
}
