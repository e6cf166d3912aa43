//! The kernel's notes about which ports a pod listens on: one pod cannot fill them for others.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::attack;
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::N1;

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[Case {
    name: "listening: pods that open and close very many ports take no room from others",
    check: Check::OwnMesh(many_ports),
}];

fn many_ports(mesh: &mut Mesh) -> Result<()> {
    let agent = &mesh.agents[N1];
    for pod in [&mesh.client, &mesh.near] {
        let ended = attack::open_and_close_ports(&pod.place, &[])?.finish(Duration::from_secs(60))?;
        ensure!(ended.success, "{}", ended.summary());
    }
    // A pod that listens already when it is enrolled.
    let late = mesh.world.nodes[N1].pod("late")?;
    let _server = test_app::serve(&late.place)?;
    mesh.control_plane.objects.put("late", &workload_entry(&late))?;
    agent.enroll(&late, NAMESPACE, "late")?;
    test_app::echoes(&mesh.far.place, late.ipv4(), ECHO)?;
    let refused = Counter::of(agent, "weir_capture_verdicts_total", &[("verdict", "lookup_refused_closed_port")])?;
    let closed = test_app::probe(&mesh.outsider.place, late.ipv4(), 9, "x")?;
    ensure!(closed.connect == "ConnectionRefused", "a port nobody listens on: {closed:?}");
    refused.grows_by(1.0)?;

    wait::until("the entries of closed ports are gone", Duration::from_secs(20), || {
        let entries = agent.metrics()?.sum("weir_capture_map_entries", &[("map", "listening")]);
        ensure!(entries < 100.0, "{entries} are there");
        Ok(())
    })?;
    // And those pods' own ports are told apart again: one that is listened on, and one that is not.
    let _server = test_app::serve(&mesh.client.place)?;
    test_app::echoes(&mesh.far.place, mesh.client.ipv4(), ECHO)?;
    let refused = Counter::of(agent, "weir_capture_verdicts_total", &[("verdict", "lookup_refused_closed_port")])?;
    let closed = test_app::probe(&mesh.outsider.place, mesh.client.ipv4(), 9, "x")?;
    ensure!(closed.connect == "ConnectionRefused", "a port nobody listens on any more: {closed:?}");
    refused.grows_by(1.0)
}
