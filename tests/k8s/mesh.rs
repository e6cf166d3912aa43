//! Weir as it is deployed: `daemonset.yaml` as it stands, the image as it is made, pods that know nothing of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::pods::{Namespace, app};
use weir_tests::cluster::{Cluster, NODES};
use weir_tests::metrics::Metrics;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "mesh: the DaemonSet is ready on every node", check: Check::Mesh(ready_everywhere) },
    Case {
        name: "mesh: a labelled namespace talks over mutual TLS, with no pod restarted",
        check: Check::Mesh(labelled),
    },
    Case { name: "mesh: deleted, Weir leaves pods talking plainly and nodes clean", check: Check::OwnMesh(deleted) },
];

/// How long the DaemonSet may take to be ready.
pub(crate) const READY: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "istio-system";
pub(crate) const SELECTOR: &str = "app.kubernetes.io/name=weir";
/// Where the agent's pod has its metrics.
const METRICS: u16 = 15020;
/// The label that brings a namespace's pods into the mesh.
const IN_MESH: &str = "istio.io/dataplane-mode=ambient";

/// The project's own manifest.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn manifest() -> Result<String> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests are in the workspace")?.join("daemonset.yaml");
    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
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
    Ok(Metrics::parse(&place.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "5", &address])?))
}

/// Connections that all agents have seen over mutual TLS.
pub(crate) fn encrypted(cluster: &Cluster) -> Result<f64> {
    let labels = [("connection_security_policy", "mutual_tls"), ("reporter", "destination")];
    agents(cluster)?
        .iter()
        .map(|agent| Ok(metrics(cluster, agent)?.sum("istio_tcp_connections_opened_total", &labels)))
        .sum()
}

fn ready_everywhere(cluster: &mut Cluster) -> Result<()> {
    for agent in agents(cluster)? {
        ensure!(agent.restarts == 0, "{} was restarted", agent.name);
    }
    Ok(())
}

fn labelled(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "labelled", &[])?;
    namespace.apply(&app("server", Some("nb"), &["serve", "echo:7001"]))?;
    namespace.apply(&app("client", Some("na"), &["serve", "echo:7001"]))?;
    let (server, _) = (namespace.ready("server")?, namespace.ready("client")?);
    let before = encrypted(cluster)?;
    namespace.label(IN_MESH)?;
    let start = Instant::now();
    wait::until("a request goes over mutual TLS", Duration::from_secs(20), || {
        let seen = namespace.ask("client", &["probe", &format!("{}:7001", server.address), "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "{seen}");
        ensure!(encrypted(cluster)? > before, "it went another way");
        Ok(())
    })?;
    note(format!("seen {:.1} s after the label, by asking again and again", start.elapsed().as_secs_f64()));
    for name in ["server", "client"] {
        ensure!(namespace.ready(name)?.restarts == 0, "{name} was restarted");
    }
    Ok(())
}

fn deleted(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "deleted", &[("istio.io/dataplane-mode", "ambient")])?;
    namespace.apply(&app("server", Some("nb"), &["serve", "echo:7001"]))?;
    namespace.apply(&app("client", Some("na"), &["serve", "echo:7001"]))?;
    let (server, _) = (namespace.ready("server")?, namespace.ready("client")?);
    let to = format!("{}:7001", server.address);
    wait::until("a request goes over mutual TLS", Duration::from_secs(20), || {
        let seen = namespace.ask("client", &["probe", &to, "--send", "hello"])?;
        ensure!(seen["received"] == "hello" && encrypted(cluster)? > 0.0, "{seen}");
        Ok(())
    })?;
    cluster.kubectl.delete(&manifest()?)?;
    wait::until("pods talk plainly", Duration::from_secs(20), || {
        let seen = namespace.ask("client", &["probe", &to, "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "{seen}");
        Ok(())
    })?;
    for node in &cluster.nodes {
        let left = "find /sys/fs/bpf /run/weir /var/lib/weir /opt/cni/bin/weir* -mindepth 0 2>/dev/null; grep -l weir /etc/cni/net.d/* /dev/null";
        wait::until(&format!("{} is clean", node.name()), Duration::from_secs(20), || {
            let found = node.place().output(&["sh", "-c", left])?.stdout;
            // The last two are the kernel's own, in every file system of this kind.
            let roots =
                ["/sys/fs/bpf", "/run/weir", "/var/lib/weir", "/sys/fs/bpf/progs.debug", "/sys/fs/bpf/maps.debug"];
            let left: Vec<&str> = found.lines().filter(|line| !roots.contains(line)).collect();
            ensure!(left.is_empty(), "left over: {left:?}");
            Ok(())
        })?;
    }
    Ok(())
}
