//! A mesh of a thousand ServiceEntries with three endpoints each.

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::cluster::{CLIENT_NODE, Cluster};
use weir_tests::table::note;

use super::agent_cost::{known, memory_settles, under_events};
use super::foreign_pods::{ForeignPods, SERVICES, WORKLOADS};
use crate::harness::{Case, Check};
use crate::pair::{IN_MESH, Pair};
use crate::processes::memory;

pub(crate) const LONG: &[Case] = &[Case {
    name: "scale: a thousand services with three workloads each, and ten pod events a second",
    check: Check::OwnMesh(thousand),
}];

fn thousand(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "scale", &[IN_MESH])?;
    pair.is_meshed()?;
    let node = cluster.node(CLIENT_NODE)?;
    let idle = memory(node)?;
    note(format!("before: {:.1} MB proportional, {:.1} MB resident, shared pages counted twice", idle.0, idle.1));
    let list: Vec<Value> = (0..SERVICES).map(|number| entry(&pair.namespace.name, number)).collect();
    cluster.kubectl.create_many(&json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string())?;
    let wanted = SERVICES * WORKLOADS;
    known(cluster, wanted)?;
    note(format!("then {SERVICES} services and {wanted} workloads"));
    memory_settles(node)?;
    under_events(cluster, &ForeignPods::create(cluster)?)?;
    pair.echoes()
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
