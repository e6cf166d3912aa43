//! What one pod may hold of what all pods share: at its limit that pod waits or is refused, and another notices nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::attack;
use weir_tests::mesh::Mesh;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO, Many, SOURCE};
use weir_tests::wait;
use weir_tests::world::{N1, N2, Pod};

use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "limits: at its limit of outbound connections a pod waits, another does not",
        check: Check::Alone(outbound),
    },
    Case {
        name: "limits: at its limit of inbound connections a pod refuses, another does not",
        check: Check::Alone(inbound),
    },
    Case {
        name: "limits: a peer with as many inbound connections as one may have is refused, another is not",
        check: Check::Alone(inbound_of_peer),
    },
    Case {
        name: "limits: at its limit of pending connects a pod waits, another does not",
        check: Check::Alone(|| pending("")),
    },
    Case {
        name: "limits: at its limit of pending connects a pod waits, at a port that may carry HTTP too, and another does not",
        check: Check::Alone(|| pending(ELSEWHERE)),
    },
    Case {
        name: "limits: at its limit of HBONE connections a pod gives idle ones up, and else waits; another does not",
        check: Check::Alone(hbone_connections),
    },
    Case {
        name: "limits: at its limit of connections to one peer a pod waits, to another peer it does not, and nor does another pod",
        check: Check::Alone(connections_of_peer),
    },
    Case {
        name: "limits: where slow readers make the agent hold as much as it may, they are told, and others are served",
        check: Check::Alone(agent_held),
    },
    Case { name: "limits: peers that never authenticate keep nobody out", check: Check::Alone(handshakes) },
    Case {
        name: "limits: a pod with more connections that wait than the kernel notes pushes out no other's",
        check: Check::Alone(waiting_flows),
    },
];

const REACHED: &str = "weir_limit_reached_total";
/// The limit that each case sets.
const LIMIT: usize = 4;
/// A port of the outsider that drops what comes.
const BLACK_HOLE: u16 = 7099;

/// A host outside of the mesh that speaks HTTP at that port: what connections to the same port of an address that the mesh does not know
/// carry is nobody's to say but theirs.
const ELSEWHERE: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: elsewhere, namespace: shop}\nspec:\n  \
    hosts: [elsewhere.example]\n  location: MESH_EXTERNAL\n  resolution: NONE\n  ports: [{number: 7099, name: http, protocol: HTTP}]\n";

/// A mesh whose agents have one limit at [`LIMIT`], and a check of it.
fn with_limit(flag: &str, check: impl Fn(&Mesh) -> Result<()>) -> Result<()> {
    let mesh = Mesh::start_with("t", &[&format!("{flag}={LIMIT}")])?;
    check(&mesh).with_context(|| mesh.logs())
}

/// Connections to an echo that are kept, of which each prints a line once it is open.
fn hold(from: &Pod, to: &Pod, count: usize) -> Result<Vec<Program>> {
    let address = SocketAddr::new(to.ipv4(), ECHO).to_string();
    let app = binary("weir-test-app")?.display().to_string();
    (0..count).map(|_| from.place.spawn(&[&app, "hold", &address])).collect()
}

fn is_open(program: &Program) -> bool {
    program.stdout().contains("open")
}

fn open_of(programs: &[Program]) -> usize {
    programs.iter().filter(|program| is_open(program)).count()
}

/// Whether the limit is counted, and shown for the pod that reached it.
fn is_told(mesh: &Mesh, pod: &Pod, limit: &str) -> Result<()> {
    let agent = mesh.agent_of(pod);
    let labels = [("limit", limit)];
    wait::until("the limit is counted and shown", Duration::from_secs(10), || {
        let times = agent.metrics()?.sum(REACHED, &labels);
        ensure!(times >= 1.0, "it was reached {times} times");
        let status = agent.weir(&["status"])?.stdout;
        let warning = format!("shop/{} has reached its limit {limit} ", pod.name());
        ensure!(status.contains(&warning), "{status}");
        let others = status.lines().filter(|line| line.contains("has reached its limit"));
        ensure!(others.count() == 1, "one pod has reached one limit: {status}");
        Ok(())
    })
}

fn outbound() -> Result<()> {
    with_limit("--max-outbound-connections-per-pod", |mesh| {
        let mut held = hold(&mesh.client, &mesh.far, LIMIT + 1)?;
        wait::until("as many as may be are open", Duration::from_secs(10), || {
            ensure!(open_of(&held) == LIMIT, "{} are", open_of(&held));
            Ok(())
        })?;
        is_told(mesh, &mesh.client, "outbound_connections")?;
        test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).context("another pod of the node")?;
        ensure!(open_of(&held) == LIMIT, "the next one waits");
        let at = held.iter().position(is_open).context("one is open")?;
        drop(held.swap_remove(at));
        wait::until("the one that waited is open", Duration::from_secs(10), || {
            ensure!(open_of(&held) == LIMIT, "{} are", open_of(&held));
            Ok(())
        })
    })
}

