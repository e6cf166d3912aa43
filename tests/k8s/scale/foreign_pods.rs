//! A thousand Services with three pods each on nodes that there are none of: objects in the real API, which every agent is
//! told of, and nothing that runs.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::cluster::api::{Pace, Request};
use weir_tests::cluster::pods::{Namespace, running};
use weir_tests::cluster::{Cluster, images};
use weir_tests::table::note;

use crate::pair::IN_MESH;

pub(super) const SERVICES: usize = 1000;
/// Pods, or other workloads, of each service.
pub(super) const WORKLOADS: usize = 3;
/// Events a second, and for how many seconds.
pub(super) const EVENTS: u32 = 10;
const SECONDS: usize = 15;

/// A namespace of the mesh, whose pods are on nodes that there are none of.
#[derive(Debug)]
pub(super) struct ForeignPods<'a> {
    cluster: &'a Cluster,
    namespace: Namespace<'a>,
}

impl<'a> ForeignPods<'a> {
    pub(super) fn create(cluster: &'a Cluster) -> Result<Self> {
        Ok(Self { cluster, namespace: Namespace::create(&cluster.kubectl, "elsewhere", &[IN_MESH])? })
    }

    /// Makes all Services and their pods.
    pub(super) fn fill(&self) -> Result<()> {
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
    pub(super) fn stir(&self) -> Result<()> {
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
