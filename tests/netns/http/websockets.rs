//! WebSockets by every way that requests take between pods: between nodes and on one, as their client's agent reads them or as bytes, with
//! and without policies about requests, and in plaintext. Others are among the cases of TLS and of Envoy.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpService, Port};
use weir_tests::wait;
use weir_tests::websocket::{WebSocketClient, WebSocketServer};
use weir_tests::world::N1;

use super::carriage::{LEARNED_WITHIN, streams_meanwhile};
use super::inbound::decided_about;
use super::same_node::{is_linked, stays_within};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: WebSockets carry messages, pings and codes of closing", check: Check::Http(carried) },
    Case {
        name: "http policy: WebSockets pass what decides about requests by every way, or get 403 before they are upgraded",
        check: Check::Http(decided),
    },
    Case {
        name: "http carriage: WebSockets pass inside of CONNECT on one node and across, where no request is a stream",
        check: Check::Alone(inside_of_connect),
    },
];

/// Where the server is in its pod.
const SERVER: u16 = 9104;
const PORTS: [Port; 2] = [
    Port { name: "http", number: 80, target: SERVER },
    // Declares nothing: the client's agent moves bytes.
    Port { name: "plain", number: 82, target: SERVER },
];
/// What [`decided_about`] denies.
const DENIED: &str = "/never";

/// A server in a pod, and the service by which it is asked.
struct Served<'a> {
    pod: &'static str,
    server: WebSocketServer,
    service: HttpService<'a>,
}

/// One beside the client, and one on the other node.
fn servers<'a>(mesh: &'a HttpMesh, name: &str) -> Result<[Served<'a>; 2]> {
    let start = |pod: &'static str| -> Result<Served<'a>> {
        let service = mesh.service_at_ports(&format!("{name}-{pod}"), pod, &PORTS)?;
        let server = WebSocketServer::start(&mesh.pod(pod).place, mesh.world.run(), SERVER, None)?;
        Ok(Served { pod, server, service })
    };
    Ok([start("v1")?, start("v2")?])
}

fn carried(mesh: &HttpMesh) -> Result<()> {
    for Served { pod, server, service } in servers(mesh, "socket")? {
        let vip = if pod == "v1" { service.vip() } else { service.vip6() };
        let (to, host) = (SocketAddr::new(vip, 80), service.host());
        let client = WebSocketClient::new(&mesh.client.place, to, &host).with_largest(5_000_003);
        server.serves(&client).with_context(|| format!("{pod} by {to}"))?;
    }
    Ok(())
}

fn decided(mesh: &HttpMesh) -> Result<()> {
    let stranger = mesh.world.nodes[N1].pod("socket-stranger")?;
    is_linked(mesh)?;
    for Served { pod, server, service } in servers(mesh, "decided")? {
        let _none = decided_about(mesh, pod)?;
        let (is_near, host, own) = (pod == "v1", service.host(), mesh.pod(pod));
        let asks = |from, address: IpAddr, port| {
            let client = WebSocketClient::new(from, SocketAddr::new(address, port), &host).denied_at(DENIED);
            server.serves(&client).with_context(|| format!("{pod} by {address}, port {port}"))
        };
        let [v4, v6] = [service.vip(), service.vip6()];
        let (vip, other, own) = if is_near { (v6, v4, own.ipv4()) } else { (v4, v6, own.ipv6()) };
        let read = || asks(&mesh.client.place, vip, PORTS[0].number);
        if is_near {
            stays_within(mesh, read)?;
        } else {
            are_streams(mesh, &service)?;
            let streams = streams_meanwhile(mesh, read)?;
            ensure!(streams == 0.0, "{streams} of them were streams: an upgrade is between two connections");
        }
        asks(&mesh.client.place, other, PORTS[1].number).context("as bytes to the client's agent")?;
        asks(&stranger.place, own, SERVER).context("in plaintext")?;
    }
    Ok(())
}

/// Waits until requests to the far server travel as streams, whichever worker of the client's agent has them. The server answers each
/// that it wants another protocol.
fn are_streams(mesh: &HttpMesh, service: &HttpService<'_>) -> Result<()> {
    wait::until("requests travel as streams", LEARNED_WITHIN, || {
        let requests = || service.load(80, &["--requests=40", "--connections=8"]).map(drop);
        let streams = streams_meanwhile(mesh, requests)?;
        ensure!(streams >= 40.0, "{streams} of 40 do");
        Ok(())
    })
}

fn inside_of_connect() -> Result<()> {
    let mesh = HttpMesh::start_with("t", &["--same-node=hbone", "--native-request-streams=false"])?;
    let check = || -> Result<()> {
        for Served { pod, server, service } in servers(&mesh, "connect")? {
            let _none = decided_about(&mesh, pod)?;
            let (to, host) = (SocketAddr::new(service.vip(), 80), service.host());
            let client = WebSocketClient::new(&mesh.client.place, to, &host).denied_at(DENIED);
            server.serves(&client).with_context(|| format!("{pod} by {to}"))?;
        }
        Ok(())
    };
    check().with_context(|| mesh.logs())
}
