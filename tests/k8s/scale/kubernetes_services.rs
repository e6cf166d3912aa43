//! A large cluster of Kubernetes' own Services: a thousand with three pods each, all of them on other nodes.

use std::time::Instant;

use anyhow::Result;
use weir_tests::cluster::Cluster;
use weir_tests::table::note;

use super::agent_cost::{known, memory_settles, under_events};
use super::foreign_pods::{ForeignPods, SERVICES, WORKLOADS};
use crate::harness::{Case, Check};
use crate::pair::{IN_MESH, Pair};

pub(crate) const LONG: &[Case] = &[Case {
    name: "scale: a thousand Services with three pods each, and ten pod events a second, in 2 minutes",
    check: Check::OwnMesh(thousand),
}];

fn thousand(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "crowd", &[IN_MESH])?;
    pair.is_meshed()?;
    let elsewhere = ForeignPods::create(cluster)?;
    elsewhere.fill()?;
    let start = Instant::now();
    known(cluster, SERVICES * WORKLOADS)?;
    note(format!("known to the agent {:.1} s after the last was made", start.elapsed().as_secs_f64()));
    for node in &cluster.nodes {
        memory_settles(node)?;
    }
    under_events(cluster, &elsewhere)?;
    pair.echoes()
}
