//! What the requests are about: a service with routes, the service to whose endpoints one of them leads, and servers of WebSockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use weir_tests::http_mesh::{HttpMesh, HttpService, Port, VERSIONS};
use weir_tests::mesh::{NAMESPACE, principal, workload_entry};
use weir_tests::websocket::WebSocketServer;
use weir_tests::world::{N1, Pod};

/// How long a replaced agent may finish what is open.
pub(super) const DRAIN: Duration = Duration::from_secs(3);
/// The label of pods that are endpoints now.
pub(super) const SERVING: (&str, &str) = ("serving", "yes");
/// What is asked, and whose endpoints come and go.
const MIXED: &str = "mixed";
pub(super) const SPREAD: &str = "mixed-spread";
/// Where a server of WebSockets is in its pod.
const SOCKETS: Port = Port { name: "http", number: 80, target: 9105 };

/// A mesh with these services.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) mesh: &'a mut HttpMesh,
    /// Whom no policy allows anything, beside the client.
    pub(super) stranger: Pod,
    mixed: [IpAddr; 2],
    spread: [IpAddr; 2],
    /// Where servers of WebSockets are asked, and by which host: one beside the client, and one on the other node.
    pub(super) sockets: Vec<(SocketAddr, String)>,
    _socket_servers: Vec<WebSocketServer>,
}

impl<'a> Stage<'a> {
    /// Makes the services, and gives the agents successors with a short drain and a further flag, if there is one.
    pub(super) fn set_up(mesh: &'a mut HttpMesh, flag: Option<String>) -> Result<Self> {
        for version in VERSIONS {
            let labels = [("app", "web"), ("version", version), SERVING];
            std::mem::forget(mesh.relabel(version, &labels)?);
        }
        let lasting = |service: HttpService<'_>| {
            let vips = [service.vip(), service.vip6()];
            std::mem::forget(service);
            vips
        };
        let mixed = lasting(mesh.service_of(MIXED, SERVING)?);
        let spread = lasting(mesh.service_of(SPREAD, SERVING)?);
        let (mut sockets, mut socket_servers) = (Vec::new(), Vec::new());
        for version in ["v1", "v2"] {
            let server = WebSocketServer::start(&mesh.pod(version).place, mesh.world.run(), SOCKETS.target, None)?;
            socket_servers.push(server);
            let service = mesh.service_at_ports(&format!("mixed-socket-{version}"), version, &[SOCKETS])?;
            let (host, [vip, _]) = (service.host(), lasting(service));
            sockets.push((SocketAddr::new(vip, SOCKETS.number), host));
        }
        let stranger = mesh.world.nodes[N1].pod("stranger")?;
        mesh.control_plane.objects.put(stranger.name(), &workload_entry(&stranger))?;
        mesh.agents[N1].enroll(&stranger, NAMESPACE, stranger.name())?;
        for agent in &mut mesh.agents {
            // Connections between agents end soon after what they carried last.
            let idle = ["--pool-idle-seconds=5", "--inbound-idle-seconds=10"].map(str::to_owned);
            agent.add_flags(
                [format!("--drain-seconds={}", DRAIN.as_secs())].into_iter().chain(idle).chain(flag.clone()),
            );
            let (mut old, _) = agent.replace()?;
            old.finish(DRAIN * 4)?;
        }
        Ok(Self { mesh, stranger, mixed, spread, sockets, _socket_servers: socket_servers })
    }

    pub(super) fn mixed(&self) -> HttpService<'_> {
        self.mesh.made_before(MIXED, self.mixed)
    }

    pub(super) fn spread(&self) -> HttpService<'_> {
        self.mesh.made_before(SPREAD, self.spread)
    }

    /// The client, as policies name it.
    pub(super) fn client(&self) -> String {
        principal(&self.mesh.client).trim_start_matches("spiffe://").to_owned()
    }
}
