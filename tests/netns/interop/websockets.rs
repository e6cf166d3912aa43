//! WebSockets between Weir and Envoy, which moves their bytes inside of CONNECT; Weir does the same, or reads the requests first.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::envoy::bootstrap::Http2;
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::authorization_policy;
use weir_tests::wait;
use weir_tests::websocket::{UPGRADES, WebSocketClient, WebSocketServer};

use super::setup::{FromEnvoy, OWN_PORT, ToEnvoy};
use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "interop: to Envoy, WebSockets, as bytes and as requests that Weir reads",
        check: Check::Mesh(to_envoy),
    },
    Case {
        name: "interop: from Envoy, WebSockets, as bytes and as requests that policy decides about",
        check: Check::Mesh(from_envoy),
    },
];

/// A service whose endpoint is the workload that Envoy stands for, with a port that declares HTTP.
const HOST: &str = "socket.shop.svc.cluster.local";
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 30);
/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);

fn to_envoy(mesh: &Mesh) -> Result<()> {
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: socket, namespace: {NAMESPACE}}}\nspec:\n  clusterIP: {VIP}\n  selector: {{app: \
         envoy}}\n  ports: [{{name: http, port: 80, targetPort: {OWN_PORT}}}]\n"
    );
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let (way, agent) = (setup.way(), mesh.agent_of(&mesh.client));
        let server = WebSocketServer::start(way.server, mesh.world.run(), OWN_PORT, None)?;
        server.serves(&WebSocketClient::new(way.client, way.to(OWN_PORT), HOST))?;
        let _service = mesh.control_plane.objects.put_for_now("service-socket", &service)?;
        wait::until("the client's agent knows the service", DELIVERED, || {
            let dump = agent.config_dump()?.to_string();
            ensure!(dump.contains(&format!("\"{HOST}\"")), "{HOST} is not in its configuration");
            Ok(())
        })?;
        let labels = [("reporter", "source"), ("destination_service", HOST), ("response_code", "101")];
        let upgrades = Counter::of(agent, "istio_requests_total", &labels)?;
        server.serves(&WebSocketClient::new(way.client, SocketAddr::new(VIP.into(), 80), HOST))?;
        upgrades.grows_by_exactly(UPGRADES.into())
    })
}

fn from_envoy(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let way = setup.way();
    let server = WebSocketServer::start(way.server, mesh.world.run(), OWN_PORT, None)?;
    let client = WebSocketClient::new(way.client, way.to(OWN_PORT), HOST);
    server.serves(&client)?;
    let url = format!("http://{}/denied", way.to(OWN_PORT));
    let is_answered = |status: &str| {
        wait::until(&format!("the path is answered {status}"), DELIVERED, || {
            let curl = ["curl", "-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", &url];
            let said = way.client.run(&curl)?;
            ensure!(said == status, "{said}");
            Ok(())
        })
    };
    {
        let rules = "[{to: [{operation: {paths: [/denied]}}]}]";
        let policy = authorization_policy("no-path", NAMESPACE, "far", "DENY", rules);
        let _policy = mesh.control_plane.objects.put_for_now("no-path", &policy)?;
        is_answered("403")?;
        server.serves(&client.denied_at("/denied"))?;
    }
    // The server's own answer to what is no WebSocket.
    is_answered("426")
}
