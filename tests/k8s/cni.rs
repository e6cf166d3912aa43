//! Pods and the CNI plugin on real nodes: with no agent there, with a sandbox made anew, with others who write the node's
//! CNI configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use weir_tests::cluster::pods::{Namespace, app};
use weir_tests::cluster::{CLIENT_NODE, Cluster, NODES, SERVER_NODE};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{ECHO, IN_MESH, Pair};

pub(crate) const CASES: &[Case] = &[
    Case { name: "cni: the plugin is chained on every node, and put back there", check: Check::Mesh(put_back) },
    Case { name: "cni: a pod whose sandbox is made anew comes back into the mesh", check: Check::Mesh(made_anew) },
    Case { name: "cni: without an agent mesh pods wait, and say for what", check: Check::Mesh(without_agent) },
];

const CONFIGURATIONS: &str = "/etc/cni/net.d";
const PLUGIN: &str = "/opt/cni/bin/weir-cni";
const SOON: Duration = Duration::from_secs(20);
/// How long a pod may take that the kubelet tries again and again.
const RETRIED: Duration = Duration::from_secs(90);

/// The file of a node's configuration, and what it says.
fn configuration(cluster: &Cluster, node: &str) -> Result<(PathBuf, Value)> {
    let folder = cluster.node(node)?.room().path(CONFIGURATIONS);
    let files = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let path = files.into_iter().min().context("the node has no CNI configuration")?;
    let list = serde_json::from_str(&fs::read_to_string(&path)?)?;
    Ok((path, list))
}

/// The types of a node's plugins, in their order.
pub(crate) fn plugins(cluster: &Cluster, node: &str) -> Result<Vec<String>> {
    let (_, list) = configuration(cluster, node)?;
    let plugins = list["plugins"].as_array().context("a list of plugins")?;
    Ok(plugins.iter().map(|plugin| plugin["type"].as_str().unwrap_or_default().to_owned()).collect())
}

/// The plugin's own section in a node's configuration.
pub(crate) fn section(cluster: &Cluster, node: &str) -> Result<Value> {
    let (_, list) = configuration(cluster, node)?;
    let plugins = list["plugins"].as_array().context("a list of plugins")?;
    plugins.iter().find(|plugin| plugin["type"] == "weir-cni").cloned().context("the plugin is not chained")
}

fn is_chained(cluster: &Cluster, node: &str) -> Result<()> {
    wait::until(&format!("the plugin is chained on {node}"), SOON, || {
        let plugins = plugins(cluster, node)?;
        ensure!(plugins == ["bridge", "portmap", "weir-cni"], "{plugins:?}");
        ensure!(cluster.node(node)?.room().path(PLUGIN).exists(), "{PLUGIN} is missing");
        Ok(())
    })
}

fn put_back(cluster: &mut Cluster) -> Result<()> {
    for node in NODES {
        is_chained(cluster, node)?;
    }
    let (path, mut list) = configuration(cluster, CLIENT_NODE)?;
    list["plugins"].as_array_mut().context("a list")?.pop();
    let start = Instant::now();
    fs::write(&path, serde_json::to_string_pretty(&list)?)?;
    is_chained(cluster, CLIENT_NODE)?;
    note(format!("put back {} ms after its owner rewrote the configuration", start.elapsed().as_millis()));
    fs::remove_file(cluster.node(CLIENT_NODE)?.room().path(PLUGIN))?;
    is_chained(cluster, CLIENT_NODE)?;
    let namespace = Namespace::create(&cluster.kubectl, "put-back", &[IN_MESH])?;
    namespace.start(&app("server", Some(CLIENT_NODE), &["serve", "echo:7001"])).map(drop)
}

/// The address that an agent serves a pod at.
fn served(cluster: &Cluster, node: &str, uid: &str) -> Result<String> {
    let agent = mesh::agent_of(cluster, node)?;
    let pods = mesh::ask(cluster, &agent, "pods")?;
    let lines: Vec<&str> = pods.lines().filter(|line| line.starts_with(uid)).collect();
    ensure!(lines.len() == 1, "{uid} is enrolled {} times: {pods}", lines.len());
    Ok(lines[0].split_whitespace().nth(2).context("it has an address")?.to_owned())
}

