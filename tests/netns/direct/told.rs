//! What is told of direct connections, and which addresses they have.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{Mesh, NEAR_VIPS, ip, principal};
use weir_tests::test_app::{self, Bulk, ECHO, PEER, Seen};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, all_are_told, becomes_direct, count, held, mesh, verdicts};
use crate::count::{CLOSED, Counter, OPENED};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: the second connection is, and is counted and logged by both ends",
        check: Check::Alone(told),
    },
    Case { name: "direct: what is open is listed, and its bytes are counted", check: Check::Alone(open_ones) },
    Case {
        name: "direct: every address of a pod and of its service, and what both ends see",
        check: Check::Alone(ways),
    },
    Case {
        name: "direct: a port at which plaintext is not captured is reached as any other",
        check: Check::Alone(excluded_port),
    },
];

fn told() -> Result<()> {
    let mesh = mesh()?;
    let agent = &mesh.agents[N1];
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    all_are_told(&mesh)?;
    let (source, destination) = (principal(&mesh.client), principal(&mesh.near));
    let mut counters = Vec::new();
    for reporter in ["source", "destination"] {
        let labels = [
            ("reporter", reporter),
            ("source_principal", &*source),
            ("destination_principal", &*destination),
            ("connection_security_policy", "mutual_tls"),
        ];
        for (name, by) in [
            (OPENED, 1.0),
            (CLOSED, 1.0),
            ("istio_tcp_sent_bytes_total", 1_234_567.0),
            ("istio_tcp_received_bytes_total", 1_234_567.0),
        ] {
            counters.push((Counter::of(agent, name, &labels)?, by));
        }
    }
    let (before, logged) = (count(agent)?, agent.log().len());
    let to = SocketAddr::new(mesh.near.ipv4(), ECHO).to_string();
    let echoed: Bulk = test_app::client(&mesh.client.place, Duration::from_secs(20), &["echo", &to, "1234567"])?;
    ensure!(echoed.exact, "{echoed:?}");
    ensure!(count(agent)? == before + 1.0, "it was not direct");
    for (counter, by) in counters {
        counter.grows_by_exactly(by).with_context(|| mesh.logs())?;
    }
    for direction in ["outbound", "inbound"] {
        let words = [
            "connection complete",
            &format!("direction=\"{direction}\""),
            &format!("src.identity={source}"),
            &format!("dst.identity={destination}"),
            "bytes_sent=1234567 bytes_recv=1234567",
        ];
        let line = agent.logs_line(logged, &words)?;
        ensure!(!line.contains("dst.hbone_addr") && !line.contains("error="), "{line}");
    }
    Ok(())
}

fn open_ones() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    all_are_told(&mesh)?;
    let (source, destination) = (principal(&mesh.client), principal(&mesh.near));
    let labels = [("source_principal", &*source), ("destination_principal", &*destination)];
    let agent = &mesh.agents[N1];
    let opened = Counter::of(agent, OPENED, &labels)?;
    let moved = Counter::of(agent, "istio_tcp_received_bytes_total", &labels)?;
    let closed = Counter::of(agent, CLOSED, &labels)?;
    let held = held(&mesh, mesh.near.ipv4())?;
    // `held` has made sure that one is direct, which is over by now.
    opened.grows_by(4.0)?;
    wait::until("the bytes of the open connection are counted", SOON, || {
        let (moved, closed) = (moved.grown()?, closed.grown()?);
        ensure!(closed == 2.0 && moved > 2.0 * 5.0, "{moved} bytes, {closed} closed");
        Ok(())
    })
    .with_context(|| mesh.logs())?;
    held.is_open()
}

fn ways() -> Result<()> {
    let mesh = mesh()?;
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
        v6 => v6,
    };
    let [v4, v6] = mesh.near.addresses();
    for (address, asked) in [(v4, v4), (v6, v6), (mapped(v4), v4)]
        .into_iter()
        .chain(NEAR_VIPS.map(|vip| (ip(vip), ip(vip))))
        .chain([(mapped(ip(NEAR_VIPS[0])), ip(NEAR_VIPS[0]))])
    {
        let seen = becomes_direct(&mesh, address, ECHO)?;
        ensure!(seen.received == "hello", "{address}: {seen:?}");
        ensure!(seen.peer == SocketAddr::new(asked, ECHO).to_string(), "getpeername is what was asked for: {seen:?}");
        let own = if asked.is_ipv4() { mesh.client.ipv4() } else { mesh.client.ipv6() };
        ensure!(seen.local.parse::<SocketAddr>()?.ip() == own, "getsockname is the pod's own: {seen:?}");
        let seen = becomes_direct(&mesh, address, PEER)?;
        let shown: serde_json::Value = serde_json::from_str(&seen.received).with_context(|| format!("{seen:?}"))?;
        for call in ["accept", "getpeername"] {
            ensure!(shown[call] == seen.local, "{address}: {call} shows {shown}, the client is {seen:?}");
        }
    }
    // What is bound keeps its address, and its port; the agent carries what the kernel would have to choose an address for.
    let to = SocketAddr::new(v4, ECHO).to_string();
    for source in [format!("{}:0", mesh.client.ipv4()), format!("{}:45671", mesh.client.ipv4()), "0.0.0.0:45672".into()]
    {
        let seen: Seen = test_app::client(
            &mesh.client.place,
            Duration::from_secs(20),
            &["probe", &to, "--send", "bound", "--source", &source],
        )?;
        ensure!(seen.received == "bound", "from {source}: {seen:?}");
        let (asked, got): (SocketAddr, SocketAddr) = (source.parse()?, seen.local.parse()?);
        ensure!(got.ip() == mesh.client.ipv4() && [0, got.port()].contains(&asked.port()), "from {source}: {seen:?}");
    }
    Ok(())
}

fn excluded_port() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--same-node=direct", &format!("--exclude-inbound-ports={ECHO}")])?;
    for address in mesh.near.addresses() {
        let seen = becomes_direct(&mesh, address, ECHO)?;
        ensure!(seen.received == "hello", "{address}: {seen:?}");
    }
    let cut = verdicts(&mesh.agents[N1], "direct_cut_off")?;
    ensure!(cut == 0.0, "{cut} were cut off");
    Ok(())
}
