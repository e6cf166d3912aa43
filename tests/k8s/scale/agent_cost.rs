//! What a large mesh costs a node: the memory that its agent holds, and the processor time that changes take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::node::Node;
use weir_tests::cluster::{CLIENT_NODE, Cluster};
use weir_tests::table::note;
use weir_tests::wait;

use super::foreign_pods::{EVENTS, ForeignPods};
use crate::{mesh, processes};

/// What all processes of an agent's pod may hold, proportionally, in MB.
const MEMORY: f64 = 28.0;
/// For how long agents are watched while nothing happens.
const QUIET: Duration = Duration::from_secs(5);
/// Of one processor, in milliseconds a second, that each node's agent may spend on that many events.
const PROCESSOR: f64 = 50.0;

/// Waits until the first node's agent knows so many workloads.
pub(super) fn known(cluster: &Cluster, wanted: usize) -> Result<()> {
    let agent = mesh::agent_of(cluster, CLIENT_NODE)?;
    cluster.kubectl.until("the agent knows all workloads", Duration::from_secs(180), |_| {
        let status = mesh::ask(cluster, &agent, "status")?;
        let words: Vec<&str> = status.split_whitespace().collect();
        let at = words.iter().position(|word| word.starts_with("workloads")).context("it tells of workloads")?;
        let known: usize = words[at.saturating_sub(1)].parse()?;
        ensure!(known >= wanted, "{known} of {wanted}");
        Ok(())
    })
}

/// Waits until a node's agent holds no more than it may: what taking in a mesh needed for a moment has gone by then.
pub(super) fn memory_settles(node: &Node) -> Result<()> {
    let (proportional, resident) = wait::until("memory has settled", Duration::from_secs(40), || {
        let (proportional, resident) = processes::memory(node)?;
        ensure!(proportional <= MEMORY, "{proportional:.1} MB proportional, {resident:.1} MB resident");
        Ok((proportional, resident))
    })?;
    note(format!("{}: {proportional:.1} MB proportional, {resident:.1} MB resident", node.name()));
    Ok(())
}

/// What agents spend on pods that come and go on nodes that are not theirs.
pub(super) fn under_events(cluster: &Cluster, elsewhere: &ForeignPods<'_>) -> Result<()> {
    let quiet = spent(cluster, || wait::throughout("nothing happens", QUIET, || Ok(())))?;
    let events = spent(cluster, || elsewhere.stir())?;
    for ((node, quiet), events) in cluster.nodes.iter().zip(&quiet).zip(&events) {
        let name = node.name();
        note(format!(
            "{name}: {events:.1} ms of a processor a second at {EVENTS} pod events a second, {quiet:.1} without"
        ));
    }
    let most = events.iter().copied().fold(0.0, f64::max);
    ensure!(most <= PROCESSOR, "an agent took {most:.1} ms of a processor a second, more than {PROCESSOR}");
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
