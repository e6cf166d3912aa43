//! Whoever means harm gets nothing of what direct connections are allowed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, becomes_direct, denies, is_refused, mesh, verdicts};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: a pod that holds its SYN back until policy denies it gets nothing",
        check: Check::Alone(late_syn),
    },
    Case {
        name: "direct: who has a server's address in its place gets no byte",
        check: Check::Alone(address_of_another),
    },
    Case {
        name: "direct: packets of another pod's making do not pass for a direct connection",
        check: Check::Alone(forged),
    },
];

/// Connects, and tells when and how that ended.
const CONNECT: &str = "import errno, socket, sys
print('begins', flush=True)
s = socket.socket()
code = s.connect_ex((sys.argv[1], int(sys.argv[2])))
print('connect', errno.errorcode.get(code, 'ok'), flush=True)
if code == 0:
    s.settimeout(3)
    try:
        s.sendall(b'secret')
        print('read', s.recv(100), flush=True)
    except OSError as e:
        print('read', errno.errorcode.get(e.errno, str(e)), flush=True)
";

/// The pod has all capabilities in its namespace. It has its SYN go nowhere while it may connect, and somewhere when it may not.
fn late_syn() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let client = mesh.client.netns();
    client.ip("neigh replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")?;
    let address = mesh.near.ipv4().to_string();
    let direct = verdicts(&mesh.agents[N1], "connect_direct")?;
    let connecting = mesh.client.place.spawn(&["python3", "-c", CONNECT, &address, &ECHO.to_string()])?;
    wait::until("the connect is under way", SOON, || {
        ensure!(verdicts(&mesh.agents[N1], "connect_direct")? > direct, "{}", connecting.tail());
        Ok(())
    })?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &denies(&mesh.client))?;
    // By way of the agent, which sends from the same namespace: over IPv6.
    wait::until("the client is refused", SOON, || {
        let seen = test_app::probe(&mesh.client.place, mesh.near.ipv6(), ECHO, "x")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })?;
    client.ip("neigh del 169.254.1.1 dev eth0")?;
    let said = wait::until("the connect is over", Duration::from_secs(20), || {
        let said = connecting.stdout();
        ensure!(said.contains("connect "), "{said}");
        Ok(said)
    })?;
    // The agent has ended it, or its SYN came when the permit was gone.
    ensure!(["ECONNABORTED", "ECONNREFUSED"].iter().any(|error| said.contains(error)), "it was let in: {said}");
    is_refused(&mesh)
}

/// The network leads the server's address elsewhere, as it may when a pod is gone and nobody has noticed yet.
fn address_of_another() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let (node, address) = (&mesh.world.nodes[N1], mesh.near.ipv4());
    let other = node.pod("other")?;
    other.netns().ip(&format!("addr add {address}/32 dev eth0"))?;
    let listener = "import socket, sys
s = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('listens', flush=True)
while True:
    c, _ = s.accept()
    c.settimeout(3)
    try: print('got', c.recv(100), flush=True)
    except OSError as e: print('got nothing', e, flush=True)
";
    let mut impostor = other.place.spawn(&["python3", "-c", listener, &ECHO.to_string()])?;
    impostor.listens_on(ECHO)?;
    let device = node.place.run(&["ip", "-o", "route", "get", &other.ipv4().to_string()])?;
    let device = device.split_whitespace().skip_while(|word| *word != "dev").nth(1).context("a route has a device")?;
    node.place.run(&["ip", "route", "replace", &format!("{address}/32"), "dev", device])?;
    let cut = verdicts(&mesh.agents[N1], "direct_cut_off")?;
    let said = mesh.client.place.run(&["python3", "-c", CONNECT, &address.to_string(), &ECHO.to_string()])?;
    ensure!(!said.contains("read b'secret'") && !said.contains("read b"), "{said}");
    ensure!(verdicts(&mesh.agents[N1], "direct_cut_off")? > cut, "it was not cut off: {said}");
    ensure!(!impostor.stdout().contains("secret"), "the impostor says {}", impostor.stdout());
    Ok(())
}

/// Another pod, which policy denies, sends SYN segments with the client's address, while the client's connections are direct.
fn forged() -> Result<()> {
    let mesh = mesh()?;
    let other = mesh.world.nodes[N1].pod("other")?;
    mesh.agents[N1].enroll(&other, weir_tests::mesh::NAMESPACE, "other")?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &denies(&other))?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let before = (verdicts(&mesh.agents[N1], "lookup_passed_direct")?, verdicts(&mesh.agents[N1], "connect_direct")?);
    let app = weir_tests::agent::binary("weir-test-app")?.display().to_string();
    let to = std::net::SocketAddr::new(mesh.near.ipv4(), ECHO).to_string();
    let source = format!("--source={}", mesh.client.ipv4());
    let _flood = other.place.spawn(&[&*app, "hostile", "syn", &to, &source, "--per-second=2000"])?;
    for _ in 0..20 {
        let seen = test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO)?;
        ensure!(seen.ms < 3000, "{seen:?}");
    }
    let passed = verdicts(&mesh.agents[N1], "lookup_passed_direct")? - before.0;
    let direct = verdicts(&mesh.agents[N1], "connect_direct")? - before.1;
    ensure!(direct > 0.0 && passed == direct, "{direct} were direct, {passed} passed for such");
    Ok(())
}
