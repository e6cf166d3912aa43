//! What agents counted, as cases ask it: how much a counter grew while something was done.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::mesh::{Mesh, principal};
use weir_tests::metrics::Metrics;
use weir_tests::wait;
use weir_tests::world::Pod;

pub(crate) const OPENED: &str = "istio_tcp_connections_opened_total";
pub(crate) const CLOSED: &str = "istio_tcp_connections_closed_total";
pub(crate) const FAILED: &str = "istio_tcp_connections_failed_total";
/// How long a counter may lag behind what it counts.
const LAG: Duration = Duration::from_secs(10);
/// For how long a counter is watched that must not grow: it may lag behind what it counts.
const WATCHED: Duration = Duration::from_millis(300);

/// A counter of one agent, and where it stood.
#[derive(Debug)]
pub(crate) struct Counter<'a> {
    agent: &'a Agent,
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    before: f64,
}

impl<'a> Counter<'a> {
    /// Notes where a counter stands, summed over the series that carry the labels.
    pub(crate) fn of(agent: &'a Agent, name: &'a str, labels: &[(&'a str, &str)]) -> Result<Self> {
        let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let mut counter = Self { agent, name, labels, before: 0.0 };
        counter.before = counter.now()?;
        Ok(counter)
    }

    /// Connections from one pod to another, as the destination's agent counts them.
    pub(crate) fn received(mesh: &'a Mesh, from: &Pod, to: &Pod) -> Result<Self> {
        let (source, destination) = (principal(from), principal(to));
        let labels =
            [("reporter", "destination"), ("source_principal", &*source), ("destination_principal", &*destination)];
        Self::of(mesh.agent_of(to), OPENED, &labels)
    }

    /// Connections that a pod opened, as its own agent counts them.
    pub(crate) fn sent(mesh: &'a Mesh, from: &Pod) -> Result<Self> {
        Self::of(mesh.agent_of(from), OPENED, &[("reporter", "source"), ("source_workload", from.name())])
    }

    fn now(&self) -> Result<f64> {
        Ok(self.value_in(&self.agent.metrics()?))
    }

    fn value_in(&self, metrics: &Metrics) -> f64 {
        let labels: Vec<(&str, &str)> = self.labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
        metrics.sum(self.name, &labels)
    }

    /// How much it has grown.
    pub(crate) fn grown(&self) -> Result<f64> {
        Ok(self.now()? - self.before)
    }

    /// Waits until it has grown by at least so much.
    pub(crate) fn grows_by(&self, wanted: f64) -> Result<()> {
        let what = format!("{} {:?} grows by {wanted}", self.name, self.labels);
        wait::until(&what, LAG, || {
            let grown = self.grown()?;
            ensure!(grown >= wanted, "it grew by {grown}");
            Ok(())
        })
    }

    /// Watches that it does not grow, though it may lag behind what it counts.
    pub(crate) fn stays(&self) -> Result<()> {
        grow_by_exactly(&[(self, 0.0)])
    }

    /// Waits until it has grown by so much, and watches that it grows by no more.
    pub(crate) fn grows_by_exactly(&self, wanted: f64) -> Result<()> {
        grow_by_exactly(&[(self, wanted)])
    }
}

/// Waits until each counter has grown by so much, and watches all of them at the same time: none grows by more.
pub(crate) fn grow_by_exactly(expected: &[(&Counter<'_>, f64)]) -> Result<()> {
    let look = |is_met: fn(f64, f64) -> bool| {
        for ((counter, wanted), grown) in expected.iter().zip(all_grown(expected)?) {
            ensure!(is_met(grown, *wanted), "{} {:?} grew by {grown}, not by {wanted}", counter.name, counter.labels);
        }
        Ok(())
    };
    wait::until("counters grow by what is expected", LAG, || look(|grown, wanted| grown >= wanted))?;
    wait::throughout("counters grow by no more", WATCHED, || look(|grown, wanted| grown == wanted))
}

/// How much each counter has grown, by one look at each agent.
fn all_grown(counters: &[(&Counter<'_>, f64)]) -> Result<Vec<f64>> {
    let mut looks: Vec<(&Agent, Metrics)> = Vec::new();
    let mut grown = Vec::new();
    for (counter, _) in counters {
        let at = match looks.iter().position(|(agent, _)| std::ptr::eq(*agent, counter.agent)) {
            Some(at) => at,
            None => {
                looks.push((counter.agent, counter.agent.metrics()?));
                looks.len() - 1
            }
        };
        grown.push(counter.value_in(&looks[at].1) - counter.before);
    }
    Ok(grown)
}
