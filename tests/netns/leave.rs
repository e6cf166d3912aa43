//! Clients that leave before their connection has come to be: nothing goes on for them. And clients that only seem to have left.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::attack;
use weir_tests::mesh::Mesh;
use weir_tests::program::Program;
use weir_tests::test_app::{BANNER, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, N2, Pod};

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "leave: a client that closes while its upstream is dialled frees its descriptors at once",
        check: Check::OwnMesh(while_dialled),
    },
    Case {
        name: "leave: a client that closes while the application is dialled frees them on both nodes at once",
        check: Check::OwnMesh(while_application_is_dialled),
    },
    Case {
        name: "leave: a client that has sent something and resets while the application is dialled frees them too",
        check: Check::OwnMesh(reset_after_data),
    },
    Case {
        name: "leave: an HBONE connection that nobody waits for any more is given up",
        check: Check::OwnMesh(while_peer_authenticates),
    },
    Case { name: "leave: a client that has only ended its data is served", check: Check::OwnMesh(half_closed) },
];

/// Connections that each case opens and closes.
const CONNECTIONS: u32 = 100;
/// Descriptors that may come and go with HBONE connections meanwhile.
const SLACK: f64 = 12.0;
/// How soon they are free: much sooner than any time limit of the agent.
const AT_ONCE: Duration = Duration::from_secs(3);
/// A port of the outsider that drops what comes.
const BLACK_HOLE: u16 = 7099;
/// A port whose application never accepts.
const BUSY: u16 = 7098;

fn descriptors(agent: &Agent) -> Result<f64> {
    Ok(agent.metrics()?.sum("process_open_fds", &[]))
}

fn connect_and_close(from: &Pod, to: &Pod, port: u16, flags: &[&str]) -> Result<Program> {
    let client = attack::leave(&from.place, SocketAddr::new(to.ipv4(), port), CONNECTIONS, flags)?;
    wait::until("the client has left again and again", Duration::from_secs(10), || {
        ensure!(client.stdout().contains("done"), "{}", client.tail());
        Ok(())
    })?;
    Ok(client)
}

fn are_free(agent: &Agent, before: f64) -> Result<()> {
    wait::until("the descriptors are free", AT_ONCE, || {
        let now = descriptors(agent)?;
        ensure!(now <= before + SLACK, "{now} are open, there were {before} before {CONNECTIONS} connections");
        Ok(())
    })
}

fn while_dialled(mesh: &mut Mesh) -> Result<()> {
    attack::drop_packets_to(&mesh.outsider, BLACK_HOLE)?;
    let before = descriptors(&mesh.agents[N1])?;
    let _client = connect_and_close(&mesh.client, &mesh.outsider, BLACK_HOLE, &[])?;
    are_free(&mesh.agents[N1], before)
}

fn while_application_is_dialled(mesh: &mut Mesh) -> Result<()> {
    leave_while_application_is_dialled(mesh, &[])
}

fn reset_after_data(mesh: &mut Mesh) -> Result<()> {
    leave_while_application_is_dialled(mesh, &["--reset", "--send=request"])
}

fn leave_while_application_is_dialled(mesh: &Mesh, flags: &[&str]) -> Result<()> {
    // What the application's kernel does with a SYN when the queue of its listener is full: it drops it.
    attack::drop_packets_to(&mesh.far, BUSY)?;
    let before = [descriptors(&mesh.agents[N1])?, descriptors(&mesh.agents[N2])?];
    let _client = connect_and_close(&mesh.client, &mesh.far, BUSY, flags)?;
    are_free(&mesh.agents[N1], before[N1])?;
    are_free(&mesh.agents[N2], before[N2])
}

/// An HBONE peer that never answers, and tells what becomes of its first connection.
const SILENT_PEER: &str = "
import socket
listener = socket.create_server(('0.0.0.0', 15008))
connection, _ = listener.accept()
print('accepted', flush=True)
try:
    while connection.recv(65536): pass
except ConnectionError: pass
print('closed', flush=True)
listener.accept()
";

fn while_peer_authenticates(mesh: &mut Mesh) -> Result<()> {
    mesh.control_plane.objects.put("bank", &attack::bank(mesh))?;
    let mut peer = mesh.outsider.place.spawn(&["python3", "-c", SILENT_PEER])?;
    peer.listens_on(attack::HBONE)?;
    // Until the agent knows the peer, its clients reach the outsider in plaintext.
    wait::until("the peer is dialled", Duration::from_secs(20), || {
        connect_and_close(&mesh.client, &mesh.outsider, ECHO, &[])?;
        ensure!(peer.stdout().contains("accepted"), "{}", peer.tail());
        Ok(())
    })?;
    // The agent's own time limit for a handshake is ten seconds.
    wait::until("its connection is given up", AT_ONCE, || {
        ensure!(peer.stdout().contains("closed"), "{}", peer.tail());
        Ok(())
    })
}

/// Ends its own data before anything else, and tells what the server says.
const ONLY_READS: &str = "
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.shutdown(socket.SHUT_WR)
print('waits', flush=True)
print('read', s.recv(100).decode().strip(), flush=True)
";

fn half_closed(mesh: &mut Mesh) -> Result<()> {
    attack::drop_packets_to(&mesh.outsider, BANNER)?;
    let (address, port) = (mesh.outsider.ipv4().to_string(), BANNER.to_string());
    let client = mesh.client.place.spawn(&["python3", "-c", ONLY_READS, &address, &port])?;
    // Its upstream is dialled meanwhile: long enough for the agent to look several times whether it has left.
    wait::until("the client waits", Duration::from_secs(5), || {
        ensure!(client.stdout().contains("waits"), "{}", client.tail());
        Ok(())
    })?;
    wait::throughout("it waits on", Duration::from_secs(2), || {
        ensure!(!client.stdout().contains("read"), "{}", client.tail());
        Ok(())
    })?;
    attack::drop_no_packets_to(&mesh.outsider, BANNER)?;
    wait::until("the client has read what the server says", Duration::from_secs(10), || {
        ensure!(client.stdout().contains("read 220 ready"), "{}", client.tail());
        Ok(())
    })
}
