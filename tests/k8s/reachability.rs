//! Who reaches whom in a mesh, by which way, and what either sees; and how soon policy that kubectl changes is in force.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::pods::{app, last_line, service};
use weir_tests::cluster::{CLIENT_NODE, Cluster};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{ECHO, IN_MESH, Pair, outsider};

pub(crate) const CASES: &[Case] = &[
    Case { name: "reachability: pods, Services, headless ones and ServiceEntries", check: Check::Mesh(every_way) },
    Case { name: "reachability: a server that speaks first", check: Check::Mesh(server_first) },
    Case { name: "reachability: servers see the client's address and port", check: Check::Mesh(client_is_shown) },
    Case { name: "reachability: from the node's network and from outside the mesh", check: Check::Mesh(outsiders) },
    Case { name: "reachability: a changed AuthorizationPolicy ends live connections", check: Check::Mesh(denied_live) },
    Case { name: "reachability: a changed PeerAuthentication refuses plaintext", check: Check::Mesh(strict) },
    Case { name: "reachability: nothing is added in pods' networks", check: Check::Mesh(nothing_added) },
];

/// Where servers tell the addresses that they see, and where they speak first.
const PEER: u16 = 7002;
const BANNER: u16 = 7003;

/// A pod of the mesh on the client's node, besides those of the pair.
fn neighbour(pair: &Pair<'_>) -> Result<String> {
    let pod = app("neighbour", Some(CLIENT_NODE), &["serve", "echo:7001", "peer:7002", "banner:7003"]);
    Ok(pair.namespace.start(&pod)?.address)
}

fn every_way(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "ways", &[IN_MESH])?;
    let neighbour = neighbour(&pair)?;
    pair.is_meshed()?;
    let vip = pair.namespace.service(&service("server", "ClusterIP", 80, ECHO))?;
    let mut headless = service("headless", "ClusterIP", 80, ECHO);
    headless["spec"]["clusterIP"] = json!("None");
    headless["spec"]["selector"] = json!({"app": "server"});
    pair.namespace.apply(&headless)?;
    pair.namespace.apply(&json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "entry"},
        "spec": {
            "hosts": ["entry.example"], "addresses": ["10.96.200.1"], "resolution": "STATIC", "location": "MESH_INTERNAL",
            "ports": [{"number": 81, "name": "tcp", "protocol": "TCP", "targetPort": ECHO}],
            "workloadSelector": {"labels": {"app": "server"}},
        },
    }))?;
    let ways = [
        ("a pod of another node", format!("{}:{ECHO}", pair.server.address)),
        ("a pod of the same node", format!("{neighbour}:{ECHO}")),
        ("a Service", format!("{vip}:80")),
        ("a ServiceEntry", "10.96.200.1:81".to_owned()),
    ];
    for (what, way) in ways {
        wait::until(&format!("{what} is reached over mutual TLS"), Duration::from_secs(20), || {
            let before = mesh::encrypted(cluster)?;
            let seen = pair.namespace.ask("client", &["probe", &way, "--send", "hello"])?;
            ensure!(seen["received"] == "hello", "{seen}");
            ensure!(mesh::encrypted(cluster)? > before, "it went another way");
            Ok(())
        })?;
    }
    Ok(())
}

fn server_first(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "server-first", &[IN_MESH])?;
    pair.is_meshed()?;
    let seen = pair.namespace.ask("client", &["probe", &format!("{}:{BANNER}", pair.server.address), "--send", ""])?;
    ensure!(seen["received"] == "220 ready\r\n", "{seen}");
    Ok(())
}

fn client_is_shown(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "shown", &[IN_MESH])?;
    let neighbour = neighbour(&pair)?;
    pair.is_meshed()?;
    for (what, server) in [("across nodes", &pair.server.address), ("on one node", &neighbour)] {
        let seen = pair.namespace.ask("client", &["probe", &format!("{server}:{PEER}")])?;
        let shown: Value = last_line(seen["received"].as_str().unwrap_or_default())?;
        for call in ["accept", "getpeername"] {
            ensure!(
                shown[call] == seen["local"],
                "{what} {call}() is shown {}, the client is {}",
                shown[call],
                seen["local"]
            );
        }
    }
    Ok(())
}

