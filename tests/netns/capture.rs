//! What is captured, what is left alone, and that an application cannot tell.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::Mesh;
use weir_tests::program::listening_ports;
use weir_tests::test_app::{self, BANNER, ECHO, PORTS, Seen};

use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "capture: a connection is carried, and both its ends look untouched",
        check: Check::Mesh(looks_untouched),
    },
    Case { name: "capture: IPv4 over an IPv6 socket is captured alike", check: Check::Mesh(mapped_addresses) },
    Case { name: "capture: a bound source address stays", check: Check::Mesh(bound_source) },
    Case { name: "capture: loopback and a pod's own addresses are left alone", check: Check::Mesh(own_addresses) },
    Case { name: "capture: link-local destinations are left alone", check: Check::Mesh(link_local) },
    Case { name: "capture: what the mesh does not know passes through", check: Check::Mesh(passes_through) },
    Case { name: "capture: a pod that is not enrolled is left alone", check: Check::Mesh(not_enrolled) },
    Case { name: "capture: a port nobody listens on refuses", check: Check::Mesh(closed_port) },
    Case { name: "capture: dialling the agent's own listener leads nowhere", check: Check::Mesh(direct_dial) },
    Case { name: "capture: excluded blocks and ports are left alone", check: Check::Alone(exclusions) },
];

fn looks_untouched(mesh: &Mesh) -> Result<()> {
    for (from, to) in [(&mesh.client, &mesh.far), (&mesh.client, &mesh.near), (&mesh.far, &mesh.near)] {
        for (address, own) in to.addresses().into_iter().zip(from.addresses()) {
            let received = Counter::received(mesh, from, to)?;
            let seen = test_app::echoes(&from.place, address, ECHO)?;
            ensure!(
                seen.peer == SocketAddr::new(address, ECHO).to_string(),
                "getpeername is what was asked for: {seen:?}"
            );
            let local: SocketAddr = seen.local.parse()?;
            ensure!(local.ip() == own, "getsockname is the pod's own address: {seen:?}");
            received.grows_by(1.0)?;
        }
    }
    Ok(())
}

fn mapped_addresses(mesh: &Mesh) -> Result<()> {
    let received = Counter::received(mesh, &mesh.client, &mesh.far)?;
    let mapped: std::net::Ipv6Addr = match mesh.far.ipv4() {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
        std::net::IpAddr::V6(address) => address,
    };
    let seen = test_app::echoes(&mesh.client.place, mapped.into(), ECHO)?;
    ensure!(seen.peer == SocketAddr::new(mesh.far.ipv4(), ECHO).to_string(), "{seen:?}");
    received.grows_by(1.0)
}

fn bound_source(mesh: &Mesh) -> Result<()> {
    let received = Counter::received(mesh, &mesh.client, &mesh.far)?;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let source = SocketAddr::new(mesh.client.ipv4(), 45_678).to_string();
    let arguments = ["probe", &to, "--send", "bound", "--source", &source];
    let seen: Seen = test_app::client(&mesh.client.place, Duration::from_secs(30), &arguments)?;
    ensure!(seen.received == "bound" && seen.local == source, "{seen:?}");
    received.grows_by(1.0)
}

fn own_addresses(mesh: &Mesh) -> Result<()> {
    let _server = test_app::serve(&mesh.client.place)?;
    let all = Counter::of(mesh.agent_of(&mesh.client), OPENED, &[])?;
    let [v4, v6] = mesh.client.addresses();
    for address in ["127.0.0.1".parse()?, "127.9.9.9".parse()?, "::1".parse()?, v4, v6] {
        test_app::echoes(&mesh.client.place, address, ECHO)?;
    }
    all.stays().context("none of them goes through the agent")
}

fn link_local(mesh: &Mesh) -> Result<()> {
    // The node answers on this address of every pod's link, as node-local services do.
    let node = mesh.node_of(&mesh.client);
    let _server = test_app::serve(&node.place)?;
    let sent = Counter::sent(mesh, &mesh.client)?;
    test_app::echoes(&mesh.client.place, "169.254.1.1".parse()?, ECHO)?;
    sent.stays().context("none of them goes through the agent")
}

fn passes_through(mesh: &Mesh) -> Result<()> {
    for address in mesh.outsider.addresses() {
        let sent = Counter::sent(mesh, &mesh.client)?;
        let seen = test_app::echoes(&mesh.client.place, address, ECHO)?;
        ensure!(seen.peer == SocketAddr::new(address, ECHO).to_string(), "{seen:?}");
        sent.grows_by(1.0)?;
    }
    Ok(())
}

fn not_enrolled(mesh: &Mesh) -> Result<()> {
    let sent = Counter::of(mesh.agent_of(&mesh.outsider), OPENED, &[("reporter", "source")])?;
    for pod in [&mesh.near, &mesh.far] {
        for address in pod.addresses() {
            test_app::echoes(&mesh.outsider.place, address, ECHO)?;
        }
    }
    sent.stays().context("a pod that is not enrolled is not captured")
}

fn closed_port(mesh: &Mesh) -> Result<()> {
    for address in mesh.far.addresses() {
        let outside = test_app::probe(&mesh.outsider.place, address, 9, "x")?;
        ensure!(outside.connect == "ConnectionRefused", "from outside the mesh: {outside:?}");
        let inside = test_app::probe(&mesh.client.place, address, 9, "x")?;
        ensure!(inside.refused_by_answer(), "from inside the mesh: {inside:?}");
    }
    Ok(())
}

fn direct_dial(mesh: &Mesh) -> Result<()> {
    let ours = PORTS.into_iter().chain([weir_tests::nginx::PORT]);
    let ours: Vec<u16> = ours.collect();
    let listeners = listening_ports(mesh.servers.near.id())?.into_iter().filter(|port| !ours.contains(port));
    let listeners: Vec<u16> = listeners.collect();
    ensure!(!listeners.is_empty(), "the agent listens inside the pod");
    let opened = Counter::of(mesh.agent_of(&mesh.near), OPENED, &[])?;
    for port in listeners.iter().copied() {
        for address in ["127.0.0.1".parse()?, "::1".parse()?, mesh.near.ipv4()] {
            let seen = test_app::probe(&mesh.near.place, address, port, "GET / HTTP/1.1\r\n\r\n")?;
            // A TLS alert may come back; bytes of anybody else, or a connection that stays, may not.
            ensure!(!seen.received.contains("HTTP") && seen.end != "open", "{address} port {port}: {seen:?}");
        }
    }
    // An agent that connected back to where it was dialled would dial itself for ever.
    let grown = opened.grown()?;
    ensure!(grown <= 3.0 * listeners.len() as f64, "{grown} connections were opened");
    Ok(())
}

fn exclusions() -> Result<()> {
    let port = format!("--exclude-ports={BANNER}");
    // The outsider is the second pod of n2.
    let mesh = Mesh::start_with("t", &["--exclude-cidrs=10.77.2.11/32", &port])?;
    ensure!(mesh.outsider.ipv4().to_string() == "10.77.2.11", "the case knows the outsider's address");
    let sent = Counter::sent(&mesh, &mesh.client)?;
    test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO)?;
    let banner = test_app::probe(&mesh.client.place, mesh.far.ipv4(), BANNER, "x")?;
    ensure!(banner.received == "220 ready\r\nx", "{banner:?}");
    sent.stays().context("neither is captured")?;
    test_app::echoes(&mesh.client.place, mesh.outsider.ipv6(), ECHO)?;
    sent.grows_by(1.0)
}
