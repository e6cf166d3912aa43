//! What a node's agent holds: counted from outside, as the kernel has it, and by its own figures.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::cluster::Cluster;
use weir_tests::cluster::node::Node;
use weir_tests::folder::files_below;
use weir_tests::wait;

use crate::{mesh, processes};

/// How long what is gone may linger before anything is counted.
const SETTLES: Duration = Duration::from_secs(60);

/// By how many sockets an agent may differ from itself a minute ago.
const PASSING: u64 = 4;

/// Connections between SYN and acceptance whose process was killed with its pod: they go by age, from a table of fixed size.
const CUT_OFF: u64 = 2;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Holdings {
    /// By kind: everything that must be as before.
    counts: BTreeMap<String, u64>,
    /// Of supervisor and worker together.
    pub(super) resident_mb: f64,
}

/// What every agent holds once nothing is under way.
pub(super) fn at_rest(cluster: &Cluster) -> Result<Vec<Holdings>> {
    let of = |node: &Node| {
        wait::until("all connections are closed, and pods that went are forgotten", SETTLES, || {
            let now = Holdings::of(cluster, node)?;
            ensure!(now.counts["connections open"] == 0 && now.counts["map: flows"] <= CUT_OFF, "{now:?}");
            ensure!(now.counts["pods of the churn"] <= 1, "{now:?}");
            Ok(now)
        })
    };
    cluster.nodes.iter().map(of).collect()
}

impl Holdings {
    pub(super) fn of(cluster: &Cluster, node: &Node) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for process in processes::all(node)? {
            for target in process.descriptors()? {
                let kind = target.split([':', '[']).next().filter(|kind| !kind.starts_with('/')).unwrap_or("file");
                let is_namespace = target.starts_with("/run/netns") || kind == "net";
                let kind = if is_namespace { "netns" } else { kind };
                *counts.entry(format!("fds: {kind}")).or_default() += 1;
            }
        }
        for folder in ["/sys/fs/bpf/weir", "/run/weir", "/var/lib/weir"] {
            counts.insert(format!("files: {folder}"), files_below(&node.room().path(folder))?);
        }
        let agent = mesh::agent_of(cluster, node.name())?;
        let pods = mesh::ask(cluster, &agent, "pods")?;
        counts.insert("pods of the churn".into(), pods.lines().filter(|line| line.contains(" churn/")).count() as u64);
        let metrics = mesh::metrics(cluster, &agent)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures that count something")]
        let whole = |value: f64| value as u64;
        for sample in metrics.matching("weir_capture_map_entries", &[]) {
            counts.insert(format!("map: {}", sample.labels["map"]), whole(sample.value));
        }
        for (name, metric) in [
            ("pods", "workload_manager_active_proxy_count"),
            ("connections open", "istio_tcp_sockets_open"),
            ("HBONE connections", "weir_hbone_connections_open"),
        ] {
            counts.insert(name.into(), whole(metrics.sum(metric, &[])));
        }
        let identities = metrics.matching("weir_certificate_expiry_seconds", &[]).count();
        counts.insert("identities".into(), identities as u64);
        Ok(Self { counts, resident_mb: processes::memory(node)?.1 })
    }

    /// What there is more of than before.
    pub(super) fn more_than(&self, before: &Self) -> Vec<String> {
        // Connections to the API server and between agents are opened and closed as they are needed.
        let passing = |kind: &str| match kind {
            "fds: socket" | "HBONE connections" => PASSING,
            "map: flows" => CUT_OFF,
            _ => 0,
        };
        let allowed = |kind: &str| before.counts.get(kind).copied().unwrap_or_default() + passing(kind);
        let more = self.counts.iter().filter(|(kind, count)| **count > allowed(kind));
        more.map(|(kind, count)| format!("{kind}: {count}, before {}", allowed(kind))).collect()
    }

    /// In a line.
    pub(super) fn line(&self) -> String {
        self.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    }
}
