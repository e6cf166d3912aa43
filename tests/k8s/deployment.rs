//! Weir as it is deployed: its DaemonSet becomes ready, and pods that know nothing of it talk over mutual TLS.

use std::time::Instant;

use anyhow::{Result, ensure};
use weir_tests::cluster::Cluster;
use weir_tests::table::note;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] = &[
    Case { name: "mesh: the DaemonSet is ready on every node", check: Check::Mesh(ready_everywhere) },
    Case {
        name: "mesh: a labelled namespace talks over mutual TLS, with no pod restarted",
        check: Check::Mesh(labelled),
    },
];

fn ready_everywhere(cluster: &mut Cluster) -> Result<()> {
    for agent in mesh::agents(cluster)? {
        ensure!(agent.restarts == 0, "{} was restarted", agent.name);
    }
    Ok(())
}

fn labelled(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "labelled", &[])?;
    pair.namespace.label(&format!("{}={}", IN_MESH.0, IN_MESH.1))?;
    let start = Instant::now();
    pair.is_meshed()?;
    note(format!("seen {:.1} s after the label, by asking again and again", start.elapsed().as_secs_f64()));
    for name in ["server", "client"] {
        ensure!(pair.namespace.ready(name)?.restarts == 0, "{name} was restarted");
    }
    Ok(())
}
