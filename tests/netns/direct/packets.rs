//! Segments and sockets of a pod that has all capabilities in its namespace: nothing of what is allowed to its direct connections can be used for
//! anything else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::mesh::{Mesh, NAMESPACE, NEAR_VIPS};
use weir_tests::objects::authorization_policy;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO, PEER, WATCH};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, all_are_told, becomes_direct, denies, mesh, verdicts};
use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: a handshake that is completed without the socket that began it leads nowhere",
        check: Check::Alone(gone),
    },
    Case {
        name: "direct: a connection that is carried on without its socket ends when policy no longer allows it",
        check: Check::Alone(kept),
    },
    Case {
        name: "direct: what is admitted is the one connection that was begun, from its port, to its port, once",
        check: Check::Alone(published),
    },
    Case { name: "direct: no option of a socket leads to a port that policy denies", check: Check::Alone(options) },
];

const SEGMENTS: &str = include_str!("packets.py");
/// Bits of the kernel's setting: 1 and 4 for clients, 2, 0x200 and 0x400 for servers.
const FAST_OPEN: &str = "net/ipv4/tcp_fastopen";

/// A mesh whose connections are direct, and none is open.
fn direct_mesh() -> Result<Mesh> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    all_are_told(&mesh)?;
    Ok(mesh)
}

/// The client takes part in a handshake with `near` with segments of its own.
fn take_part(mesh: &Mesh, mode: &str) -> Result<Program> {
    let (near, other) = (mesh.near.ipv4().to_string(), mesh.far.ipv4().to_string());
    let (port, other_port) = (ECHO.to_string(), PEER.to_string());
    mesh.client.place.spawn(&["python3", "-c", SEGMENTS, mode, &near, &port, &other_port, &other])
}

fn says(program: &Program, what: &str, within: Duration) -> Result<String> {
    wait::until(&format!("it says {what}"), within, || {
        let said = program.stdout();
        ensure!(said.contains(what), "{}", program.tail());
        Ok(said)
    })
}

fn gone() -> Result<()> {
    let mesh = direct_mesh()?;
    let agent = &mesh.agents[N1];
    let cut = verdicts(agent, "direct_cut_off")?;
    let said = says(&take_part(&mesh, "gone")?, "over", Duration::from_secs(30))?;
    ensure!(!said.contains("echoed"), "it got an answer: {said}");
    ensure!(verdicts(agent, "direct_cut_off")? == cut + 1.0, "it was not cut off: {said}");
    // Over IPv6 the pod's kernel takes answers still.
    becomes_direct(&mesh, mesh.near.ipv6(), ECHO).map(drop)
}

/// The server's end is a connection as any other, whoever sends what arrives there.
fn kept() -> Result<()> {
    let mesh = direct_mesh()?;
    let opened = Counter::of(&mesh.agents[N1], OPENED, &[("reporter", "destination")])?;
    let taking_part = take_part(&mesh, "kept")?;
    says(&taking_part, "echoed", SOON)?;
    opened.grows_by(1.0).context("it is told of")?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &denies(&mesh.client))?;
    says(&taking_part, "reset", SOON).with_context(|| mesh.logs()).map(drop)
}

fn published() -> Result<()> {
    let mesh = direct_mesh()?;
    let agent = &mesh.agents[N1];
    let look = || -> Result<(f64, f64)> {
        Ok((verdicts(agent, "lookup_passed_direct")?, verdicts(agent, "lookup_steered_plaintext")?))
    };
    let before = look()?;
    let said = says(&take_part(&mesh, "published")?, "over", Duration::from_secs(30))?;
    ensure!(said.contains("answered True"), "the one that was begun is admitted: {said}");
    let after = wait::until("the others are seen", SOON, || {
        let after = look()?;
        // A node may drop what has another pod's address.
        ensure!(after.1 >= before.1 + 3.0, "{before:?} passed and steered, then {after:?}: {said}");
        Ok(after)
    })?;
    ensure!(after.0 == before.0 + 1.0, "{before:?} passed and steered, then {after:?}: {said}");
    Ok(())
}

/// Connects by sockets with all kinds of options to the echo at the port that is its argument, and tells what each got. The first address is the
/// server's, the second its service's, the third that of another pod.
const OPTIONS: &str = "import ctypes, errno, socket, sys
server, vip, other, port, allowed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
libc = ctypes.CDLL(None, use_errno=True)
TCP_REPAIR, TCP_FASTOPEN_CONNECT, IP_TRANSPARENT, IP_FREEBIND, MSG_FASTOPEN = 19, 30, 19, 15, 0x20000000
# In what TCP_INFO says: the server has acknowledged data that the SYN had.
TCP_INFO, SYN_DATA = 11, 32

def plain(kind=socket.AF_INET, protocol=0, options=(), bind=None, to=server):
    s = socket.socket(kind, socket.SOCK_STREAM, protocol)
    s.settimeout(3)
    for level, name, value in options:
        s.setsockopt(level, name, value)
    if bind:
        s.bind(bind)
    s.connect((to, port))
    return s

