//! The cluster that everything else is checked on is what a cluster is elsewhere: checked without Weir.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::pods::{Namespace, app, last_line, service};
use weir_tests::cluster::{CLIENT_NODE, Cluster, NODES, SERVER_NODE};
use weir_tests::program::Output;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] =
    &[Case { name: "cluster: comes up with two nodes and a real istiod", check: Check::Cluster(comes_up) }];

pub(crate) const LONG: &[Case] = &[
    Case { name: "cluster: pods of one node and of two reach each other", check: Check::Cluster(pods_reach_pods) },
    Case {
        name: "cluster: a Service is reached by its address and on every node's port",
        check: Check::Cluster(services),
    },
    Case { name: "cluster: exec, logs, port-forward and hooks work", check: Check::Cluster(kubelet_works) },
    Case { name: "cluster: HTTP, TCP and gRPC probes are well", check: Check::Cluster(probes_are_well) },
    Case { name: "cluster: a pod sees its node through host paths", check: Check::Cluster(host_paths) },
    Case { name: "cluster: a pod dials at once when it starts", check: Check::Cluster(dials_at_once) },
    Case { name: "cluster: load on a quiet cluster meets no failure", check: Check::Cluster(load_is_clean) },
];

pub(crate) const OTHERWISE: &[Case] =
    &[Case { name: "cluster: the same with kube-proxy in its iptables mode", check: Check::Otherwise(services) }];

/// Servers in every pod of these cases: an echo, and one that tells addresses.
const SERVE: &[&str] = &["serve", "echo:7001", "peer:7002"];

fn comes_up(cluster: &mut Cluster) -> Result<()> {
    let times = cluster.times;
    note(format!(
        "API server after {:.1} s, both nodes ready after {:.1} s, istiod after {:.1} s",
        times.api_ready.as_secs_f64(),
        times.nodes_ready.as_secs_f64(),
        times.all_ready.as_secs_f64()
    ));
    let istiod = cluster.istiod.as_ref().context("istiod is part of it")?;
    let agents: Value = serde_json::from_str(&istiod.debug("/debug/syncz")?).unwrap_or_default();
    ensure!(agents.as_array().is_none_or(Vec::is_empty), "agents without Weir: {agents}");
    // istiod's authority is what pods' agents trust it by.
    cluster.kubectl.until("istiod has published its root", Duration::from_secs(30), |kubectl| {
        kubectl.run(&["get", "configmap", "istio-ca-root-cert", "--namespace", "istio-system"])
    })?;
    Ok(())
}

fn pods_reach_pods(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "reach", &[])?;
    for name in NODES {
        namespace.apply(&app(&format!("server-{name}"), Some(name), SERVE))?;
    }
    namespace.apply(&app("client", Some(CLIENT_NODE), SERVE))?;
    let client = namespace.ready("client")?;
    for name in NODES {
        let server = namespace.ready(&format!("server-{name}"))?;
        ensure!(server.node == name, "{} is on {}", server.name, server.node);
        let seen = namespace.ask("client", &["probe", &format!("{}:7002", server.address)])?;
        let peer: Value = last_line(seen["received"].as_str().unwrap_or_default())?;
        let accepted = peer["accept"].as_str().unwrap_or_default();
        ensure!(accepted.starts_with(&format!("{}:", client.address)), "on {name} the client is seen as {accepted}");
    }
    Ok(())
}

fn services(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "services", &[])?;
    namespace.apply(&app("server", Some(SERVER_NODE), SERVE))?;
    namespace.apply(&app("client", Some(CLIENT_NODE), SERVE))?;
    namespace.ready("server")?;
    namespace.ready("client")?;
    let address = namespace.service(&service("server", "NodePort", 80, 7001))?;
    let made = cluster.kubectl.get(&["service", "server", "--namespace", &namespace.name])?;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().context("it has a port on nodes")?;
    let mut ways = vec![format!("{address}:80")];
    ways.extend(cluster.nodes.iter().map(|node| format!("{}:{port}", node.address())));
    for way in ways {
        // kube-proxy writes its rules a moment after the API has the endpoint.
        wait::until(&format!("{way} leads to the server"), Duration::from_secs(20), || {
            let seen = namespace.ask("client", &["probe", &way, "--send", "hello"])?;
            ensure!(seen["received"] == "hello", "{seen}");
            Ok(())
        })?;
    }
    Ok(())
}

fn kubelet_works(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "kubelet", &[])?;
    let mut pod = app("hooked", None, &["serve", "watch:7001"]);
    let hook = json!({"exec": {"command": ["sh", "-c", "echo was here > /tmp/hook"]}});
    pod["spec"]["containers"][0]["lifecycle"] = json!({"postStart": hook});
    pod["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-f", "/tmp/hook"]}, "periodSeconds": 1});
    namespace.start(&pod)?;
    let said = cluster.kubectl.exec(&namespace.name, "hooked", &["cat", "/tmp/hook"])?;
    ensure!(said == "was here\n", "the hook left {said:?}");
    // One connection through a forwarded port, which the server then tells of in its log.
    let forward =
        cluster.kubectl.spawn(&["port-forward", "--namespace", &namespace.name, "pod/hooked", "18001:7001"])?;
    let place = cluster.control_plane.room().place();
    let test_app = weir_tests::cluster::parts::beside("weir-test-app")?.display().to_string();
    wait::until("the forwarded port answers", Duration::from_secs(20), || {
        let output: Output = place.output(&[&test_app, "probe", "127.0.0.1:18001", "--send", "x"])?;
        ensure!(last_line(&output.stdout)?["received"] == "x", "{}", output.summary());
        Ok(())
    })?;
    drop(forward);
    cluster.kubectl.until("the log tells of the connection", Duration::from_secs(20), |kubectl| {
        let log = kubectl.run(&["logs", "--namespace", &namespace.name, "hooked"])?;
        ensure!(log.contains("\"peer\""), "it says {log:?}");
        Ok(())
    })
}

