//! A large cluster as an agent sees it: a thousand Services with three pods each, all elsewhere. Real objects in the API,
//! of nodes that there are none of; what an agent holds in memory of them, and what it spends on their coming and going.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::api::{Pace, Request};
use weir_tests::cluster::node::Node;
use weir_tests::cluster::pods::{Namespace, running};
use weir_tests::cluster::{Cluster, images};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::pair::{IN_MESH, Pair};
use crate::processes;
use crate::scale::{MEMORY, SERVICES, WORKLOADS, known};

pub(crate) const LONG: &[Case] = &[Case {
    name: "crowd: a thousand Services with three pods each, and ten pod events a second, in 2 minutes",
    check: Check::OwnMesh(thousand),
}];

/// Events a second, and for how many seconds.
const EVENTS: u32 = 10;
const SECONDS: usize = 15;
/// For how long agents are watched while nothing happens.
const QUIET: Duration = Duration::from_secs(5);
/// Of one processor, in milliseconds a second, that each node's agent may spend on that many events.
const PROCESSOR: f64 = 50.0;

fn thousand(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "crowd", &[IN_MESH])?;
    pair.is_meshed()?;
    let elsewhere = Elsewhere::create(cluster)?;
    elsewhere.fill()?;
    let start = Instant::now();
    known(cluster, SERVICES * WORKLOADS)?;
    note(format!("known to the agent {:.1} s after the last was made", start.elapsed().as_secs_f64()));
    for node in &cluster.nodes {
        let settled = wait::until("memory has settled", Duration::from_secs(40), || {
            let now = processes::memory(node)?;
            ensure!(now.0 <= MEMORY, "{:.1} MB proportional, {:.1} MB resident", now.0, now.1);
            Ok(now)
        })?;
        note(format!("{}: {:.1} MB proportional, {:.1} MB resident", node.name(), settled.0, settled.1));
    }
    under_events(cluster, &elsewhere)?;
    pair.echoes()
}

/// What agents spend on pods that come and go on nodes that are not theirs.
pub(crate) fn under_events(cluster: &Cluster, elsewhere: &Elsewhere<'_>) -> Result<()> {
    let quiet = spent(cluster, || wait::throughout("nothing happens", QUIET, || Ok(())))?;
    let events = spent(cluster, || elsewhere.stir())?;
    for ((node, quiet), events) in cluster.nodes.iter().zip(&quiet).zip(&events) {
        let name = node.name();
        note(format!(
            "{name}: {events:.1} ms of a processor a second at {EVENTS} pod events a second, {quiet:.1} without"
        ));
    }
    let most = events.iter().copied().fold(0.0, f64::max);
    ensure!(most <= PROCESSOR, "that is too much");
    Ok(())
}

/// What each node's agent, supervisor and worker, takes of a processor while something goes on: milliseconds a second.
fn spent(cluster: &Cluster, meanwhile: impl FnOnce() -> Result<()>) -> Result<Vec<f64>> {
    let taken = |node: &Node| -> Result<u64> {
        let all = processes::all(node)?;
        all.iter().map(processes::Process::processor_ms).sum()
    };
    let before = cluster.nodes.iter().map(taken).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    meanwhile()?;
    let seconds = start.elapsed().as_secs_f64();
    let after = cluster.nodes.iter().map(taken).collect::<Result<Vec<_>>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a few seconds in milliseconds")]
    Ok(before.iter().zip(after).map(|(before, after)| (after - before) as f64 / seconds).collect())
}

/// A namespace of the mesh, whose pods are on nodes that there are none of.
#[derive(Debug)]
pub(crate) struct Elsewhere<'a> {
    cluster: &'a Cluster,
    namespace: Namespace<'a>,
}

impl<'a> Elsewhere<'a> {
    pub(crate) fn create(cluster: &'a Cluster) -> Result<Self> {
        Ok(Self { cluster, namespace: Namespace::create(&cluster.kubectl, "elsewhere", &[IN_MESH])? })
    }

    /// Makes all Services and their pods.
    fn fill(&self) -> Result<()> {
        let start = Instant::now();
        let api = self.cluster.control_plane.api();
        let services: Vec<Request> = (0..SERVICES)
            .map(|number| Request::create(&self.namespace.collection("services"), service(number)))
            .collect();
        api.ask_all(&services, Pace::AtOnce)?;
        let pods = 0..SERVICES * WORKLOADS;
        let made: Vec<Request> = pods.clone().map(|number| self.make(number)).collect();
        api.ask_all(&made, Pace::AtOnce)?;
        let running: Vec<Request> = pods.clone().map(|number| self.is(number, true)).collect();
        api.ask_all(&running, Pace::AtOnce)?;
        note(format!("{SERVICES} Services and {} pods made in {:.1} s", pods.len(), start.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Pods come and go, change their labels, and become ready or not: so many events a second.
    fn stir(&self) -> Result<()> {
        let count = EVENTS as usize * SECONDS;
        // Five events of one pod after the other: made, running, not ready, labelled, deleted.
        let first = SERVICES * WORKLOADS;
        let events: Vec<Request> = (0..count)
            .map(|event| {
                let number = first + event / 5;
                match event % 5 {
                    0 => self.make(number),
                    1 => self.is(number, true),
                    2 => self.is(number, false),
                    3 => Request::merge(&self.pod(number), json!({"metadata": {"labels": {"changed": "yes"}}})),
                    _ => Request::delete(&self.pod(number)),
                }
            })
            .collect();
        self.cluster.control_plane.api().ask_all(&events, Pace::PerSecond(EVENTS))
    }

    fn pod(&self, number: usize) -> String {
        format!("{}/pod-{number}", self.namespace.collection("pods"))
    }

    fn make(&self, number: usize) -> Request {
        Request::create(&self.namespace.collection("pods"), pod(number))
    }

    /// It runs, says its kubelet, and is ready or not.
    fn is(&self, number: usize, ready: bool) -> Request {
        let address = format!("10.{}.{}.{}", 100 + number / 62_500, number / 250 % 250, number % 250 + 1);
        Request::merge(&format!("{}/status", self.pod(number)), json!({"status": running(&address, ready)}))
    }
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("service-{number}")},
        "spec": {
            "selector": {"app": format!("service-{number}")},
            "ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}],
        },
    })
}

/// As its agent, if it had one, would have annotated it.
fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{number}"), "labels": {"app": format!("service-{}", number % SERVICES)},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        },
        "spec": {
            // A hundred nodes that there are none of, so no kubelet makes it.
            "nodeName": format!("elsewhere-{}", number % 100), "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": images::APP}],
        },
    })
}
