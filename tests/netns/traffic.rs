//! Real programs and protocols, unmodified: to pods and to services, on the same node and across, over IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{FAR_VIPS, Mesh, NEAR_VIPS, ip};
use weir_tests::test_app::{self, BANNER, Bulk, ECHO, PEER, RESET, SINK, WATCH};
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "traffic: HTTP by curl and nginx, every way there is", check: Check::Mesh(http) },
    Case { name: "traffic: a client that speaks first, every way there is", check: Check::Mesh(client_first) },
    Case { name: "traffic: a server that speaks first, every way there is", check: Check::Mesh(server_first) },
    Case { name: "traffic: a python server and its listing", check: Check::Mesh(python) },
    Case { name: "traffic: iperf3 both ways", check: Check::Mesh(iperf) },
    Case { name: "traffic: wrk without an error", check: Check::Mesh(wrk) },
    Case { name: "traffic: a service's port that does not exist is refused", check: Check::Mesh(no_such_service_port) },
    Case { name: "faithful: the server sees the client's own address and port", check: Check::Mesh(peer_address) },
    Case { name: "faithful: a half-closed connection carries the answer", check: Check::Mesh(half_close) },
    Case { name: "faithful: a server's reset reaches the client", check: Check::Mesh(server_resets) },
    Case { name: "faithful: a client's reset reaches the server", check: Check::Mesh(client_resets) },
    Case { name: "faithful: a clean end stays clean", check: Check::Mesh(clean_end) },
];

/// Every way from the client to an enrolled server: which pod, which address of it or of its service.
fn ways(mesh: &Mesh) -> Vec<(&Pod, IpAddr, bool)> {
    let mut ways = Vec::new();
    for (pod, vips) in [(&mesh.near, NEAR_VIPS), (&mesh.far, FAR_VIPS)] {
        ways.extend(pod.addresses().map(|address| (pod, address, false)));
        ways.extend(vips.map(|vip| (pod, ip(vip), true)));
    }
    ways
}

fn http(mesh: &Mesh) -> Result<()> {
    for (pod, address, is_service) in ways(mesh) {
        let received = Counter::received(mesh, &mesh.client, pod)?;
        let port = if is_service { 80 } else { weir_tests::nginx::PORT };
        let url = format!("http://{}/", SocketAddr::new(address, port));
        let page = mesh.client.place.run(&["curl", "-sS", "--max-time", "5", &url]).with_context(|| mesh.logs())?;
        ensure!(page == format!("hello from {}\n", pod.name()), "{url} answered {page:?}");
        received.grows_by(1.0).with_context(|| format!("{url} went around the mesh"))?;
    }
    Ok(())
}

fn client_first(mesh: &Mesh) -> Result<()> {
    for (pod, address, _) in ways(mesh) {
        let received = Counter::received(mesh, &mesh.client, pod)?;
        test_app::echoes(&mesh.client.place, address, ECHO)?;
        received.grows_by(1.0)?;
    }
    Ok(())
}

fn server_first(mesh: &Mesh) -> Result<()> {
    for (_, address, _) in ways(mesh) {
        let seen = test_app::probe(&mesh.client.place, address, BANNER, "")?;
        ensure!(seen.received == "220 ready\r\n" && seen.end == "open", "{address}: {seen:?}");
        ensure!(seen.ms < 2000, "the banner waits for nobody: {seen:?}");
    }
    Ok(())
}

fn python(mesh: &Mesh) -> Result<()> {
    let mut python =
        mesh.far.place.spawn(&["python3", "-m", "http.server", "8000", "--bind", "::", "--directory", "/usr"])?;
    python.listens_on(8000)?;
    for address in mesh.far.addresses() {
        let url = format!("http://{}/", SocketAddr::new(address, 8000));
        let listing = mesh.client.place.run(&["curl", "-sS", "--max-time", "5", &url])?;
        ensure!(listing.contains("Directory listing"), "{url} answered {listing:?}");
    }
    Ok(())
}

fn iperf(mesh: &Mesh) -> Result<()> {
    for pod in [&mesh.near, &mesh.far] {
        let mut server = pod.place.spawn(&["iperf3", "--server"])?;
        server.listens_on(5201)?;
        for reverse in [false, true] {
            let address = pod.ipv4().to_string();
            let mut command = vec!["iperf3", "--client", &address, "--bytes", "200M", "--json"];
            command.extend(reverse.then_some("--reverse"));
            let text = mesh.client.place.run(&command)?;
            let report: serde_json::Value = serde_json::from_str(&text)?;
            let end = &report["end"]["sum_received"];
            let (bytes, rate) = (end["bytes"].as_f64().unwrap_or(0.0), end["bits_per_second"].as_f64().unwrap_or(0.0));
            // The receiver ceases to count when the sender says on another connection that it is done: what is in buffers
            // on the way then is not in its figure. That all of it arrives, `bulk` checks.
            ensure!(bytes >= 150e6, "iperf3 says {text}");
            let direction = if reverse { "from" } else { "to" };
            note(format!("iperf3 {direction} {}: {:.2} Gbit/s", pod.name(), rate / 1e9));
        }
    }
    Ok(())
}

