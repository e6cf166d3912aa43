//! A mesh of a thousand services: what an agent holds in memory of it, whole pod, and what it spends as pods come and go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::Cluster;
use weir_tests::table::note;
use weir_tests::wait;

use crate::crowd::{Elsewhere, under_events};
use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};
use crate::processes::memory;

pub(crate) const LONG: &[Case] = &[Case {
    name: "scale: a thousand services with three workloads each, and ten pod events a second",
    check: Check::OwnMesh(thousand),
}];

pub(crate) const SERVICES: usize = 1000;
pub(crate) const WORKLOADS: usize = 3;
/// For all processes of an agent's pod, in MB.
pub(crate) const MEMORY: f64 = 28.0;

fn thousand(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "scale", &[IN_MESH])?;
    pair.is_meshed()?;
    let node = cluster.node("na")?;
    let idle = memory(node)?;
    note(format!("before: {:.1} MB proportional, {:.1} MB resident, shared pages counted twice", idle.0, idle.1));
    let list: Vec<Value> = (0..SERVICES).map(|number| entry(&pair.namespace.name, number)).collect();
    cluster.kubectl.create_many(&json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string())?;
    let wanted = SERVICES * WORKLOADS;
    known(cluster, wanted)?;
    let settled = wait::until("memory has settled", Duration::from_secs(40), || {
        let now = memory(node)?;
        ensure!(now.0 <= MEMORY, "{:.1} MB proportional, {:.1} MB resident", now.0, now.1);
        Ok(now)
    })?;
    note(format!(
        "with {SERVICES} services and {wanted} workloads: {:.1} MB proportional, {:.1} MB resident",
        settled.0, settled.1
    ));
    under_events(cluster, &Elsewhere::create(cluster)?)?;
    pair.echoes()
}

/// Waits until the first node's agent knows so many workloads.
pub(crate) fn known(cluster: &Cluster, wanted: usize) -> Result<()> {
    let agent = mesh::agent_of(cluster, "na")?;
    cluster.kubectl.until("the agent knows all workloads", Duration::from_secs(180), |_| {
        let status = mesh::ask(cluster, &agent, "status")?;
        let words: Vec<&str> = status.split_whitespace().collect();
        let at = words.iter().position(|word| word.starts_with("workloads")).context("it tells of workloads")?;
        let known: usize = words[at.saturating_sub(1)].parse()?;
        ensure!(known >= wanted, "{known} of {wanted}");
        Ok(())
    })
}

fn entry(namespace: &str, number: usize) -> Value {
    let address = |index: usize| format!("10.{}.{}.{}", 100 + index, number / 250, number % 250 + 1);
    let endpoints: Vec<Value> = (0..WORKLOADS).map(|index| json!({"address": address(index)})).collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": format!("service-{number}"), "namespace": namespace},
        "spec": {
            "hosts": [format!("service-{number}.example")], "addresses": [address(50)], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 81, "name": "tcp", "protocol": "TCP"}],
            "endpoints": endpoints,
        },
    })
}
