//! Content that is long, slow or without end: all of it arrives, at once, and what is in between stays little.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpService, Port};
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::world::Pod;
use weir_tests::{http, peers, wait};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: each server-sent event is with the client before the next one is sent",
        check: Check::Http(events),
    },
    Case { name: "http: 1 GiB each way, bit by bit, and the agents stay small", check: Check::OwnHttp(bulk) },
    Case {
        name: "http: a side that does not read holds the other one, with little in between, and nobody else",
        check: Check::OwnHttp(stalled),
    },
];

/// Go's server speaks both versions on one port.
pub(super) const PORTS: [Port; 2] =
    [Port { name: "http", number: 80, target: 9111 }, Port { name: "http2", number: 81, target: 9111 }];
/// What an agent may grow by while content of any length passes.
const GROWTH_MIB: u64 = 32;
/// What the two agents together may hold of content whose reader stands still, and Go besides.
const HELD_BYTES: u64 = 1 << 20;
const GIB: &str = "1073741824";

/// Go's server in a version's pod, and its service.
pub(super) fn served<'a>(mesh: &'a HttpMesh, name: &str, pod: &'static str) -> Result<(HttpService<'a>, Program)> {
    let service = mesh.service_at_ports(name, pod, &PORTS)?;
    let command = [peers::go("web")?, "serve".to_owned(), PORTS[0].target.to_string()];
    let mut server = mesh.pod(pod).place.spawn(&command)?;
    server.listens_on(PORTS[0].target)?;
    Ok((service, server))
}

/// A command of Go's client for a port of a service: HTTP/1 for the one that declares it, HTTP/2 for the other.
pub(super) fn command(service: &HttpService<'_>, what: &str, port: &Port, more: &[&str]) -> Result<Vec<String>> {
    let (to, host) = (SocketAddr::new(service.vip(), port.number), format!("-host={}", service.host()));
    let version: &[&str] = if port.name == "http2" { &["-http2"] } else { &[] };
    let (program, to) = (peers::go("web")?, to.to_string());
    let own = [&[&*program, what, &host][..], version, more, &[&to]].concat();
    Ok(own.iter().map(|argument| (*argument).to_owned()).collect())
}

fn events(mesh: &HttpMesh) -> Result<()> {
    for pod in ["v1", "v2"] {
        let (service, _server) = served(mesh, &format!("events-{pod}"), pod)?;
        for port in &PORTS {
            mesh.client.place.run(&command(&service, "events", port, &["-count=200"])?).context(port.name)?;
        }
    }
    Ok(())
}

fn bulk(mesh: &mut HttpMesh) -> Result<()> {
    let (service, _server) = served(mesh, "bulk", "v2")?;
    for port in &PORTS {
        mesh.client.place.run(&command(&service, "bulk", port, &["-bytes=1000000"])?)?;
    }
    for port in &PORTS {
        let idle = resident(mesh)?;
        let within = Duration::from_secs(150);
        let asks = command(&service, "bulk", port, &[&format!("-bytes={GIB}"), "-patience=75s"])?;
        let mut client = mesh.client.place.spawn(&asks)?;
        let mut most = idle;
        wait::until("1 GiB has passed both ways", within, || {
            let now = resident(mesh)?;
            most = [most[0].max(now[0]), most[1].max(now[1])];
            ensure!(!client.is_running(), "it is under way");
            Ok(())
        })?;
        let output = client.finish(Duration::from_secs(1))?;
        ensure!(output.success, "{}: {}", port.name, output.summary());
        let grown = [0, 1].map(|agent| (most[agent] - idle[agent]) >> 20);
        note(format!("{}: {}; agents of client and server grew by {grown:?} MiB", port.name, output.stdout.trim()));
        ensure!(grown.iter().all(|mib| *mib <= GROWTH_MIB), "{}: the agents grew by {grown:?} MiB", port.name);
    }
    Ok(())
}

/// Bytes that the agents' workers hold.
fn resident(mesh: &HttpMesh) -> Result<[u64; 2]> {
    Ok([mesh.agents[0].resident_bytes()?, mesh.agents[1].resident_bytes()?])
}

pub(super) fn stalled(mesh: &mut HttpMesh) -> Result<()> {
    stalled_to(mesh, "v2")
}

/// The same for requests to the pod of one version.
pub(super) fn stalled_to(mesh: &HttpMesh, version: &'static str) -> Result<()> {
    for port in &PORTS {
        for is_upload in [false, true] {
            let way = if is_upload { "upload" } else { "download" };
            let name = format!("stalled-{}-{way}", port.name);
            let (service, _server) = served(mesh, &name, version)?;
            let more: &[&str] = if is_upload { &["-upload"] } else { &[] };
            let mut client = mesh.client.place.spawn(&command(&service, "stall", port, more)?)?;
            let (moved, queued) = wait::until("the sender stands still", Duration::from_secs(30), || {
                ensure!(client.is_running(), "it ended: {}", client.tail());
                ensure!(client.stdout().contains("others go on"), "others wait: {}", client.tail());
                let moved = || moved(mesh.pod(version), &client, is_upload);
                let before = moved()?;
                wait::throughout("the sender stands still", Duration::from_secs(1), || {
                    ensure!(moved()? == before, "it goes on");
                    Ok(())
                })?;
                let queued = queued(&mesh.client.place)? + queued(&mesh.pod(version).place)?;
                Ok((before, queued))
            })?;
            let held = moved.saturating_sub(queued);
            note(format!(
                "{way} over {}: the sender stands still after {moved} bytes; {queued} are in sockets, {held} elsewhere",
                port.name
            ));
            ensure!(moved > 0 && held <= HELD_BYTES, "{way} over {}: {held} bytes are held", port.name);
        }
    }
    Ok(())
}

/// How many bytes the sender has handed to its kernel, or to what its HTTP/2 buffers.
fn moved(server: &Pod, client: &Program, is_upload: bool) -> Result<u64> {
    if is_upload {
        return client.stdout().lines().last().unwrap_or_default().parse().context("no figure yet");
    }
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORTS[0].target);
    Ok(http::get(server.place.netns(), address, "/moved")?.body.trim().parse()?)
}

/// Bytes in the sockets of a pod: not sent or not acknowledged yet, and not read yet.
fn queued(place: &Place) -> Result<u64> {
    let sockets = place.run(&["ss", "-Htn", "state", "established"])?;
    let bytes = sockets.lines().flat_map(|line| line.split_whitespace().take(2).map(str::parse::<u64>));
    Ok(bytes.sum::<Result<u64, _>>()?)
}