fn outsiders(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "outsiders", &[IN_MESH])?;
    pair.is_meshed()?;
    let mut host = app("host", Some(CLIENT_NODE), &["serve", "echo:17001"]);
    host["spec"]["hostNetwork"] = json!(true);
    for pod in [outsider(), host] {
        let name = pair.namespace.start(&pod)?.name;
        let seen = pair.namespace.ask(&name, &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "from {name}: {seen}");
        let seen = pair.namespace.ask(&name, &["probe", &format!("{}:9", pair.server.address)])?;
        ensure!(seen["connect"] == "ConnectionRefused", "a closed port, from {name}: {seen}");
    }
    Ok(())
}

fn denied_live(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "denied", &[IN_MESH])?;
    pair.is_meshed()?;
    let load = pair.load(8)?;
    let start = Instant::now();
    pair.namespace.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "deny"},
        "spec": {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": [&pair.namespace.name]}}]}]},
    }))?;
    let applied = start.elapsed();
    wait::until("requests are refused", Duration::from_secs(10), || {
        let seen = pair.namespace.ask("client", &["probe", &pair.echo(), "--send", "hello"])?;
        ensure!(seen["received"] != "hello", "{seen}");
        Ok(())
    })?;
    let report = load.report(Duration::from_secs(40))?;
    let ended = report.0["kept"]["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first_per = |index: u64| {
        let of = |failure: &&Value| failure["connection"].as_u64() == Some(index);
        ended.iter().find(of).and_then(|failure| failure["at_ms"].as_f64())
    };
    let mut times = (0..crate::pair::KEPT).map(|index| first_per(index).context("a live connection was not ended"));
    let last = times.try_fold(0.0_f64, |last, time| time.map(|time| last.max(time)))?;
    let first = ended.iter().filter_map(|failure| failure["at_ms"].as_f64()).fold(f64::INFINITY, f64::min);
    note(format!(
        "all live connections ended within {:.0} ms of the first; kubectl took {} ms",
        last - first,
        applied.as_millis()
    ));
    Ok(())
}

fn strict(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "strict", &[IN_MESH])?;
    pair.is_meshed()?;
    pair.namespace.start(&outsider())?;
    let asks = || pair.namespace.ask("outside", &["probe", &pair.echo(), "--send", "hello"]);
    ensure!(asks()?["received"] == "hello", "plaintext is served while it is permitted");
    pair.namespace.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "strict"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }))?;
    let start = Instant::now();
    wait::until("plaintext is refused", Duration::from_secs(20), || {
        let seen = asks()?;
        ensure!(seen["received"] == "", "{seen}");
        Ok(())
    })?;
    note(format!("plaintext refused {} ms after kubectl", start.elapsed().as_millis()));
    pair.echoes()
}

fn nothing_added(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "untouched", &[IN_MESH])?;
    pair.is_meshed()?;
    let outside = pair.namespace.start(&outsider())?;
    let rules = |address: &str| rules_of(cluster, address);
    let client = pair.namespace.ready("client")?;
    let (meshed, plain) = (rules(&client.address)?, rules(&outside.address)?);
    ensure!(meshed == plain, "in a pod of the mesh:\n{meshed}\nin another:\n{plain}");
    note(format!("{} lines of rules and routes in a pod of the mesh as in another", meshed.lines().count()));
    Ok(())
}

/// Rules and routes in the network namespace of a pod of the first node, with its own address taken out.
fn rules_of(cluster: &Cluster, address: &str) -> Result<String> {
    let look = format!(
        "for ns in /run/netns/cni-*; do nsenter --net=$ns ip -o addr | grep -q ' {address}/' || continue; \
         for what in 'iptables-save' 'ip6tables-save' 'nft list ruleset' 'ip rule' 'ip -6 rule' 'ip route show table all'; do \
         echo \"-- $what\"; nsenter --net=$ns $what 2>&1; done; done"
    );
    let seen = cluster.node(CLIENT_NODE)?.place().run(&["sh", "-c", &look])?;
    ensure!(seen.contains("-- ip rule"), "no namespace has {address}: {seen}");
    let stable = seen
        .replace(address, "POD")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("local fe80:"))
        .map(|line| format!("{line}\n"))
        .collect();
    Ok(stable)
}
