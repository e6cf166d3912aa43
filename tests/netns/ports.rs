//! The ports of a captured pod stay its own: while connections to it are open, after they have ended, and once it has left the
//! mesh.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::Mesh;
use weir_tests::test_app::ECHO;
use weir_tests::wait;
use weir_tests::world::{N2, Pod};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "ports: 200 inbound connections take no port of the pod, open or ended",
        check: Check::OwnMesh(connections_take_none),
    },
    Case { name: "ports: a server restarts while clients are connected", check: Check::OwnMesh(server_restarts) },
    Case { name: "ports: a pod that has left can bind its port 15008", check: Check::OwnMesh(hbone_port_is_free) },
];

const CONNECTIONS: usize = 200;
/// Ports that the agent may have in a pod: Istio reserves them there. Those that it listens on, and the one that its
/// connections to applications come from.
const LISTENERS: [u16; 3] = [15001, 15006, 15009];
const SOURCE: u16 = 15053;
/// The first port that Linux chooses for a client (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32768;

/// Tries to bind and listen on each port, without and with SO_REUSEADDR, and tells those that it cannot have.
const TAKEN: &str = "
import json, socket
def taken(reuse):
    ports = []
    for port in range(1, 65536):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            try:
                s.bind(('0.0.0.0', port))
                s.listen()
            except OSError:
                ports.append(port)
    return ports
print(json.dumps([taken(0), taken(1)]))
";

/// Ports that an application of a pod cannot bind: without and with SO_REUSEADDR.
fn taken(pod: &Pod) -> Result<[BTreeSet<u16>; 2]> {
    let output = pod.place.run_within(Duration::from_secs(60), &["python3", "-c", TAKEN])?;
    serde_json::from_str(&output).with_context(|| format!("it printed {output:?}"))
}

fn connections_take_none(mesh: &mut Mesh) -> Result<()> {
    // Both pods run the same servers; only one is captured.
    let (without, before) = (taken(&mesh.outsider)?, taken(&mesh.far)?);
    let more = |now: &[BTreeSet<u16>; 2], then: &[BTreeSet<u16>; 2]| -> [Vec<u16>; 2] {
        [0, 1].map(|which| now[which].difference(&then[which]).copied().collect())
    };
    let [_, mut reusing] = more(&before, &without);
    // Ephemeral ports are those of the pod's own clients, in TIME_WAIT.
    reusing.retain(|port| *port < FIRST_EPHEMERAL);
    ensure!(reusing == LISTENERS, "before, with SO_REUSEADDR: {reusing:?}");
    let check = |when: &str| -> Result<()> {
        let [plain, reusing] = more(&taken(&mesh.far)?, &before);
        note(format!("{when}: {} ports fewer, {} with SO_REUSEADDR", plain.len(), reusing.len()));
        ensure!(reusing.is_empty(), "{when}, with SO_REUSEADDR: {reusing:?}");
        ensure!(plain.iter().all(|port| *port == SOURCE), "{when}: {plain:?}");
        Ok(())
    };
    let app = binary("weir-test-app")?.display().to_string();
    let (to, count) = (SocketAddr::new(mesh.far.ipv4(), ECHO).to_string(), format!("--count={CONNECTIONS}"));
    let held = mesh.client.place.spawn(&[&app, "hold", &to, &count])?;
    wait::until("the connections are open", Duration::from_secs(20), || {
        ensure!(held.stdout().contains("open"), "{}", held.tail());
        Ok(())
    })?;
    check("during")?;
    drop(held);
    wait::until("they have ended", Duration::from_secs(20), || {
        let open = mesh.agents[N2].metrics()?.sum("istio_tcp_sockets_open", &[]);
        ensure!(open == 0.0, "{open} are open");
        Ok(())
    })?;
    check("after")
}

/// A server that is killed and started again at once, on the same port, with SO_REUSEADDR as servers have it.
fn server_restarts(mesh: &mut Mesh) -> Result<()> {
    const PORT: u16 = 7097;
    let app = binary("weir-test-app")?.display().to_string();
    let serve = [app.as_str(), "serve", &format!("echo:{PORT}")].map(str::to_owned);
    let mut server = mesh.far.place.spawn(&serve)?;
    server.listens_on(PORT)?;
    for from in [&mesh.client, &mesh.outsider] {
        let to = SocketAddr::new(mesh.far.ipv4(), PORT).to_string();
        let client = from.place.spawn(&[&app, "hold", &to])?;
        wait::until("a connection is open", Duration::from_secs(10), || {
            ensure!(client.stdout().contains("open"), "{}", client.tail());
            Ok(())
        })?;
        drop(server);
        server = mesh.far.place.spawn(&serve)?;
        server.listens_on(PORT).with_context(|| format!("with a connection from {}", from.name()))?;
    }
    Ok(())
}

fn hbone_port_is_free(mesh: &mut Mesh) -> Result<()> {
    const BIND: &str = "import socket; socket.socket().bind(('0.0.0.0', 15008))";
    mesh.carries_traffic()?;
    let agent = &mesh.agents[N2];
    let left = agent.weir(&["unenroll", mesh.far.name(), "--socket", &agent.socket()])?;
    ensure!(left.success, "{}", left.summary());
    wait::until("the pod can bind 15008", Duration::from_secs(3), || {
        let bound = mesh.far.place.run(&["python3", "-c", BIND]).map(drop);
        bound.with_context(|| mesh.far.place.run(&["ss", "-tan", "( sport = :15008 )"]).unwrap_or_default())
    })
}
