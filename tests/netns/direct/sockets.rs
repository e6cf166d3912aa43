//! Sockets that are not just opened and connected.

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{NEAR_VIPS, principal};
use weir_tests::test_app::ECHO;
use weir_tests::world::N1;

use super::stage::{becomes_direct, count, mesh, verdicts};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: a socket that is used again goes where it is asked to, by the agent and directly",
        check: Check::Alone(used_again),
    },
    Case { name: "direct: a socket that is bound to a device goes by the agent", check: Check::Alone(of_a_device) },
    Case { name: "direct: MPTCP between two pods, counted to the byte", check: Check::Alone(mptcp) },
];

/// Connects one socket to one address after the other.
const AGAIN: &str = "import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket()
s.settimeout(10)
for address in sys.argv[2:]:
    s.connect((address, int(sys.argv[1])))
    s.sendall(b'hello')
    print(address, s.recv(100).decode(), s.getpeername()[0], flush=True)
    if libc.connect(s.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), 'cannot be disconnected')
";

fn used_again() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    becomes_direct(&mesh, NEAR_VIPS[0].parse()?, ECHO)?;
    let (near, far) = (mesh.near.ipv4().to_string(), mesh.far.ipv4().to_string());
    let before = (count(&mesh.agents[N1])?, verdicts(&mesh.agents[N1], "connect_redirected")?);
    let addresses = [&*near, &*far, &*near, NEAR_VIPS[0], &*far, &*near];
    let port = ECHO.to_string();
    let command = [&["python3", "-c", AGAIN, &*port][..], &addresses].concat();
    let said = mesh.client.place.run(&command).with_context(|| mesh.logs())?;
    let expected: Vec<String> = addresses.iter().map(|address| format!("{address} hello {address}")).collect();
    ensure!(said.lines().eq(expected.iter().map(String::as_str)), "{said}");
    let direct = count(&mesh.agents[N1])? - before.0;
    let redirected = verdicts(&mesh.agents[N1], "connect_redirected")? - before.1;
    // The far pod's go by the agent, and the first of the near one's is direct. A later one may find the socket's last connection not yet
    // over at the other end, and then goes by the agent.
    ensure!(direct >= 1.0 && redirected >= 2.0, "{direct} were direct, {redirected} redirected");
    ensure!(direct + redirected == 6.0, "{direct} were direct, {redirected} redirected");
    Ok(())
}

const OF_A_DEVICE: &str = "import socket, sys
s = socket.socket()
s.settimeout(10)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b'hello')
print(s.recv(100).decode())
";

fn of_a_device() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let before = count(&mesh.agents[N1])?;
    let (near, port) = (mesh.near.ipv4().to_string(), ECHO.to_string());
    let said = mesh.client.place.run(&["python3", "-c", OF_A_DEVICE, &near, &port]).with_context(|| mesh.logs())?;
    ensure!(said.trim() == "hello", "{said}");
    ensure!(count(&mesh.agents[N1])? == before, "it was direct");
    Ok(())
}

const MPTCP_SERVER: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.bind(('0.0.0.0', int(sys.argv[1])))
s.listen()
while True:
    c, _ = s.accept()
    while data := c.recv(65536): c.sendall(data)
    c.close()
";
const MPTCP_CLIENT: &str = "import socket, sys, threading
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.settimeout(10)
s.connect((sys.argv[1], int(sys.argv[2])))
def send():
    s.sendall(b'x' * 100003)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
count = 0
while data := s.recv(65536): count += len(data)
print(count)
";
const MPTCP_PORT: u16 = 7098;

fn mptcp() -> Result<()> {
    let mesh = mesh()?;
    let port = MPTCP_PORT.to_string();
    let mut server = mesh.near.place.spawn(&["python3", "-c", MPTCP_SERVER, &port])?;
    server.listens_on(MPTCP_PORT)?;
    becomes_direct(&mesh, mesh.near.ipv4(), MPTCP_PORT)?;
    let agent = &mesh.agents[N1];
    let (before, logged) = (count(agent)?, agent.log().len());
    let near = mesh.near.ipv4().to_string();
    let said = mesh.client.place.run(&["python3", "-c", MPTCP_CLIENT, &near, &port]).with_context(|| mesh.logs())?;
    ensure!(said.trim() == "100003", "{said}");
    ensure!(count(agent)? == before + 1.0, "it was not direct");
    for direction in ["outbound", "inbound"] {
        let words = [
            "connection complete",
            &format!("direction=\"{direction}\""),
            &format!("src.identity={}", principal(&mesh.client)),
            "bytes_sent=100003 bytes_recv=100003",
        ];
        let line = agent.logs_line(logged, &words)?;
        ensure!(!line.contains("dst.hbone_addr") && !line.contains("error="), "{line}");
    }
    // To a server that speaks TCP alone.
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let said = mesh.client.place.run(&["python3", "-c", MPTCP_CLIENT, &near, &ECHO.to_string()])?;
    ensure!(said.trim() == "100003", "{said}");
    Ok(())
}
