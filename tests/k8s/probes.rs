//! The kubelet's probes and hooks under STRICT, and that nothing else from a node, or through one, passes as they do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::pods::{Namespace, app, last_line, service};
use weir_tests::cluster::{Cluster, NODES, SERVER_NODE, parts};
use weir_tests::place::Place;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::IN_MESH;

pub(crate) const CASES: &[Case] = &[
    Case { name: "probes: HTTP, TCP and gRPC stay green under STRICT for 30 s", check: Check::Mesh(stay_green) },
    Case { name: "probes: hooks are called under STRICT", check: Check::Mesh(hooks) },
    Case { name: "probes: what comes from a node or through its port is plaintext", check: Check::Mesh(nodes_are_not) },
    Case { name: "probes: a pod through its own Service's port is plaintext", check: Check::Mesh(own_port) },
];

const SERVE: &[&str] = &["serve", "http:7001", "echo:7002", "grpc:7003"];
const ECHO: u16 = 7002;
/// For how long nothing may be unhealthy.
const WATCHED: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace of the mesh in which plaintext is refused.
fn strict<'a>(cluster: &'a Cluster, name: &str) -> Result<Namespace<'a>> {
    let namespace = Namespace::create(&cluster.kubectl, name, &[IN_MESH])?;
    be_strict(&namespace)?;
    Ok(namespace)
}

fn be_strict(namespace: &Namespace<'_>) -> Result<()> {
    namespace.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "strict"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }))
}

/// What dials as any program of a place does.
fn dial(place: &Place, address: &str) -> Result<Value> {
    let program = parts::beside("weir-test-app")?.display().to_string();
    last_line(&place.run(&[&program, "probe", address, "--send", "hello"])?)
}

fn is_refused(place: &Place, address: &str) -> Result<()> {
    let seen = dial(place, address)?;
    ensure!(seen["received"].as_str().is_none_or(str::is_empty), "{} to {address}: {seen}", place.name());
    Ok(())
}

fn is_answered(place: &Place, address: &str) -> Result<()> {
    let seen = dial(place, address)?;
    ensure!(seen["received"] == "hello", "{} to {address}: {seen}", place.name());
    Ok(())
}

/// How often something in a namespace was said to be unhealthy.
fn unhealthy(namespace: &Namespace<'_>) -> Result<u64> {
    let events = namespace.kubectl.get(&["events", "--namespace", &namespace.name])?;
    let events = events["items"].as_array().context("a list of events")?;
    let of_probes = events.iter().filter(|event| event["reason"] == "Unhealthy");
    Ok(of_probes.map(|event| event["count"].as_u64().unwrap_or(1)).sum())
}

/// Connections of kubelets that went to applications as they are.
fn let_through(cluster: &Cluster) -> Result<f64> {
    mesh::sum(cluster, "weir_capture_verdicts_total", &[("verdict", "lookup_passed_probe")])
}

fn stay_green(cluster: &mut Cluster) -> Result<()> {
    let namespace = strict(cluster, "green")?;
    let kinds = [
        ("http", json!({"httpGet": {"path": "/healthz", "port": 7001}})),
        ("tcp", json!({"tcpSocket": {"port": 7002}})),
        ("grpc", json!({"grpc": {"port": 7003}})),
    ];
    let mut pods = Vec::new();
    for (kind, probe) in &kinds {
        for node in NODES {
            let name = format!("{kind}-{node}");
            let mut pod = app(&name, Some(node), SERVE);
            let mut probe = probe.clone();
            probe["periodSeconds"] = json!(1);
            for use_of_it in ["startupProbe", "readinessProbe", "livenessProbe"] {
                pod["spec"]["containers"][0][use_of_it] = probe.clone();
            }
            namespace.apply(&pod)?;
            pods.push(name);
        }
    }
    for pod in &pods {
        let address = namespace.ready(pod)?.address;
        // The node's own programs share an address with its kubelet.
        for node in &cluster.nodes {
            wait::until("plaintext is refused", PATIENCE, || is_refused(node.place(), &format!("{address}:{ECHO}")))?;
        }
    }
    // Before its server listened a pod was rightly called unhealthy.
    let (before, probes) = (unhealthy(&namespace)?, let_through(cluster)?);
    wait::throughout("nothing is unhealthy", WATCHED, || {
        let grown = unhealthy(&namespace)? - before;
        ensure!(grown == 0, "{grown} times unhealthy");
        Ok(())
    })?;
    let probes = let_through(cluster)? - probes;
    note(format!(
        "{} pods watched for {:.0} s: 0 events Unhealthy, {probes} probes",
        pods.len(),
        WATCHED.as_secs_f64()
    ));
    // Six pods, two kinds of probe each, one a second.
    ensure!(probes >= 200.0, "only {probes} probes were told from other traffic");
    for pod in &pods {
        ensure!(namespace.ready(pod)?.restarts == 0, "{pod} was restarted");
    }
    Ok(())
}

