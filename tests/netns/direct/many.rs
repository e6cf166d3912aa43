//! Many direct connections: load while pods leave the mesh and return, and a pod that has as many as one may have.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::load::{KEPT, Load};
use weir_tests::mesh::{Mesh, NAMESPACE, labelled_entry};
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, all_are_told, becomes_direct, count, mesh, verdicts};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: under load a pod leaves the mesh and returns, and no connection fails or breaks",
        check: Check::Alone(leave_under_load),
    },
    Case {
        name: "direct: at its limit of direct connections a pod goes on by the agent, and directly when some have ended",
        check: Check::Alone(at_the_limit),
    },
];

/// For how long the load goes on before and after a change.
const GOES_ON: Duration = Duration::from_secs(2);

/// First the pod that serves, of which the mesh says before and after whether it takes HBONE, as with a label of Kubernetes. Then the one that
/// connects.
fn leave_under_load() -> Result<()> {
    let mesh = mesh()?;
    let near = |hbone| labelled_entry(&mesh.near, &[("app", "near")], hbone);
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let direct = count(&mesh.agents[N1])?;
    let mut load = Load::start(&mesh.client.place, mesh.near.ipv4())?;
    is_direct(&mesh, direct + KEPT as f64)?;
    load.goes_on(GOES_ON)?;
    mesh.control_plane.objects.put("near", &near(false))?;
    goes_by_the_agent(&mesh)?;
    mesh.agents[N1].unenroll("near")?;
    load.goes_on(GOES_ON)?;
    mesh.agents[N1].enroll(&mesh.near, NAMESPACE, "near")?;
    mesh.control_plane.objects.put("near", &near(true))?;
    is_direct(&mesh, count(&mesh.agents[N1])?)?;
    load.goes_on(GOES_ON)?;
    mesh.agents[N1].unenroll("client")?;
    let direct = count(&mesh.agents[N1])?;
    load.goes_on(GOES_ON)?;
    ensure!(count(&mesh.agents[N1])? == direct, "a connection of a pod that has left was direct");
    mesh.agents[N1].enroll(&mesh.client, NAMESPACE, "client")?;
    is_direct(&mesh, direct)?;
    load.goes_on(GOES_ON)?;
    let seen = load.end()?;
    note(seen.summary());
    seen.nothing_failed().with_context(|| mesh.logs())
}

/// Waits until so many more connects are direct.
fn is_direct(mesh: &Mesh, than: f64) -> Result<()> {
    wait::until("connections are direct", SOON, || {
        let direct = count(&mesh.agents[N1])?;
        ensure!(direct > than, "{direct} were direct so far");
        Ok(())
    })
    .with_context(|| mesh.logs())
}

/// Waits until no connection of the load is direct any more.
fn goes_by_the_agent(mesh: &Mesh) -> Result<()> {
    let look =
        || -> Result<(f64, f64)> { Ok((count(&mesh.agents[N1])?, verdicts(&mesh.agents[N1], "connect_redirected")?)) };
    let mut last = look()?;
    wait::until("connections go by the agent", SOON, || {
        let before = std::mem::replace(&mut last, look()?);
        ensure!(last.0 == before.0 && last.1 > before.1, "{before:?} direct and redirected, then {last:?}");
        Ok(())
    })
    .with_context(|| mesh.logs())
}

/// As many as `docs/same-node.md` says.
const LIMIT: u32 = 16_384;
const MORE: u32 = 100;

fn at_the_limit() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    all_are_told(&mesh)?;
    let agent = &mesh.agents[N1];
    let before = (count(agent)?, verdicts(agent, "connect_redirected")?);
    let to = SocketAddr::new(mesh.near.ipv4(), ECHO).to_string();
    let connections = format!("--count={}", LIMIT + MORE);
    let arguments = ["many", &to, &connections, "--concurrent=64", "--hold", "--patience=90"];
    let made: Many = test_app::client(&mesh.client.place, Duration::from_secs(120), &arguments)?;
    ensure!(made.failed == 0 && made.ok == u64::from(LIMIT + MORE), "{made:?}");
    let (direct, redirected) = (count(agent)? - before.0, verdicts(agent, "connect_redirected")? - before.1);
    ensure!((direct, redirected) == (f64::from(LIMIT), f64::from(MORE)), "{direct} direct, {redirected} redirected");
    note(format!("{direct} were direct, {redirected} went by the agent, in {:.1} s", made.seconds));
    all_are_told(&mesh)?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO).map(drop)
}
