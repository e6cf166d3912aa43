//! Names of services in DNS: for how long an address is used, and whom a pod's names are asked of.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE, ip};
use weir_tests::program::Program;
use weir_tests::test_app;
use weir_tests::world::{N1, Pod};
use weir_tests::{nginx, wait};

use crate::harness::{Case, Check};
use crate::services::{named_at, restart_resolving_by};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "names: an address is used for the TTL that DNS gives it, and the next one after it",
        check: Check::OwnMesh(by_ttl),
    },
    Case {
        name: "names: a pod with a resolver configuration of its own asks its own servers, for itself alone",
        check: Check::OwnMesh(of_pod),
    },
];

/// How long a change may take to reach a connection.
const DELIVERED: Duration = Duration::from_secs(10);
/// How long the SOA record says that a name does not exist.
const NEGATIVE_TTL: u32 = 2;

/// A DNS server for the records of a file: lines of name, TTL and address. Says what it is asked, and by whom.
const DNS: &str = "
import ipaddress, socket, sys
records, negative_ttl = sys.argv[1], int(sys.argv[2])
number = lambda value, size: value.to_bytes(size, 'big')
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('0.0.0.0', 53))
print('bound', flush=True)
while True:
    query, client = server.recvfrom(4096)
    labels, end = [], 12
    while query[end]:
        labels.append(query[end + 1:end + 1 + query[end]].decode().lower())
        end += 1 + query[end]
    name, kind = '.'.join(labels), int.from_bytes(query[end + 1:end + 3], 'big')
    known = [line.split()[1:] for line in open(records) if line.split()[0] == name]
    answers = b''
    count = 0
    for ttl, address in known:
        ip = ipaddress.ip_address(address)
        if kind == {4: 1, 6: 28}[ip.version]:
            count += 1
            answers += b'\\xc0\\x0c' + number(kind, 2) + number(1, 2) + number(int(ttl), 4) + number(len(ip.packed), 2) + ip.packed
    soa = b'' if count else b'\\0' + number(6, 2) + number(1, 2) + number(3600, 4) + number(22, 2) + b'\\0\\0' + b'\\0' * 16 + number(negative_ttl, 4)
    flags = number(0x8180 if known else 0x8183, 2)
    counts = number(1, 2) + number(count, 2) + number(0 if count else 1, 2) + number(0, 2)
    server.sendto(query[:2] + flags + counts + query[12:end + 5] + answers + soa, client)
    print('asked for', name, {1: 'A', 28: 'AAAA'}.get(kind, kind), 'by', client[0], flush=True)
";

/// A DNS server in a pod.
struct Dns {
    program: Program,
    records: PathBuf,
}

impl Dns {
    fn start(mesh: &Mesh, pod: &Pod, records: &str) -> Result<Self> {
        let file = mesh.world.run().folder().join(format!("records-of-{}", pod.name()));
        fs::write(&file, records)?;
        let (path, negative) = (file.display().to_string(), NEGATIVE_TTL.to_string());
        let program = pod.place.spawn(&["python3", "-c", DNS, &path, &negative])?;
        wait::until("the DNS server is there", DELIVERED, || {
            ensure!(program.stdout().contains("bound"), "{}", program.tail());
            Ok(())
        })?;
        Ok(Self { program, records: file })
    }

    /// Makes these its records from now on.
    fn has(&self, records: &str) -> Result<()> {
        let new = self.records.with_extension("new");
        fs::write(&new, records)?;
        Ok(fs::rename(new, &self.records)?)
    }

    /// How often it was asked for the IPv4 addresses of a name: from an address, and by all.
    fn asked(&self, name: &str, by: IpAddr) -> (usize, usize) {
        let asked = format!("asked for {name} A by ");
        let askers: Vec<_> =
            self.program.stdout().lines().filter_map(|line| line.strip_prefix(&asked).map(str::to_owned)).collect();
        (askers.iter().filter(|asker| **asker == by.to_string()).count(), askers.len())
    }
}

/// Who serves at a virtual address, as a pod sees it.
fn server(pod: &Pod, vip: &str) -> Result<Option<String>> {
    let seen = test_app::probe(&pod.place, ip(vip), nginx::PORT, "GET / HTTP/1.0\r\n\r\n")?;
    Ok(seen.received.lines().last().and_then(|page| page.strip_prefix("hello from ")).map(str::to_owned))
}