fn inbound() -> Result<()> {
    // HBONE connections of the two peers count, too: one from each, or two where it has reached the pod over both families. With
    // several workers each would open its own, and one that comes at the limit waits for a place until its handshake times out.
    const CONNECTIONS: u64 = 40;
    let mesh = Mesh::start_with("t", &["--max-inbound-connections-per-pod=20", "--worker-threads=1"])?;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let (count, concurrent) = (format!("--count={CONNECTIONS}"), format!("--concurrent={CONNECTIONS}"));
    let arguments = ["many", &to, &count, &concurrent, "--hold", "--patience=20"];
    let many: Many = test_app::client(&mesh.client.place, Duration::from_secs(60), &arguments)?;
    ensure!(many.ok >= 16 && many.ok <= 20, "{many:?}\n{}", mesh.logs());
    ensure!(many.errors.keys().all(|error| error.starts_with("exchange: ")), "{many:?}");
    is_told(&mesh, &mesh.far, "inbound_connections")?;
    test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO).context("another pod")?;
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("the pod, once they have ended")?;
    Ok(())
}

fn inbound_of_peer() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--max-inbound-per-peer=8", "--worker-threads=1"])?;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let arguments = ["many", &to, "--count=20", "--concurrent=20", "--hold", "--patience=20"];
    let many: Many = test_app::client(&mesh.client.place, Duration::from_secs(60), &arguments)?;
    // Its HBONE connections count, too: one, or two where it has reached the pod over both families.
    ensure!(many.ok >= 6 && many.ok < 8, "{many:?}\n{}", mesh.logs());
    is_told(&mesh, &mesh.far, "inbound_of_peer")?;
    let _held = hold(&mesh.client, &mesh.far, 20)?;
    test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).context("another peer")?;
    Ok(())
}

/// `objects`: what the mesh knows besides its pods.
fn pending(objects: &str) -> Result<()> {
    with_limit("--max-pending-connects-per-pod", |mesh| {
        if !objects.is_empty() {
            mesh.control_plane.objects.put("elsewhere", objects)?;
            wait::until("the host is known", Duration::from_secs(10), || {
                ensure!(mesh.agents[N1].config_dump()?.to_string().contains("elsewhere.example"), "it is not");
                Ok(())
            })?;
        }
        attack::drop_packets_to(&mesh.outsider, BLACK_HOLE)?;
        let app = binary("weir-test-app")?.display().to_string();
        let black_hole = SocketAddr::new(mesh.outsider.ipv4(), BLACK_HOLE).to_string();
        let mut waiting = Vec::new();
        for _ in 0..=LIMIT {
            waiting.push(mesh.client.place.spawn(&[&app, "probe", &black_hole])?);
        }
        is_told(mesh, &mesh.client, "pending_connects")?;
        test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).context("another pod of the node")?;
        wait::until("the pod, once they have failed", Duration::from_secs(30), || {
            test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
        })
    })
}

fn hbone_connections() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--max-hbone-connections-per-pod=1", "--worker-threads=1"])?;
    let check = || {
        for peer in [&mesh.far, &mesh.near, &mesh.far] {
            test_app::echoes(&mesh.client.place, peer.ipv4(), ECHO)
                .context("each takes the place of the one before")?;
        }
        is_told(&mesh, &mesh.client, "hbone_connections")?;
        let busy = hold(&mesh.client, &mesh.far, 1)?;
        wait::until("a stream is open", Duration::from_secs(10), || {
            ensure!(open_of(&busy) == 1, "{}", busy[0].tail());
            Ok(())
        })?;
        let waiting = hold(&mesh.client, &mesh.near, 1)?;
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("the connection that there is")?;
        test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).context("another pod of the node")?;
        ensure!(open_of(&waiting) == 0, "there is no connection for it");
        drop(busy);
        wait::until("the one that waited is open", Duration::from_secs(10), || {
            ensure!(open_of(&waiting) == 1, "{}", waiting[0].tail());
            Ok(())
        })
    };
    check().with_context(|| mesh.logs())
}

fn connections_of_peer() -> Result<()> {
    // More than the streams of one connection.
    const STREAMS: &str = "150";
    let mesh = Mesh::start_with("t", &["--max-connections-per-peer=1", "--worker-threads=1"])?;
    let check = || {
        let address = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
        let many = attack::app(&mesh.client.place, &["hold", &*address, "--count", STREAMS])?;
        is_told(&mesh, &mesh.client, "peer_connections")?;
        test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO).context("another peer")?;
        test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).context("another pod of the node")?;
        let open = mesh.agents[N1].metrics()?.sum("weir_hbone_connections_open", &[("side", "upstream")]);
        note(format!("the pods of the node have {open} HBONE connections"));
        drop(many);
        wait::until("the pod, once they have ended", Duration::from_secs(15), || {
            test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
        })
    };
    check().with_context(|| mesh.logs())
}

