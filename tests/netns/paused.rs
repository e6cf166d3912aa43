//! Readers that stand still: they cost themselves, and nobody else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::agent::Agent;
use weir_tests::attack;
use weir_tests::mesh::Mesh;
use weir_tests::test_app::{self, ECHO, SOURCE};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "paused: clients that do not read what they asked for stop nobody between the same two pods",
        check: Check::Alone(downloads),
    },
    Case {
        name: "paused: a server that does not read what it is sent stops nobody between the same two pods",
        check: Check::Alone(uploads),
    },
    Case {
        name: "paused: what was sent whole reaches a client that reads late, though the server's agent is killed meanwhile",
        check: Check::OwnMesh(late_reader),
    },
];

/// Paused connections between the two pods: more than enough to fill the window of the HBONE connection that carries them.
const PAUSED: usize = 40;
/// What an agent may hold for slow readers of one pod in these cases, beyond the first window of each stream.
const HELD_MIB: u64 = 32;
/// What else an agent may grow by: the first windows, buffers that grow by doubling, and what forty connections cost.
const OTHER_GROWTH_MIB: u64 = 48;
/// The port of a server that accepts and reads nothing.
const DEAF: u16 = 9001;

/// One worker, so that all connections between two pods share one HBONE connection.
fn mesh() -> Result<Mesh> {
    Mesh::start_with("t", &["--worker-threads=1", &format!("--max-held-kib-per-pod={}", HELD_MIB * 1024)])
}

fn downloads() -> Result<()> {
    let mesh = mesh()?;
    others_go_on(&mesh, SOURCE, &[], &mesh.agents[N1])
}

fn uploads() -> Result<()> {
    let mesh = mesh()?;
    let _server = attack::deaf(&mesh.far.place, DEAF)?;
    others_go_on(&mesh, DEAF, &["--upload"], &mesh.agents[N2])
}

/// Opens paused connections to a port of the far pod, and then another connection to its echo. `agent`: the one on the side
/// of the reader that stands still.
fn others_go_on(mesh: &Mesh, port: u16, flags: &[&str], agent: &Agent) -> Result<()> {
    let before = agent.resident_bytes()?;
    let to = SocketAddr::new(mesh.far.ipv4(), port);
    let mut paused = attack::paused(&mesh.client.place, to, PAUSED, flags)?;
    let moved = attack::stand_still(mesh, &mut paused, 0.0)?;
    let start = Instant::now();
    let seen = test_app::probe(&mesh.client.place, mesh.far.ipv4(), ECHO, "abc")?;
    let grown = agent.resident_bytes()?.saturating_sub(before) >> 20;
    note(format!(
        "{PAUSED} paused after {} MB; 3 bytes more there and back in {} ms; the reader's agent grew by {grown} MiB",
        moved / 1_000_000,
        start.elapsed().as_millis()
    ));
    ensure!(seen.received == "abc", "another connection carried {:?}: {seen:?}", seen.received);
    ensure!(grown < HELD_MIB + OTHER_GROWTH_MIB, "the agent grew by {grown} MiB");
    let reached = agent.metrics()?.sum("weir_limit_reached_total", &[("limit", "held_kib")]);
    ensure!(reached > 0.0, "the limit of what is held for slow readers was not reached");
    Ok(())
}

/// More than the kernel's buffers between an agent and a client that does not read, and less than what the agent holds
/// besides.
const LATE_BYTES: u32 = 5_000_000;

/// The server's side is over and all that it sent is with the client's agent, as the agent of the server dies.
fn late_reader(mesh: &mut Mesh) -> Result<()> {
    let script = format!(
        "import socket,signal\n\
        signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGUSR1])\n\
        s=socket.create_connection(('{}',{SOURCE}))\n\
        s.sendall(b'{LATE_BYTES}\\n')\n\
        s.shutdown(socket.SHUT_WR)\n\
        print('asked',flush=True)\n\
        signal.sigwait([signal.SIGUSR1])\n\
        n,end=0,'no reset'\n\
        try:\n while d:=s.recv(65536): n+=len(d)\n\
        except OSError as e: end=e\n\
        print(n,end,flush=True)",
        mesh.far.ipv4()
    );
    let closed = |mesh: &Mesh| -> Result<f64> {
        let metrics = mesh.agents[N2].metrics()?;
        Ok(metrics.sum("istio_tcp_connections_closed_total", &[("reporter", "destination")]))
    };
    let upstreams = |mesh: &Mesh| -> Result<f64> {
        Ok(mesh.agents[N1].metrics()?.sum("weir_hbone_connections_open", &[("side", "upstream")]))
    };
    let before = closed(mesh)?;
    let client = mesh.client.place.spawn(&["python3", "-c", &script])?;
    wait::until("the server has sent all of it", Duration::from_secs(10), || {
        let (closed, said) = (closed(mesh)?, client.tail());
        ensure!(closed > before, "the destination's connection is open; the client said {said}");
        Ok(())
    })?;
    let open = upstreams(mesh)?;
    mesh.agents[N2].kill_worker()?;
    wait::until("the client's agent has seen the end of the HBONE connection", Duration::from_secs(10), || {
        ensure!(upstreams(mesh)? < open, "it is still open");
        Ok(())
    })?;
    client.signal(Signal::SIGUSR1)?;
    let output = client.finish(Duration::from_secs(20))?;
    ensure!(output.stdout == format!("asked\n{LATE_BYTES} no reset\n"), "the client saw {}", output.summary());
    Ok(())
}