fn probes_are_well(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "probes", &[])?;
    let kinds = [
        ("http", json!({"httpGet": {"path": "/healthz", "port": 7001}})),
        ("tcp", json!({"tcpSocket": {"port": 7002}})),
        ("grpc", json!({"grpc": {"port": 7003}})),
    ];
    for (name, probe) in &kinds {
        let mut pod = app(name, None, &["serve", "http:7001", "echo:7002", "grpc:7003"]);
        let mut probe = probe.clone();
        probe["periodSeconds"] = json!(1);
        for kind in ["readinessProbe", "livenessProbe"] {
            pod["spec"]["containers"][0][kind] = probe.clone();
        }
        namespace.apply(&pod)?;
    }
    for (name, _) in &kinds {
        let pod = namespace.ready(name)?;
        ensure!(pod.restarts == 0, "{name} was restarted");
    }
    Ok(())
}

fn host_paths(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "host-paths", &[])?;
    let mut pod = app("looker", Some(CLIENT_NODE), SERVE);
    let paths = [
        "/proc",
        "/sys/fs/cgroup",
        "/sys/fs/bpf",
        "/run/netns",
        "/run/weir",
        "/var/lib/weir",
        "/etc/cni/net.d",
        "/opt/cni/bin",
    ];
    let name = |path: &str| path.trim_start_matches('/').replace(['/', '.'], "-");
    pod["spec"]["volumes"] = paths.iter().map(|path| json!({"name": name(path), "hostPath": {"path": path}})).collect();
    pod["spec"]["containers"][0]["volumeMounts"] = paths
        .iter()
        .map(|path| json!({"name": name(path), "mountPath": format!("/host{path}"), "mountPropagation": "HostToContainer"}))
        .collect();
    let pod = namespace.start(&pod)?;
    let look = |command: &str| cluster.kubectl.exec(&namespace.name, "looker", &["sh", "-c", command]);
    let cgroup2 = format!("/host{}", cluster.settings.mode.cgroup2());
    for (what, command, expected) in [
        // A process may end between its name and its file.
        ("the node's processes", "cat /host/proc/[0-9]*/comm 2> /dev/null || true".to_owned(), "kubelet"),
        ("the node's network", "cat /host/proc/1/net/dev".to_owned(), "cni0"),
        ("pods' network namespaces", "ls /host/run/netns".to_owned(), "cni-"),
        ("the plugins", "ls /host/opt/cni/bin".to_owned(), "bridge"),
        ("the network's configuration", "ls /host/etc/cni/net.d".to_owned(), "10-pods.conflist"),
        ("the pod's cgroup", format!("ls -R {cgroup2}/kubepods"), pod.uid.as_str()),
    ] {
        let seen = look(&command)?;
        ensure!(seen.contains(expected), "{what} should show {expected}: {seen}");
    }
    // What a pod writes there stays on its node.
    look("echo from-a-pod > /host/run/weir/x && echo from-a-pod > /host/etc/cni/net.d/x")?;
    ensure!(!std::path::Path::new("/run/weir/x").exists(), "the machine's own /run/weir was written to");
    let node = cluster.node(CLIENT_NODE)?;
    let seen = node.place().run(&["cat", "/run/weir/x", "/etc/cni/net.d/x"])?;
    ensure!(seen == "from-a-pod\nfrom-a-pod\n", "on the node it is {seen:?}");
    node.place().run(&["rm", "/run/weir/x", "/etc/cni/net.d/x"]).map(drop)
}

fn dials_at_once(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "dials", &[])?;
    let server = namespace.start(&app("server", Some(SERVER_NODE), SERVE))?;
    let address = format!("{}:7001", server.address);
    namespace.start(&app("dialler", Some(CLIENT_NODE), &["dial", &address, "--stay"]))?;
    let log = cluster.kubectl.until("the pod has reported", Duration::from_secs(20), |kubectl| {
        last_line(&kubectl.run(&["logs", "--namespace", &namespace.name, "dialler"])?)
    })?;
    ensure!(log["ok"] == true && log["first_error"].is_null(), "{log}");
    note(format!("first answer {:.1} ms after the process began", log["ms"].as_f64().unwrap_or_default()));
    Ok(())
}

fn load_is_clean(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "load", &[])?;
    let server = namespace.start(&app("server", Some(SERVER_NODE), SERVE))?;
    namespace.start(&app("client", Some(CLIENT_NODE), SERVE))?;
    let to = format!("{}:7001", server.address);
    let report =
        namespace.ask("client", &["load", "--to", &to, "--keepalive", "64", "--rate", "200", "--seconds", "5"])?;
    for sort in ["new", "kept"] {
        ensure!(report[sort]["failed"] == 0, "{sort}: {}", report[sort]);
        note(format!("{sort}: {} ok, latency in ms {}", report[sort]["ok"], report[sort]["latency_ms"]));
    }
    let fresh = report["new"]["ok"].as_u64().unwrap_or_default();
    ensure!(fresh >= 900, "only {fresh} new connections in 5 s");
    note(format!("longest time without a new connection {} ms", report["new"]["longest_gap_ms"]));
    Ok(())
}