fn wrk(mesh: &Mesh) -> Result<()> {
    for (pod, vip) in [("near", NEAR_VIPS[0]), ("far", FAR_VIPS[0])] {
        let said = mesh.client.place.run(&["wrk", "-t1", "-c32", "-d2s", &format!("http://{vip}/")])?;
        ensure!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "wrk says {said}");
        let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")).map(str::trim);
        let rate: f64 = rate.with_context(|| format!("wrk says {said}"))?.parse()?;
        ensure!(rate > 0.0, "wrk made no request: {said}");
        note(format!("wrk to the service of {pod}, 32 connections: {rate} requests/s"));
    }
    Ok(())
}

fn no_such_service_port(mesh: &Mesh) -> Result<()> {
    for vip in FAR_VIPS {
        let seen = test_app::probe(&mesh.client.place, ip(vip), 81, "x")?;
        ensure!(seen.refused_by_answer(), "{vip} port 81: {seen:?}");
    }
    Ok(())
}

fn peer_address(mesh: &Mesh) -> Result<()> {
    for (_, address, _) in ways(mesh) {
        let seen = test_app::probe(&mesh.client.place, address, PEER, "")?;
        let shown: serde_json::Value = serde_json::from_str(&seen.received).with_context(|| format!("{seen:?}"))?;
        for call in ["accept", "getpeername"] {
            ensure!(shown[call] == seen.local, "{address}: {call} shows {shown}, the client is {seen:?}");
        }
    }
    for address in mesh.far.addresses() {
        let seen = test_app::probe(&mesh.outsider.place, address, PEER, "")?;
        let shown: serde_json::Value = serde_json::from_str(&seen.received).with_context(|| format!("{seen:?}"))?;
        for call in ["accept", "getpeername"] {
            ensure!(shown[call] == seen.local, "from outside the mesh, {call} shows {shown}, the client is {seen:?}");
        }
    }
    Ok(())
}

fn half_close(mesh: &Mesh) -> Result<()> {
    for (_, address, _) in ways(mesh) {
        let to = SocketAddr::new(address, SINK).to_string();
        let sent: Bulk = test_app::client(&mesh.client.place, Duration::from_secs(20), &["upload", &to, "1000003"])?;
        ensure!(sent.bytes == 1_000_003 && sent.exact, "{to}: {sent:?}");
    }
    Ok(())
}

fn server_resets(mesh: &Mesh) -> Result<()> {
    for (_, address, _) in ways(mesh) {
        let seen = test_app::probe(&mesh.client.place, address, RESET, "x")?;
        ensure!(seen.end == "ConnectionReset", "{address}: {seen:?}");
    }
    Ok(())
}

fn client_resets(mesh: &Mesh) -> Result<()> {
    for (pod, server) in [(&mesh.near, &mesh.servers.near), (&mesh.far, &mesh.servers.far)] {
        let before = server.stdout().matches("ConnectionReset").count();
        let to = SocketAddr::new(pod.ipv4(), WATCH).to_string();
        let _: serde_json::Value = test_app::client(&mesh.client.place, Duration::from_secs(10), &["abort", &to])?;
        wait::until("the server sees a reset", Duration::from_secs(5), || {
            let now = server.stdout();
            ensure!(now.matches("ConnectionReset").count() > before, "it saw {:?}", now.lines().last());
            Ok(())
        })?;
    }
    Ok(())
}

fn clean_end(mesh: &Mesh) -> Result<()> {
    for (pod, server) in [(&mesh.near, &mesh.servers.near), (&mesh.far, &mesh.servers.far)] {
        let before = server.stdout().matches("eof").count();
        let to = SocketAddr::new(pod.ipv4(), WATCH).to_string();
        let echoed: Bulk = test_app::client(&mesh.client.place, Duration::from_secs(10), &["echo", &to, "100000"])?;
        ensure!(echoed.exact && echoed.bytes == 100_000, "{echoed:?}");
        wait::until("the server sees a clean end", Duration::from_secs(5), || {
            let now = server.stdout();
            ensure!(now.matches("eof").count() > before, "it saw {:?}", now.lines().last());
            Ok(())
        })?;
    }
    Ok(())
}
