//! The real istioctl against Weir's agents: what it can ask, and what it says.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::network::CONTROL_PLANE;
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] = &[
    Case { name: "istioctl: ztunnel-config shows what an agent acts by", check: Check::Mesh(ztunnel_config) },
    Case { name: "istioctl: ztunnel-config log shows and changes the log level", check: Check::Mesh(log_level) },
    Case { name: "istioctl: proxy-status shows every agent and what it has", check: Check::Mesh(proxy_status) },
    Case { name: "istioctl: analyze finds nothing wrong", check: Check::Mesh(analyze) },
    Case { name: "istioctl: x describe pod tells a pod's mutual TLS mode", check: Check::Mesh(describe) },
];

/// How long istiod may take to tell agents of something new.
const TOLD: Duration = Duration::from_secs(20);

fn ztunnel_config(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "istioctl", &[IN_MESH])?;
    pair.is_meshed()?;
    pair.namespace.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "who"},
        "spec": {"selector": {"matchLabels": {"app": "server"}}, "action": "ALLOW",
                 "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/istioctl/sa/default"]}}]}]},
    }))?;
    let load = pair.load(20)?;
    for agent in mesh::agents(cluster)? {
        let ask = |what: &str| ztunnel(cluster, &agent, &[what]);
        for (what, parts) in [
            ("workloads", vec![vec!["istioctl", "server", pair.server.address.as_str(), SERVER_NODE, "HBONE"]]),
            ("services", vec![vec!["istio-system", "istiod", "1/1"]]),
            ("policies", vec![vec!["istioctl", "who", "Allow", "WorkloadSelector"]]),
            ("certificates", vec![vec!["spiffe://cluster.local/ns/istioctl/sa/default", "Leaf", "Available", "true"]]),
            ("connections", vec![connection_of(&agent)]),
        ] {
            wait::until(&format!("{what} of {} are shown", agent.name), TOLD, || shows(&ask(what)?, &parts))?;
        }
        let all = ask("all")?;
        for title in ["POD NAME", "SERVICE NAME", "POLICY NAME", "CERTIFICATE NAME", "WORKLOAD"] {
            ensure!(all.contains(title), "{title} is missing in {all}");
        }
        let json: serde_json::Value = serde_json::from_str(&ztunnel(cluster, &agent, &["all", "--output=json"])?)?;
        ensure!(json["workloads"].is_array() || json.is_object(), "{json}");
    }
    // A workload's own name leads to its connections, through a DaemonSet that is named.
    let named = cluster.istioctl(&["ztunnel-config", "workloads", "daemonset/weir", "--namespace=istio-system"])?;
    ensure!(named.contains("HBONE"), "{named}");
    load.report(Duration::from_secs(60))?.none_failed("new")
}

/// What a line of a live connection holds, on the client's node and on the server's.
fn connection_of(agent: &Pod) -> Vec<&'static str> {
    if agent.node == CLIENT_NODE {
        vec!["client.istioctl", "Outbound", "HBONE"]
    } else {
        vec!["server.istioctl", "Inbound", "HBONE"]
    }
}

fn log_level(cluster: &mut Cluster) -> Result<()> {
    for agent in mesh::agents(cluster)? {
        for (more, expected) in [
            (vec!["log"], "current log level is info"),
            (vec!["log", "--level=debug"], "current log level is debug"),
            (vec!["log"], "current log level is debug"),
            (vec!["log", "--level=weir::xds:warning"], "weir::xds=warn"),
            (vec!["log", "--reset"], "current log level is info"),
        ] {
            let said = ztunnel(cluster, &agent, &more)?;
            ensure!(said.contains(expected), "{more:?}: {said}");
        }
    }
    Ok(())
}

fn proxy_status(cluster: &mut Cluster) -> Result<()> {
    // istiod is no pod here, so istioctl has to be told where it is.
    let address = format!("--xds-address={CONTROL_PLANE}:15012");
    for agent in mesh::agents(cluster)? {
        wait::until(&format!("{} is shown", agent.name), TOLD, || {
            let said = cluster.istioctl(&["proxy-status", &address])?;
            shows(&said, &[vec![&format!("{}.istio-system", agent.name), "Kubernetes", "WDS", "WADS"]])
        })?;
    }
    Ok(())
}

fn analyze(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "analyzed", &[IN_MESH])?;
    pair.echoes()?;
    // Of namespaces that are just going it finds a part.
    wait::until("nothing is wrong", TOLD, || {
        let said = cluster.istioctl(&["analyze", "--all-namespaces"])?;
        ensure!(["Error [", "Warning ["].iter().all(|word| !said.contains(word)), "{said}");
        note(said.lines().last().unwrap_or_default());
        Ok(())
    })
}

/// istioctl asks every pod for the configuration of an Envoy inside of it, and there is none in a pod of any mesh without
/// sidecars: it has to be told to go on without.
fn describe(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "described", &[IN_MESH])?;
    // Every installation of istiod has it; this one is no installation.
    cluster.kubectl.apply(
        &json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": "rootNamespace: istio-system\ntrustDomain: cluster.local\n"},
        })
        .to_string(),
    )?;
    pair.namespace.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "strict"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }))?;
    let said = cluster.istioctl(&["x", "describe", "pod", "server.described", "--ignoreUnmeshed"])?;
    for part in ["Pod: server.described", "Effective PeerAuthentication", "STRICT"] {
        ensure!(said.contains(part), "{part} is missing in {said}");
    }
    Ok(())
}

/// Asks one agent.
fn ztunnel(cluster: &Cluster, agent: &Pod, what: &[&str]) -> Result<String> {
    let pod = format!("{}.istio-system", agent.name);
    let arguments: Vec<&str> =
        ["ztunnel-config"].into_iter().chain(what.iter().copied()).chain([pod.as_str()]).collect();
    cluster.istioctl(&arguments)
}

/// Every set of words is in one line.
fn shows(said: &str, lines: &[Vec<&str>]) -> Result<()> {
    for words in lines {
        let found = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(found, "no line with {words:?} in\n{said}");
    }
    Ok(())
}