fn hooks(cluster: &mut Cluster) -> Result<()> {
    let namespace = strict(cluster, "hooks")?;
    let probes = let_through(cluster)?;
    let hook = json!({"httpGet": {"path": "/healthz", "port": 7001}});
    for node in NODES {
        let mut pod = app(&format!("hooked-{node}"), Some(node), SERVE);
        let container = &mut pod["spec"]["containers"][0];
        container["lifecycle"] = json!({"postStart": hook, "preStop": hook});
        container["readinessProbe"] = json!({"exec": {"command": ["true"]}});
        pod["spec"]["terminationGracePeriodSeconds"] = json!(10);
        namespace.apply(&pod)?;
    }
    for node in NODES {
        let pod = namespace.ready(&format!("hooked-{node}"))?;
        let address = format!("{}:{ECHO}", pod.address);
        wait::until("plaintext is refused", PATIENCE, || is_refused(cluster.node(node)?.place(), &address))?;
    }
    cluster.kubectl.run(&["delete", "pods", "--all", "--namespace", &namespace.name])?;
    let called = let_through(cluster)? - probes;
    ensure!(called >= 4.0, "{called} hooks of 4 went to the applications as they are");
    let events = cluster.kubectl.run(&["get", "events", "--namespace", &namespace.name, "-o", "json"])?;
    ensure!(!events.contains("FailedPreStopHook"), "a hook failed: {events}");
    Ok(())
}

/// A server on the second node, reached through a port of every node.
fn behind_a_port(cluster: &Cluster, namespace: &Namespace<'_>) -> Result<(String, Vec<String>)> {
    let server = namespace.start(&app("server", Some(SERVER_NODE), SERVE))?;
    namespace.service(&service("server", "NodePort", 80, ECHO))?;
    let made = cluster.kubectl.get(&["service", "server", "--namespace", &namespace.name])?;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().context("it has a port on nodes")?;
    let ports = cluster.nodes.iter().map(|node| format!("{}:{port}", node.address())).collect();
    Ok((format!("{}:{ECHO}", server.address), ports))
}

fn nodes_are_not(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "ports", &[IN_MESH])?;
    let (server, ports) = behind_a_port(cluster, &namespace)?;
    let outside = cluster.control_plane.room().place();
    for port in &ports {
        wait::until("a node's port leads to the server", PATIENCE, || is_answered(outside, port))?;
    }
    be_strict(&namespace)?;
    for port in &ports {
        wait::until("plaintext through a node's port is refused", PATIENCE, || is_refused(outside, port))?;
    }
    for node in &cluster.nodes {
        is_refused(node.place(), &server)?;
        for port in &ports {
            is_refused(node.place(), port)?;
        }
    }
    note(format!("refused on {} ports of nodes, and from both nodes' own programs", ports.len()));
    namespace.ready("server").map(drop)
}

fn own_port(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "own-port", &[IN_MESH])?;
    let (_, ports) = behind_a_port(cluster, &namespace)?;
    let asks = |port: &str| namespace.ask("server", &["probe", port, "--send", "hello"]);
    for port in &ports {
        wait::until("it is served while plaintext is", PATIENCE, || {
            let seen = asks(port)?;
            ensure!(seen["received"] == "hello", "{port}: {seen}");
            Ok(())
        })?;
    }
    be_strict(&namespace)?;
    for port in &ports {
        wait::until("it is refused as plaintext is", PATIENCE, || {
            let seen = asks(port)?;
            ensure!(seen["received"].as_str().is_none_or(str::is_empty), "{port}: {seen}");
            Ok(())
        })?;
    }
    Ok(())
}
