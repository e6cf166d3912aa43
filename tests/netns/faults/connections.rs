//! What all cases of faults look at: connections that are held while the fault lasts, how failures are counted, and the
//! client's way to the other node afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::Mesh;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::count::{Counter, FAILED};

/// How soon connections must work once a fault is over.
const RECOVERY: Duration = Duration::from_secs(20);
/// A connection to an echo that is kept until it ends.
pub(super) fn hold(from: &Pod, to: &Pod) -> Result<Program> {
    let address = SocketAddr::new(to.ipv4(), ECHO).to_string();
    let held = from.place.spawn(&[binary("weir-test-app")?.display().to_string(), "hold".into(), address])?;
    wait::until("a connection is open and idle", Duration::from_secs(10), || {
        ensure!(held.stdout().contains("open"), "it says {}", held.tail());
        Ok(())
    })?;
    Ok(held)
}

/// A client's failed connections as its own agent counts them, by flag.
pub(super) fn failed<'a>(mesh: &'a Mesh, from: &Pod, flag: &str) -> Result<Counter<'a>> {
    let labels = [("reporter", "source"), ("source_workload", from.name()), ("response_flags", flag)];
    Counter::of(mesh.agent_of(from), FAILED, &labels)
}

/// Waits until the client reaches far again.
pub(super) fn recovers(mesh: &Mesh) -> Result<()> {
    wait::until("connections work again", RECOVERY, || {
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
    })
}
