//! Pods come into the mesh and leave it while they talk, and others are born into it. In figures: how long it takes,
//! and what those who were talking saw of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::Cluster;
use weir_tests::cluster::api::Request;
use weir_tests::cluster::pods::{app, last_line};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{ECHO, IN_MESH, Pair, now, since};

pub(crate) const CASES: &[Case] = &[
    Case { name: "enrollment under load: a namespace is labelled", check: Check::Mesh(labelled) },
    Case { name: "enrollment under load: its label is taken away", check: Check::Mesh(unlabelled) },
    Case { name: "enrollment under load: 50 new pods dial in their first instruction", check: Check::Mesh(newborn) },
    Case { name: "enrollment under load: Weir is installed", check: Check::Mesh(installed) },
];

pub(crate) const LONG: &[Case] = &[Case {
    name: "enrollment under load: 100 new pods dial in their first instruction",
    check: Check::Mesh(many_newborn),
}];

/// New pods that dial at once, at a time.
const AT_ONCE: usize = 25;

fn labelled(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "label-under-load", &[])?;
    let load = pair.load(12)?;
    let moment = now();
    cluster.control_plane.api().ask(&Request::merge(&path(&pair), label(Some(IN_MESH.1))))?;
    wait::until("requests go over mutual TLS", Duration::from_secs(10), || pair.first_encrypted(moment).map(drop))?;
    let report = load.report(Duration::from_secs(30))?;
    let took = since(moment, pair.first_encrypted(moment)?);
    let captured = since(moment, pair.captured(moment)?);
    note(format!("captured {captured} ms after the label was sent, first request over mutual TLS {took} ms after"));
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    report.none_failed("new").and_then(|()| report.none_failed("kept"))?;
    for name in ["server", "client"] {
        ensure!(pair.namespace.ready(name)?.restarts == 0, "{name} was restarted");
    }
    Ok(())
}

fn unlabelled(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "unlabel-under-load", &[IN_MESH])?;
    pair.is_meshed()?;
    let load = pair.load(12)?;
    let (moment, agents) = (now(), mesh::agents(cluster)?);
    cluster.control_plane.api().ask(&Request::merge(&path(&pair), label(None)))?;
    let name = &pair.namespace.name;
    wait::until("its pods are released", Duration::from_secs(10), || {
        for agent in &agents {
            let pods = mesh::ask(cluster, agent, "pods")?;
            ensure!(!pods.contains(name.as_str()), "{pods}");
        }
        Ok(())
    })?;
    note(format!("released {} ms after the label was taken away", since(moment, now())));
    let report = load.report(Duration::from_secs(30))?;
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    report.none_failed("new").and_then(|()| report.none_failed("kept"))
}

/// Deployments of pods whose first act is to dial. None may fail, and none may be seen to come without an identity.
fn newborn(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "newborn", &[IN_MESH])?;
    pair.is_meshed()?;
    dial_at_once(&pair, 2, AT_ONCE)
}

fn many_newborn(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "many-newborn", &[IN_MESH])?;
    pair.is_meshed()?;
    dial_at_once(&pair, 4, AT_ONCE)
}

/// The same in a pair's namespace: so many at once, so many times.
pub(crate) fn dial_at_once(pair: &Pair<'_>, rounds: usize, at_once: usize) -> Result<()> {
    let cluster = pair.cluster;
    let plain = plaintext(cluster)?;
    let (mut took, mut captured) = (Vec::new(), 0);
    for round in 0..rounds {
        let name = format!("dial-{round}");
        pair.namespace.apply(&deployment(&name, at_once, &format!("{}:{ECHO}", pair.server.address)))?;
        for log in logs(pair, &name, at_once)? {
            ensure!(log["ok"] == true && log["first_error"].is_null(), "a pod's first connection failed: {log}");
            took.push(log["ms"].as_f64().context("it tells how long it took")?);
            captured += 1;
        }
        pair.namespace.kubectl.run(&[
            "delete",
            "deployment",
            &name,
            "--namespace",
            &pair.namespace.name,
            "--wait=false",
        ])?;
    }
    took.sort_by(f64::total_cmp);
    note(format!(
        "{captured} pods, none failed; from process start to first answer {:.0} ms least, {:.0} median, {:.0} most",
        took[0],
        took[took.len() / 2],
        took[took.len() - 1]
    ));
    let plain = plaintext(cluster)? - plain;
    ensure!(plain == 0.0, "{plain} connections came in plaintext");
    Ok(())
}

fn installed(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "install-under-load", &[IN_MESH])?;
    pair.is_meshed()?;
    mesh::uninstall(cluster)?;
    let load = pair.load(20)?;
    let moment = now();
    mesh::apply(cluster)?;
    wait::until("requests go over mutual TLS", Duration::from_secs(20), || pair.first_encrypted(moment).map(drop))?;
    let report = load.report(Duration::from_secs(40))?;
    let took = since(moment, pair.first_encrypted(moment)?);
    note(format!("first request over mutual TLS {took} ms after the apply began"));
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    report.none_failed("new").and_then(|()| report.none_failed("kept"))?;
    for name in ["server", "client"] {
        ensure!(pair.namespace.ready(name)?.restarts == 0, "{name} was restarted");
    }
    Ok(())
}

fn path(pair: &Pair<'_>) -> String {
    format!("/api/v1/namespaces/{}", pair.namespace.name)
}

fn label(value: Option<&str>) -> Value {
    json!({"metadata": {"labels": {IN_MESH.0: value}}})
}

/// Connections that destinations' agents saw come without an identity.
fn plaintext(cluster: &Cluster) -> Result<f64> {
    let labels =
        [("connection_security_policy", "unknown"), ("reporter", "destination"), ("destination_workload", "server")];
    mesh::sum(cluster, "istio_tcp_connections_opened_total", &labels)
}

pub(crate) fn deployment(name: &str, replicas: usize, to: &str) -> Value {
    let pod = app(name, None, &["dial", to, "--stay"]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod["spec"]},
        },
    })
}

/// What every pod of a Deployment has reported of its first connection, once all have.
pub(crate) fn logs(pair: &Pair<'_>, name: &str, count: usize) -> Result<Vec<Value>> {
    let selector = format!("app={name}");
    let kubectl = pair.namespace.kubectl;
    let words =
        ["logs", "--namespace", &pair.namespace.name, "--selector", &selector, "--tail=-1", "--max-log-requests=200"];
    kubectl.until("all pods have reported", Duration::from_secs(120), |kubectl| {
        let said = kubectl.run(&words)?;
        let dials: Vec<Value> = said.lines().filter_map(|line| last_line(line).ok()).collect();
        ensure!(dials.len() == count, "{} of {count} have", dials.len());
        Ok(dials)
    })
}
