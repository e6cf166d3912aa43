//! Weir as tests deploy it on a cluster: `daemonset.yaml` as it stands, the image as it is made; and what its agents are asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::{Cluster, NODES};
use weir_tests::metrics::Metrics;
use weir_tests::program::Program;

/// How long the DaemonSet may take to be ready.
pub(crate) const READY: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "istio-system";
pub(crate) const SELECTOR: &str = "app.kubernetes.io/name=weir";
/// Where the agent's pod has its metrics.
const METRICS: u16 = 15020;
const DRAIN: &str = "WEIR_DRAIN_SECONDS";

/// The project's own manifest.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn manifest() -> Result<String> {
    let file = project()?.join("daemonset.yaml");
    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// The project's folder: the one that `cargo xtask` names in `WEIR_PROJECT`, else the one that this program was built
/// from. Clones that share a target directory also share this program, so the two may differ.
///
/// # Errors
/// Never: the package has a parent folder.
pub(crate) fn project() -> Result<PathBuf> {
    if let Some(project) = std::env::var_os("WEIR_PROJECT") {
        return Ok(project.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package is in the workspace")?;
    Ok(workspace.to_owned())
}

/// Applies the manifest and waits until every node's agent is ready.
///
/// # Errors
/// If one is not in time; with what its pods say.
pub(crate) fn install(cluster: &Cluster) -> Result<()> {
    apply(cluster)?;
    cluster.kubectl.rolled_out(NAMESPACE, "daemonset/weir", READY)
}

/// Applies the manifest.
///
/// # Errors
/// With the API server's words.
pub(crate) fn apply(cluster: &Cluster) -> Result<()> {
    cluster.kubectl.apply(&manifest()?)
}

/// Begins to delete the manifest, as people do it.
///
/// # Errors
/// If kubectl cannot be started.
pub(crate) fn delete(cluster: &Cluster) -> Result<Program> {
    cluster.kubectl.spawn(&["delete", "--filename", &project()?.join("daemonset.yaml").display().to_string()])
}

/// Sets how long an agent may take to finish what is open, and waits until every agent knows it.
///
/// # Errors
/// If a node has no new agent in time.
pub(crate) fn set_drain(cluster: &Cluster, drain: Duration) -> Result<()> {
    set_variables(cluster, &[(DRAIN, Some(&drain.as_secs().to_string()))])
}

/// Takes that back: an agent's own time to finish is as long as it is by itself.
///
/// # Errors
/// If a node has no new agent in time.
pub(crate) fn unset_drain(cluster: &Cluster) -> Result<()> {
    set_variables(cluster, &[(DRAIN, None)])
}

/// Sets variables of the agents' environment, or removes them, and waits until every agent has them.
///
/// # Errors
/// If a node has no new agent in time.
pub(crate) fn set_variables(cluster: &Cluster, variables: &[(&str, Option<&str>)]) -> Result<()> {
    let variables = variables.iter().map(|(name, value)| match value {
        Some(value) => json!({"name": name, "value": value}),
        None => json!({"name": name, "$patch": "delete"}),
    });
    let containers = json!([{"name": "weir", "env": variables.collect::<Vec<_>>()}]);
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let words = ["patch", "daemonset", "weir", "--namespace", NAMESPACE, "--patch", &change.to_string()];
    cluster.kubectl.run(&words)?;
    cluster.kubectl.rolled_out(NAMESPACE, "daemonset/weir", READY)
}

/// Deletes the manifest and waits until no pod of Weir is left.
///
/// # Errors
/// If one stays.
pub(crate) fn uninstall(cluster: &Cluster) -> Result<()> {
    cluster.kubectl.delete(&manifest()?)?;
    cluster.kubectl.until("Weir's pods are gone", READY, |kubectl| {
        let left = kubectl.get(&["pods", "--namespace", NAMESPACE, "--selector", SELECTOR])?;
        ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "some are there");
        Ok(())
    })
}

/// Weir's pods, one for each node.
///
/// # Errors
/// If a node has none that is ready.
pub(crate) fn agents(cluster: &Cluster) -> Result<Vec<Pod>> {
    let mut agents = cluster.kubectl.ready(NAMESPACE, SELECTOR, READY)?;
    agents.sort_by(|one, other| one.node.cmp(&other.node));
    ensure!(agents.iter().map(|agent| agent.node.as_str()).eq(NODES), "agents are {agents:?}");
    Ok(agents)
}

/// A node's own.
///
/// # Errors
/// If it has none that is ready.
pub(crate) fn agent_of(cluster: &Cluster, node: &str) -> Result<Pod> {
    let mut agents = agents(cluster)?.into_iter();
    agents.find(|agent| agent.node == node).with_context(|| format!("{node} has no agent"))
}

/// What an agent answers to a command of `weir`, such as `status` or `pods`.
///
/// # Errors
/// With its words.
pub(crate) fn ask(cluster: &Cluster, agent: &Pod, what: &str) -> Result<String> {
    cluster.kubectl.exec(NAMESPACE, &agent.name, &["weir", what])
}

/// Replaces every agent, and waits until each node has a new one that is ready. Former ones may still finish what is open,
/// and until they have, Kubernetes does not call the rollout complete.
///
/// # Errors
/// If a node has none in time.
pub(crate) fn replace(cluster: &Cluster) -> Result<Vec<Pod>> {
    let before = agents(cluster)?;
    cluster.kubectl.run(&["rollout", "restart", "--namespace", NAMESPACE, "daemonset/weir"])?;
    cluster.kubectl.until("every node has a new agent", READY, |_| {
        let now = agents(cluster)?;
        ensure!(now.iter().all(|new| before.iter().all(|old| old.uid != new.uid)), "some are the former ones");
        Ok(now)
    })
}

/// What the agent of a node counts, asked from the node as Prometheus would.
///
/// # Errors
/// If it does not answer.
pub(crate) fn metrics(cluster: &Cluster, agent: &Pod) -> Result<Metrics> {
    let address = format!("http://{}:{METRICS}/metrics", agent.address);
    let place = cluster.node(&agent.node)?.place();
    Ok(Metrics::new(place.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "5", &address])?))
}

/// What an agent says from now on, its access log above all: goes to the program's log, and stays there when the pod goes.
///
/// # Errors
/// If kubectl cannot be started.
pub(crate) fn follow(cluster: &Cluster, agent: &Pod) -> Result<Program> {
    cluster.kubectl.spawn(&["logs", "--follow", "--tail=1", "--namespace", NAMESPACE, &agent.name])
}

/// A figure of all agents together.
///
/// # Errors
/// If an agent does not answer.
pub(crate) fn sum(cluster: &Cluster, metric: &str, labels: &[(&str, &str)]) -> Result<f64> {
    agents(cluster)?.iter().map(|agent| Ok(metrics(cluster, agent)?.sum(metric, labels))).sum()
}

/// Connections that all agents have seen over mutual TLS.
pub(crate) fn encrypted(cluster: &Cluster) -> Result<f64> {
    let labels = [("connection_security_policy", "mutual_tls"), ("reporter", "destination")];
    sum(cluster, "istio_tcp_connections_opened_total", &labels)
}