def again():
    s = socket.socket()
    s.settimeout(3)
    s.connect((server, allowed))
    libc.connect(s.fileno(), bytes(16), 16)
    s.connect((server, port))
    return s

def same_port():
    first = socket.socket()
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    first.settimeout(3)
    first.connect((server, allowed))
    return plain(options=[(SOCKET, socket.SO_REUSEPORT, 1)], bind=first.getsockname())

def fast_open():
    s = socket.socket()
    s.settimeout(3)
    s.sendto(b'x', MSG_FASTOPEN, (server, port))
    return s

def repaired():
    s = plain(options=[(socket.IPPROTO_TCP, TCP_REPAIR, 1)])
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
    return s

SOCKET, IP, TCP = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_TCP
for name, attempt in {
    'plain': plain,
    'service': lambda: plain(to=vip),
    'v4-mapped': lambda: plain(socket.AF_INET6, to='::ffff:' + server),
    'mptcp': lambda: plain(protocol=262),
    **{f'mark {mark:#x}': lambda mark=mark: plain(options=[(SOCKET, socket.SO_MARK, mark)]) for mark in (1, 0x539, 0xfff, 0x40000000)},
    'priority': lambda: plain(options=[(SOCKET, socket.SO_PRIORITY, 7)]),
    'device': lambda: plain(options=[(SOCKET, socket.SO_BINDTODEVICE, b'eth0')]),
    'loopback device': lambda: plain(options=[(SOCKET, socket.SO_BINDTODEVICE, b'lo')]),
    'transparent': lambda: plain(options=[(IP, IP_TRANSPARENT, 1)], bind=(other, 0)),
    'free bind': lambda: plain(options=[(IP, IP_FREEBIND, 1)], bind=(other, 0)),
    'loopback address': lambda: plain(bind=('127.0.0.1', 0)),
    'used before': again,
    'port of another': same_port,
    'fast open': fast_open,
    'fast open connect': lambda: plain(options=[(TCP, TCP_FASTOPEN_CONNECT, 1)]),
    'repaired': repaired,
}.items():
    try:
        s = attempt()
        s.settimeout(2)
        s.sendall(b'x')
        received = s.recv(100)
        got = 'end' if not received else 'bytes' if not received.strip(b'x') else f'other bytes {received}'
        if s.getsockopt(TCP, TCP_INFO, 6)[5] & SYN_DATA:
            got += ', and the SYN had one'
    except OSError as error:
        got = errno.errorcode.get(error.errno, str(error))
    print(name, got, sep=': ', flush=True)
";

/// What gets bytes where nothing is denied: which shows that the attempts are such that could succeed.
const GET_BYTES: [&str; 14] = [
    "plain: bytes",
    "service: bytes",
    "v4-mapped: bytes",
    "mptcp: bytes",
    "mark 0x1: bytes",
    "mark 0x539: bytes",
    "mark 0xfff: bytes",
    "mark 0x40000000: bytes",
    "priority: bytes",
    "device: bytes",
    "used before: bytes",
    "port of another: bytes",
    "fast open: bytes, and the SYN had one",
    "fast open connect: bytes, and the SYN had one",
];

/// The client may send data in a SYN and the server takes it, both without a cookie, and without an option at the socket that listens.
fn allow_fast_open(mesh: &mut Mesh) -> Result<()> {
    mesh.client.netns().sysctl(FAST_OPEN, "5")?;
    mesh.near.netns().sysctl(FAST_OPEN, "1538")?;
    // It counts for sockets that begin to listen from now on.
    mesh.servers.near.signal(Signal::SIGKILL)?;
    mesh.servers.near.ended(SOON)?;
    mesh.servers.near = test_app::serve(&mesh.near.place)?;
    Ok(())
}

fn options() -> Result<()> {
    let mut mesh = mesh()?;
    allow_fast_open(&mut mesh)?;
    let (near, other) = (mesh.near.ipv4().to_string(), mesh.far.ipv4().to_string());
    let (port, allowed) = (WATCH.to_string(), ECHO.to_string());
    let attempt = || {
        becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
        let command = ["python3", "-c", OPTIONS, &*near, NEAR_VIPS[0], &*other, &*port, &*allowed];
        mesh.client.place.run_within(Duration::from_secs(90), &command)
    };
    becomes_direct(&mesh, mesh.near.ipv4(), WATCH)?;
    let said = attempt()?;
    for line in GET_BYTES {
        ensure!(said.lines().any(|said| said == line), "not {line}, but {said}");
    }
    let rules = format!("[{{to: [{{operation: {{ports: [\"{WATCH}\"]}}}}]}}]");
    let policy = authorization_policy("case", NAMESPACE, "near", "DENY", &rules);
    let _policy = mesh.control_plane.objects.put_for_now("case", &policy)?;
    wait::until("the port is denied", SOON, || {
        let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), WATCH, "x")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })?;
    let said = attempt()?;
    ensure!(!said.contains("bytes"), "one gets an answer: {said}");
    note(said.lines().collect::<Vec<_>>().join(", "));
    Ok(())
}