fn agent_held() -> Result<()> {
    // Less than a pod may make the agent hold: its own limit is not met.
    const KIB: &str = "1024";
    const READERS: usize = 20;
    let mesh = Mesh::start_with("t", &["--worker-threads=1", &format!("--max-held-kib={KIB}")])?;
    let check = || {
        let source = SocketAddr::new(mesh.far.ipv4(), SOURCE);
        let mut paused = attack::paused(&mesh.client.place, source, READERS, &[])?;
        attack::stand_still(&mesh, &mut paused, 0.0)?;
        is_told(&mesh, &mesh.client, "agent_held_kib")?;
        test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).context("another pod of the node")?;
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("the pod, on another connection")?;
        drop(paused);
        let held = format!("of {KIB} are held now");
        wait::until("what was held is given back", Duration::from_secs(10), || {
            let status = mesh.agents[N1].weir(&["status"])?.stdout;
            ensure!(status.contains("has reached its limit agent_held_kib") && !status.contains(&held), "{status}");
            Ok(())
        })
    };
    check().with_context(|| mesh.logs())
}

/// Opens connections, says nothing, and tells how many were ended by the other side within two seconds.
const SILENT: &str = "
import select, socket, sys
address, count = sys.argv[1], int(sys.argv[2])
held = [socket.create_connection((address, 15008)) for _ in range(count)]
print('open', flush=True)
ended = 0
while held:
    for s in select.select(held, [], [])[0]:
        held.remove(s)
        ended += 1
        print('ended', ended, flush=True)
";

fn handshakes() -> Result<()> {
    with_limit("--max-handshakes-per-pod", |mesh| {
        let (address, count) = (mesh.far.ipv4().to_string(), (3 * LIMIT).to_string());
        let failures = Counter::of(&mesh.agents[N2], crate::count::FAILED, &[("response_flags", "TLS_FAILURE")])?;
        let silent = mesh.outsider.place.spawn(&["python3", "-c", SILENT, &address, &count])?;
        // The agent's own time limit for a handshake is ten seconds: those that end sooner made room.
        wait::until("the newest took the places of the oldest", Duration::from_secs(5), || {
            ensure!(silent.stdout().contains(&format!("ended {}\n", 2 * LIMIT)), "{}", silent.tail());
            Ok(())
        })?;
        failures.grows_by(8.0)?;
        is_told(mesh, &mesh.far, "handshakes")?;
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
        let metrics = mesh.agents[N1].metrics()?;
        ensure!(metrics.sum(REACHED, &[("limit", "handshakes")]) == 0.0, "the other node has reached none");
        Ok(())
    })
}

/// Opens more connections than the kernel notes (`MAX_FLOWS`), of which nearly all wait to be accepted, and stays.
const WAITING: &str = "
import os, resource, socket, sys, time
open('/proc/sys/net/ipv4/ip_local_port_range', 'w').write('1024 65535')
count, most = int(sys.argv[3]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
ends = [(socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])]
parts = count // (most - 100) + 1
done, tell = os.pipe()
for _ in range(parts):
    if os.fork() == 0:
        held = []
        for number in range(count // parts):
            family, address = ends[number % 2]
            s = socket.socket(family)
            s.setblocking(False)
            s.connect_ex((address, 7))
            held.append(s)
        os.write(tell, b'.')
        time.sleep(600)
for _ in range(parts):
    os.read(done, 1)
print('all wait', flush=True)
time.sleep(600)
";

/// The kernel notes where a connection wanted to go until the agent's listener has it: for a moment, unless the backlog is full.
fn waiting_flows() -> Result<()> {
    const WAIT: usize = 80_000;
    /// What the map holds is reckoned in parts per processor.
    const MOST_NOTES: f64 = 60_000.0;
    with_limit("--max-outbound-connections-per-pod", |mesh| {
        let ipv6 = mesh.far.ipv6().to_string();
        let arguments = ["python3", "-c", WAITING, &mesh.far.ipv4().to_string(), &ipv6, &WAIT.to_string()];
        let mut hostile = mesh.client.place.spawn(&arguments)?;
        let (mut asked, mut failed, mut notes) = (0, Vec::new(), 0.0);
        wait::until("all wait", Duration::from_secs(60), || {
            ensure!(hostile.is_running(), "{}", hostile.tail());
            failed.extend(test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).err());
            asked += 1;
            ensure!(hostile.stdout().contains("all wait"), "they are being opened");
            notes = mesh.agents[N1].metrics()?.sum("weir_capture_map_entries", &[("map", "flows")]);
            Ok(())
        })?;
        for _ in 0..100 {
            failed.extend(test_app::echoes(&mesh.near.place, mesh.far.ipv4(), ECHO).err());
        }
        note(format!("{} connections of another pod were made; the kernel has {notes} notes", asked + 100));
        ensure!(failed.is_empty(), "of another pod's {} failed: {failed:?}", failed.len());
        ensure!(notes >= MOST_NOTES, "the kernel has {notes} notes: {}", hostile.tail());
        Ok(())
    })
}
