//! Plaintext connections that were opened before the mesh knew their other end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::test_app::{self, ECHO, Held};
use weir_tests::wait;
use weir_tests::world::{N1, N2, Pod};

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "late plaintext: connections older than what the mesh knows are counted, listed and ended on request",
        check: Check::OwnMesh(on_request),
    },
    Case { name: "late plaintext: they end after the time that a setting says", check: Check::Alone(after_a_time) },
];

/// How long the agents may take to learn of a pod, and to look.
const NOTICED: Duration = Duration::from_secs(20);

/// Opens a connection to a pod's echo and keeps it.
fn hold(from: &Pod, to: &Pod) -> Result<Held> {
    let held = Held::open(&from.place, to.ipv4())?;
    wait::until("a connection is open", NOTICED, || held.is_open())?;
    Ok(held)
}

fn ends(held: &Held) -> Result<()> {
    let end = wait::until("the connection ends", NOTICED, || held.end())?;
    ensure!(end.end == "ConnectionReset", "{end:?}");
    Ok(())
}

fn counts(agent: &Agent, expected: f64) -> Result<()> {
    wait::until("the agent counts them", NOTICED, || {
        let counted = agent.metrics()?.sum("weir_late_plaintext_connections", &[]);
        ensure!(counted == expected, "{counted}, not {expected}");
        Ok(())
    })
}

/// The outsider becomes a pod of the mesh.
fn joins(mesh: &Mesh) -> Result<()> {
    let outsider = &mesh.outsider;
    mesh.control_plane.objects.put(outsider.name(), &workload_entry(outsider))?;
    mesh.agents[N2].enroll(outsider, NAMESPACE, outsider.name())?;
    let received = Counter::received(mesh, &mesh.client, outsider)?;
    wait::until("connections to it go over HBONE", NOTICED, || {
        test_app::echoes(&mesh.client.place, outsider.ipv4(), ECHO)?;
        ensure!(received.grown()? > 0.0, "they are plaintext still");
        Ok(())
    })
}

fn on_request(mesh: &mut Mesh) -> Result<()> {
    let (outbound, inbound) = (hold(&mesh.client, &mesh.outsider)?, hold(&mesh.outsider, &mesh.far)?);
    // Over HBONE, and to nobody of the mesh: these stay.
    let over_hbone = hold(&mesh.client, &mesh.far)?;
    joins(mesh)?;
    counts(&mesh.agents[N1], 1.0)?;
    counts(&mesh.agents[N2], 1.0)?;
    let plaintext = |agent: usize, flags: &[&str]| -> Result<String> {
        let output = mesh.agents[agent].weir(&[&["plaintext"], flags].concat())?;
        ensure!(output.success, "{}", output.summary());
        Ok(output.stdout)
    };
    let to = SocketAddr::new(mesh.outsider.ipv4(), ECHO).to_string();
    for (agent, pod, direction, end) in
        [(N1, "client", "outbound", &*to), (N2, "far", "inbound", &*mesh.outsider.ipv4().to_string())]
    {
        let listed = plaintext(agent, &[])?;
        let pod = format!("{NAMESPACE}/{pod}");
        let is_it = |line: &str| line.starts_with(&pod) && line.contains(direction) && line.contains(end);
        ensure!(listed.lines().skip(1).count() == 1 && listed.lines().skip(1).all(is_it), "{listed}");
    }
    let status = mesh.agents[N1].weir(&["status"])?;
    ensure!(status.stdout.contains("shop/client has 1 plaintext connections"), "{}", status.stdout);
    let none = plaintext(N1, &["--end", "--pod", "shop/near"])?;
    ensure!(none.starts_with("0 "), "{none}");
    let one = plaintext(N1, &["--end", "--pod", "shop/client"])?;
    ensure!(one.starts_with("1 "), "{one}");
    ends(&outbound)?;
    let one = plaintext(N2, &["--end"])?;
    ensure!(one.starts_with("1 "), "{one}");
    ends(&inbound)?;
    counts(&mesh.agents[N1], 0.0)?;
    counts(&mesh.agents[N2], 0.0)?;
    over_hbone.is_open().context("a connection over HBONE ended, too")?;
    Ok(())
}

fn after_a_time() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--end-late-plaintext-after-seconds", "1"])?;
    let (outbound, inbound) = (hold(&mesh.client, &mesh.outsider)?, hold(&mesh.outsider, &mesh.far)?);
    let over_hbone = hold(&mesh.client, &mesh.far)?;
    joins(&mesh)?;
    ends(&outbound)?;
    ends(&inbound)?;
    over_hbone.is_open().context("a connection over HBONE ended, too")?;
    Ok(())
}