fn made_anew(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "made-anew", &[IN_MESH])?;
    pair.is_meshed()?;
    let uid = pair.server.uid.clone();
    ensure!(served(cluster, SERVER_NODE, &uid)? == pair.server.address, "the server is not enrolled as it is");
    kill_sandbox(cluster, &uid)?;
    let server = pair.namespace.kubectl.until("the pod is there again", RETRIED, |_| {
        let server = pair.namespace.ready("server")?;
        ensure!(server.uid == uid && server.address != pair.server.address, "it is as before: {server:?}");
        Ok(server)
    })?;
    let now = served(cluster, SERVER_NODE, &uid)?;
    ensure!(now == server.address, "it is served at {now}, and is at {}", server.address);
    let again = Pair { cluster: pair.cluster, namespace: pair.namespace, server };
    again.is_meshed()
}

/// Ends the process that a pod's sandbox is made of.
fn kill_sandbox(cluster: &Cluster, uid: &str) -> Result<()> {
    let pod = cluster.node(SERVER_NODE)?.pods_cgroup();
    let folders = wait::until("the pod has cgroups", SOON, || {
        let found = below(&pod).into_iter().find(|path| path.ends_with(format!("pod{uid}")));
        Ok(below(&found.context("it has none")?))
    })?;
    for folder in folders {
        for id in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
            if fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().contains("pause") {
                return Ok(kill(Pid::from_raw(id.parse()?), Signal::SIGKILL)?);
            }
        }
    }
    anyhow::bail!("pod {uid} has no process that holds its sandbox")
}

/// Directories below a directory, some levels deep.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    directories.flat_map(|path| [vec![path.clone()], below(&path)].concat()).collect()
}

/// Selects nodes for the DaemonSet: none, or all again.
fn let_agents_run(cluster: &Cluster, run: bool) -> Result<()> {
    let selector = if run { Value::Null } else { json!({"weir.test/none": "none"}) };
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}).to_string();
    cluster.kubectl.run(&[
        "patch",
        "daemonset",
        "weir",
        "--namespace",
        "istio-system",
        "--type=merge",
        "--patch",
        &patch,
    ])?;
    Ok(())
}

fn without_agent(cluster: &mut Cluster) -> Result<()> {
    for node in NODES {
        is_chained(cluster, node)?;
    }
    let inside = Namespace::create(&cluster.kubectl, "inside", &[IN_MESH])?;
    let outside = Namespace::create(&cluster.kubectl, "outside", &[])?;
    inside.start(&app("server", Some(SERVER_NODE), &["serve", "echo:7001"]))?;
    let known = cluster.node(CLIENT_NODE)?.room().path("/var/lib/weir/mesh-namespaces.json");
    wait::until("the mesh's namespaces are written down", SOON, || {
        let text = fs::read_to_string(&known)?;
        ensure!(text.contains("inside") && !text.contains("outside"), "{text}");
        Ok(())
    })?;
    let_agents_run(cluster, false)?;
    cluster.kubectl.until("no agent is left", RETRIED, |kubectl| {
        let left =
            kubectl.get(&["pods", "--namespace", "istio-system", "--selector", "app.kubernetes.io/name=weir"])?;
        ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "some are there");
        Ok(())
    })?;
    is_chained(cluster, CLIENT_NODE).context("the plugin goes with the agent")?;
    let server = inside.ready("server")?;
    inside.apply(&app("waits", Some(CLIENT_NODE), &["dial", &format!("{}:{ECHO}", server.address), "--stay"]))?;
    let start = Instant::now();
    outside.start(&app("starts", Some(CLIENT_NODE), &["serve", "echo:7001"]))?;
    note(format!("a pod outside the mesh was ready after {:.1} s", start.elapsed().as_secs_f64()));
    let said = cluster.kubectl.until("the pod says what it waits for", RETRIED, |kubectl| {
        let events = kubectl.run(&["events", "--namespace", "inside", "--types=Warning", "--for=pod/waits"])?;
        let line = events.lines().find(|line| line.contains("must join the mesh before it starts"));
        line.map(str::to_owned).with_context(|| format!("it does not:\n{events}"))
    })?;
    note(said.split("weir-cni").last().unwrap_or_default().to_owned());
    let_agents_run(cluster, true)?;
    let waited = cluster.kubectl.ready("inside", "app=waits", RETRIED)?;
    ensure!(waited.iter().all(|pod| pod.restarts == 0), "its process had to be started again: {waited:?}");
    let dial = cluster.kubectl.until("it has dialled", SOON, |_| {
        weir_tests::cluster::pods::last_line(&cluster.kubectl.run(&["logs", "--namespace", "inside", "waits"])?)
    })?;
    ensure!(dial["ok"] == true && dial["first_error"].is_null(), "its first connection failed: {dial}");
    cluster.kubectl.rolled_out(mesh::NAMESPACE, "daemonset/weir", mesh::READY)
}
