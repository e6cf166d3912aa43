//! A mesh whose agents let connections of one node be direct, and what the cases ask of it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::objects::authorization_policy;
use weir_tests::test_app::{self, ECHO, Held, Seen};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use crate::count::{CLOSED, OPENED};

/// How long something may take on however busy a machine.
pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) fn mesh() -> Result<Mesh> {
    Mesh::start_with("t", &["--same-node=direct"])
}

/// How often the kernel programs of a node have given a verdict.
pub(super) fn verdicts(agent: &Agent, verdict: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("weir_capture_verdicts_total", &[("verdict", verdict)]))
}

/// How many connects of the node's pods were direct.
pub(super) fn count(agent: &Agent) -> Result<f64> {
    verdicts(agent, "connect_direct")
}

/// Connects from the client until a connection is direct, and returns what the client saw of that one.
pub(super) fn becomes_direct(mesh: &Mesh, address: IpAddr, port: u16) -> Result<Seen> {
    becomes_direct_from(mesh, &mesh.client, address, port)
}

fn becomes_direct_from(mesh: &Mesh, source: &Pod, address: IpAddr, port: u16) -> Result<Seen> {
    wait::until(&format!("a connection to {address} port {port} is direct"), SOON, || {
        let before = count(&mesh.agents[N1])?;
        let seen = test_app::probe(&source.place, address, port, "hello")?;
        ensure!(count(&mesh.agents[N1])? > before, "it was not: {seen:?}");
        Ok(seen)
    })
    .with_context(|| mesh.logs())
}

/// Waits until every direct connection so far was counted.
pub(super) fn all_are_told(mesh: &Mesh) -> Result<()> {
    wait::until("as many have ended as were direct", SOON, || {
        let (direct, metrics) = (count(&mesh.agents[N1])?, mesh.agents[N1].metrics()?);
        let (source, destination) = (principal(&mesh.client), principal(&mesh.near));
        let labels = [("reporter", "source"), ("source_principal", &*source), ("destination_principal", &*destination)];
        let (opened, closed) = (metrics.sum(OPENED, &labels), metrics.sum(CLOSED, &labels));
        ensure!(opened == closed && opened > direct, "{direct} were direct, {opened} opened, {closed} closed");
        Ok(())
    })
}

/// A policy that denies a pod to reach `near`.
pub(super) fn denies(pod: &Pod) -> String {
    let id = principal(pod);
    let rules = format!("[{{from: [{{source: {{principals: [\"{}\"]}}}}]}}]", id.trim_start_matches("spiffe://"));
    authorization_policy("case", NAMESPACE, "near", "DENY", &rules)
}

/// Waits until the client is refused by `near`.
pub(super) fn is_refused(mesh: &Mesh) -> Result<()> {
    wait::until("the client is refused", SOON, || {
        let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "x")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })
}

/// A direct connection of the client that is kept.
pub(super) fn held(mesh: &Mesh, address: IpAddr) -> Result<Held> {
    held_by(mesh, &mesh.client, address)
}

/// The same of another pod of the node.
pub(super) fn held_by(mesh: &Mesh, source: &Pod, address: IpAddr) -> Result<Held> {
    becomes_direct_from(mesh, source, address, ECHO)?;
    let before = count(&mesh.agents[N1])?;
    let held = Held::open(&source.place, address)?;
    wait::until("the connection is open", SOON, || held.is_open())?;
    ensure!(count(&mesh.agents[N1])? > before, "it is not direct");
    Ok(held)
}

/// Waits until a kept connection has ended, and returns how.
pub(super) fn ends(mesh: &Mesh, held: &Held, within: Duration) -> Result<String> {
    let end = wait::until("the connection ends", within, || held.end()).with_context(|| mesh.logs())?;
    Ok(end.end)
}
