//! What agents hold, counted from outside, as the kernel has it, and by the agents' own figures: what must be as before once what was
//! carried is gone.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::folder::files_below;
use weir_tests::wait;

use crate::harness::note;

/// What an agent holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holdings {
    /// By kind: everything that must be as before.
    counts: BTreeMap<String, u64>,
    pub(crate) resident_mib: f64,
}

impl Holdings {
    fn of(agent: &Agent) -> Result<Self> {
        let mut counts = BTreeMap::new();
        let process = format!("/proc/{}", agent.id()?);
        for entry in fs::read_dir(format!("{process}/fd"))? {
            // A descriptor that was closed meanwhile is none.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.display().to_string();
            let kind = target.split([':', '[']).next().filter(|kind| !kind.starts_with('/')).unwrap_or("file");
            let is_namespace = target.starts_with("/run/netns") || kind == "net";
            *counts.entry(format!("fds: {}", if is_namespace { "netns" } else { kind })).or_default() += 1;
        }
        counts.insert("threads".into(), fs::read_dir(format!("{process}/task"))?.count() as u64);
        counts.insert("pins".into(), files_below(&agent.folders().bpf)?);
        counts.insert("keys".into(), files_below(&agent.folders().run.join("certificates"))?);
        let metrics = agent.metrics()?;
        for sample in metrics.matching("weir_capture_map_entries", &[]) {
            counts.insert(format!("map: {}", sample.labels["map"]), sample.value as u64);
        }
        for (name, metric) in [
            ("pods", "workload_manager_active_proxy_count"),
            ("connections open", "istio_tcp_sockets_open"),
            ("HBONE connections", "weir_hbone_connections_open"),
            ("identities", "weir_certificate_expiry_seconds"),
        ] {
            let samples: Vec<f64> = metrics.matching(metric, &[]).map(|sample| sample.value).collect();
            let count = if name == "identities" { samples.len() as f64 } else { samples.iter().sum() };
            counts.insert(name.into(), count as u64);
        }
        let resident_mib = metrics.sum("process_resident_memory_bytes", &[]) / f64::from(1 << 20);
        Ok(Self { counts, resident_mib })
    }

    /// What there is more of than before.
    fn more_than(&self, before: &Self) -> Vec<String> {
        let more = self.counts.iter().filter(|(kind, count)| {
            // Worker threads come and go with what must not hold up others.
            let allowed =
                before.counts.get(*kind).copied().unwrap_or_default() + if *kind == "threads" { 8 } else { 0 };
            **count > allowed
        });
        more.map(|(kind, count)| format!("{kind}: {count}, before {:?}", before.counts.get(kind))).collect()
    }
}

/// What agents hold once nothing is under way; what is gone may linger for so long.
pub(crate) fn settled(agents: &[Agent], within: Duration) -> Result<Vec<Holdings>> {
    let settled = |agent| {
        wait::until("all connections are closed", within, || {
            let now = Holdings::of(agent)?;
            ensure!(now.counts["connections open"] == 0 && now.counts["map: flows"] == 0, "{now:?}");
            Ok(now)
        })
    };
    agents.iter().map(settled).collect()
}

/// Waits until agents hold no more than before, prints what they hold, and returns it. Their memory may have grown by so much.
pub(crate) fn as_before(
    agents: &[Agent],
    before: &[Holdings],
    memory_mib: f64,
    within: Duration,
) -> Result<Vec<Holdings>> {
    let mut now = Vec::new();
    for (agent, before) in agents.iter().zip(before) {
        let after = wait::until("nothing more is held than before", within, || {
            let now = Holdings::of(agent)?;
            let more = now.more_than(before);
            ensure!(more.is_empty(), "the agent of {} holds {more:#?}", agent.place().name());
            Ok(now)
        })?;
        let grown = after.resident_mib - before.resident_mib;
        let name = agent.place().name();
        let counts: Vec<String> = after.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        note(format!("{name}: {}", counts.join(", ")));
        note(format!("{name}: {:.1} MiB resident, {grown:+.1} MiB", after.resident_mib));
        ensure!(grown < memory_mib, "the agent of {name} has grown by {grown:.1} MiB");
        now.push(after);
    }
    Ok(now)
}