fn is_served_by(pod: &Pod, vip: &str, expected: Option<&str>, when: &str) -> Result<()> {
    wait::until(when, DELIVERED, || {
        let found = server(pod, vip)?;
        ensure!(found.as_deref() == expected, "{found:?} serves");
        Ok(())
    })
}

fn by_ttl(mesh: &mut Mesh) -> Result<()> {
    const MOVING: &str = "10.96.3.1";
    const LASTING: &str = "10.96.3.2";
    const LATER: &str = "10.96.3.3";
    let [outside, far] = [&mesh.outsider, &mesh.far].map(Pod::ipv4);
    let dns =
        Dns::start(mesh, &mesh.outsider, &format!("moving.example 1 {outside}\nlasting.example 3600 {outside}\n"))?;
    restart_resolving_by(
        mesh,
        &[("hosts", "127.0.0.1 localhost\n".to_owned()), ("resolv.conf", format!("nameserver {outside}\n"))],
    )?;
    let entries: String = [("moving", MOVING), ("lasting", LASTING), ("later", LATER)]
        .iter()
        .map(|(name, vip)| named_at(name, vip, nginx::PORT))
        .collect();
    mesh.control_plane.objects.put("names", &entries)?;
    let client = &mesh.client;
    for vip in [MOVING, LASTING] {
        is_served_by(client, vip, Some("outsider"), "the first address is used")?;
    }
    is_served_by(client, LATER, None, "a name that does not exist leads nowhere")?;
    let first = dns.asked("lasting.example", outside).1;
    ensure!(first == 1, "lasting.example was asked for {first} times");
    dns.has(&format!("moving.example 3600 {far}\nlasting.example 1 {far}\nlater.example 1 {far}\n"))?;
    is_served_by(client, MOVING, Some("far"), "after a TTL of 1 s the next address is used")?;
    is_served_by(client, LATER, Some("far"), "a name that has come to exist is known in time")?;
    let still = server(client, LASTING)?;
    ensure!(still.as_deref() == Some("outsider"), "within its TTL the address is used: {still:?}");
    let asked = dns.asked("lasting.example", outside).1;
    ensure!(asked == first, "within its TTL lasting.example was asked for {} times more", asked - first);
    Ok(())
}

fn of_pod(mesh: &mut Mesh) -> Result<()> {
    const SHARED: &str = "10.96.3.11";
    const SEARCHED: &str = "10.96.3.12";
    let [outside, near, far] = [&mesh.outsider, &mesh.near, &mesh.far].map(Pod::ipv4);
    let agents = Dns::start(mesh, &mesh.outsider, &format!("shared.example 1 {outside}\n"))?;
    let pods =
        Dns::start(mesh, &mesh.near, &format!("shared.example 3600 {far}\nsearched.example.of-pod 3600 {far}\n"))?;
    restart_resolving_by(
        mesh,
        &[("hosts", "127.0.0.1 localhost\n".to_owned()), ("resolv.conf", format!("nameserver {outside}\n"))],
    )?;
    let entries = named_at("shared", SHARED, nginx::PORT) + &named_at("searched", SEARCHED, nginx::PORT);
    mesh.control_plane.objects.put("names", &entries)?;
    is_served_by(
        &mesh.near,
        SHARED,
        Some("outsider"),
        "without a configuration of its own the agent's server is asked",
    )?;
    let own = mesh.world.run().folder().join("resolv.conf-of-near");
    // Of a pod's own loopback only the pod can speak.
    fs::write(&own, "nameserver 127.0.0.1\nsearch of-pod\noptions ndots:2\n")?;
    let agent = &mesh.agents[N1];
    agent.unenroll(mesh.near.name())?;
    let flag = format!("--resolv-conf={}", own.display());
    agent.enroll_with(&mesh.near, NAMESPACE, mesh.near.name(), &[flag])?;
    is_served_by(&mesh.near, SHARED, Some("far"), "the pod's own server is asked")?;
    is_served_by(&mesh.near, SEARCHED, Some("far"), "the pod's own search list counts")?;
    let loopback = ip("127.0.0.1");
    ensure!(pods.asked("shared.example", loopback) == (1, 1), "{}", pods.program.tail());
    // What the pod's server says is nothing to others, whoever asks first.
    for _ in 0..3 {
        is_served_by(&mesh.client, SHARED, Some("outsider"), "the other pod's server is the agent's")?;
        is_served_by(&mesh.near, SHARED, Some("far"), "the pod's stays its own")?;
    }
    ensure!(agents.asked("shared.example", near).0 == 0, "{}", agents.program.tail());
    Ok(())
}
