//! New pods, from the start of their process until others reach them over mutual TLS.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use weir_tests::cluster::api::Request;
use weir_tests::cluster::pods::app;
use weir_tests::cluster::{Cluster, SERVER_NODE};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair, now, since};
use crate::processes;

pub(crate) const LONG: &[Case] = &[Case {
    name: "pod startup: new servers are soon reached over mutual TLS from the other node",
    check: Check::Mesh(ten_servers),
}];

const SERVERS: u16 = 10;
/// The first of their ports; each has its own, by which its process is found.
const FIRST_PORT: u16 = 7101;
const SOON: Duration = Duration::from_secs(20);
/// New connections a second that look for each of them.
const RATE: u64 = 100;

/// When, of a new pod, in milliseconds: what came after what.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// From the start of its process until the API had its address.
    known: u64,
    /// From then until the first connection over mutual TLS.
    reached: u64,
}

fn ten_servers(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "arriving", &[IN_MESH])?;
    pair.is_meshed()?;
    let mut arrivals = Vec::new();
    for port in FIRST_PORT..FIRST_PORT + SERVERS {
        arrivals.push(arrival(&pair, port)?);
    }
    let median = |of: fn(&Arrival) -> u64| {
        let mut all: Vec<u64> = arrivals.iter().map(of).collect();
        all.sort_unstable();
        format!("{} ms median ({}–{})", all[all.len() / 2], all[0], all[all.len() - 1])
    };
    note(format!("from the start of its process: {}", median(|one| one.known + one.reached)));
    note(format!("of which until the API had its address: {}", median(|one| one.known)));
    note(format!("and from then on: {}", median(|one| one.reached)));
    Ok(())
}

fn arrival(pair: &Pair<'_>, port: u16) -> Result<Arrival> {
    let (name, served) = (format!("server-{port}"), format!("echo:{port}"));
    let mut pod = app(&name, Some(SERVER_NODE), &["serve", &served]);
    // It is the pod's first moments that count.
    pod["spec"]["containers"][0]["readinessProbe"] = json!(null);
    pair.namespace.apply(&pod)?;
    let path = format!("{}/{name}", pair.namespace.collection("pods"));
    let api = pair.cluster.control_plane.api();
    let address = wait::until("the API has its address", SOON, || {
        let pod = api.ask(&Request::read(&path))?;
        pod["status"]["podIP"].as_str().map(str::to_owned).context("it has none")
    })?;
    let known = now();
    let load = pair.begin(&format!("{address}:{port}"), 0, RATE, 3)?;
    let node = pair.cluster.node(SERVER_NODE)?;
    let process = wait::until("its process runs", SOON, || processes::with_word(node, "weir-test-app", &served))?;
    let (age, at) = (process.age_ms()?, now());
    let agent = mesh::agent_of(pair.cluster, SERVER_NODE)?;
    let reached = wait::until("it is reached over mutual TLS", SOON, || pair.first_to(&agent, &name, known))?;
    drop(load);
    pair.namespace.kubectl.run(&["delete", "pod", &name, "--namespace", &pair.namespace.name, "--wait=false"])?;
    let began = since(age, at);
    Ok(Arrival { known: since(began, known), reached: since(known, reached) })
}
