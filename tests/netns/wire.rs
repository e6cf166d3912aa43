//! What can be seen from outside: the wire between the nodes, and the rules of nodes and pods.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use weir_tests::control_plane;
use weir_tests::mesh::Mesh;
use weir_tests::test_app::{self, ECHO};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "wire: between nodes there is only TLS on 15008", check: Check::Mesh(only_tls) },
    Case { name: "wire: no packet filter rule, routing rule, route or qdisc is added", check: Check::Mesh(no_rules) },
];

const HBONE: u16 = 15008;

fn only_tls(mesh: &Mesh) -> Result<()> {
    let node = mesh.node_of(&mesh.far);
    let capture = mesh.world.capture(node)?;
    for address in mesh.far.addresses() {
        test_app::echoes(&mesh.client.place, address, ECHO)?;
        let url = format!("http://{}/", SocketAddr::new(address, weir_tests::nginx::PORT));
        mesh.client.place.run(&["curl", "-sS", "--max-time", "5", &url])?;
    }
    test_app::echoes(&mesh.far.place, mesh.near.ipv4(), ECHO)?;
    let wire = capture.stop()?;
    let in_the_clear: Vec<String> = wire
        .outside_ports(&[HBONE, control_plane::PORT])
        .map(|stream| format!("{} to {}: {} bytes", stream.source, stream.destination, stream.bytes.len()))
        .collect();
    ensure!(in_the_clear.is_empty(), "not to {HBONE} or the control plane: {in_the_clear:?}");
    for text in ["hello from", "HTTP/1.1", "GET /"] {
        ensure!(wire.streams_with(text) == 0, "{text:?} is on the wire");
    }
    let records = wire.tls_records_to(HBONE)?;
    ensure!(records > 0, "nothing went to {HBONE}: {wire:?}");
    note(format!("{} packets, {records} TLS records to {HBONE}, nothing in the clear", wire.packets));
    Ok(())
}

fn no_rules(mesh: &Mesh) -> Result<()> {
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
    let (mut lines, now) = (0, mesh.rules()?);
    ensure!(mesh.rules_before.len() == now.len(), "{} listings before, {} now", mesh.rules_before.len(), now.len());
    for (before, during) in mesh.rules_before.iter().zip(now) {
        let difference = before.difference(&during);
        ensure!(difference.is_empty(), "with the mesh up:\n{difference}");
        lines += during.lines();
    }
    ensure!(lines > 0, "no rule and no route was listed");
    note(format!("{lines} lines of rules and routes in 2 nodes and 3 pods, all as before the mesh"));
    Ok(())
}
