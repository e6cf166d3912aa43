//! Which endpoint and which port the address of a service leads to.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::{Mesh, NAMESPACE, ip};
use weir_tests::test_app::{self, BANNER, ECHO, Seen};
use weir_tests::world::{N1, Pod};
use weir_tests::{nginx, wait};

use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check};
use crate::outbound::REGISTRY_ONLY;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "services: of TCP and UDP on one port number TCP is served, whichever comes first",
        check: Check::Mesh(tcp_beside_udp),
    },
    Case { name: "services: two ServiceEntries of one host are one service", check: Check::Mesh(merged_entries) },
    Case {
        name: "services: a port that nobody listed is an unknown destination, whoever has the address",
        check: Check::Mesh(unlisted_port),
    },
    Case {
        name: "services: a Service without a selector leads to its EndpointSlice",
        check: Check::Mesh(endpoint_slice),
    },
    Case {
        name: "services: an endpoint that terminates serves while no other is ready",
        check: Check::Mesh(terminating_endpoint),
    },
    Case { name: "services: a Service without any endpoint is left to kube-proxy", check: Check::Mesh(no_endpoint) },
    Case {
        name: "services: sessionAffinity ClientIP keeps a client at its endpoint",
        check: Check::Mesh(client_ip_affinity),
    },
    Case {
        name: "services: of a name with several addresses one that answers is used",
        check: Check::OwnMesh(by_name),
    },
    Case {
        name: "services: DNS servers that are silent about one pod's names hold up no other pod's",
        check: Check::OwnMesh(silent_names),
    },
];

/// How long a change of an object may take to reach a connection.
const DELIVERED: Duration = Duration::from_secs(10);

/// A probe of an address from the client until it brings what is expected.
fn brings(mesh: &Mesh, what: &str, address: &str, port: u16, expected: impl Fn(&Seen) -> bool) -> Result<()> {
    wait::until(what, DELIVERED, || {
        let seen = test_app::probe(&mesh.client.place, ip(address), port, "x")?;
        ensure!(expected(&seen), "{address} port {port}: {seen:?}");
        Ok(())
    })
}

fn tcp_beside_udp(mesh: &Mesh) -> Result<()> {
    let (udp, tcp) = (format!("protocol: UDP, targetPort: {BANNER}"), format!("protocol: TCP, targetPort: {ECHO}"));
    for (vip, [first, second]) in [("10.96.0.31", [&udp, &tcp]), ("10.96.0.32", [&tcp, &udp])] {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: game, namespace: {NAMESPACE}}}\nspec:\n  clusterIP: {vip}\n  \
             selector: {{app: far}}\n  ports:\n  - {{name: game-1, port: 5000, {first}}}\n  - {{name: game-2, port: 5000, {second}}}\n"
        );
        let _for_now = mesh.control_plane.objects.put_for_now("game", &service)?;
        brings(mesh, &format!("the TCP port's target answers ({first} first)"), vip, 5000, |seen| {
            seen.received == "x"
        })?;
    }
    Ok(())
}

fn merged_entries(mesh: &Mesh) -> Result<()> {
    // Files without a creation time rank by their names.
    let entry = |name: &str, vip: &str, ports: &[u16]| {
        let ports: Vec<String> = ports
            .iter()
            .map(|port| format!("{{number: {port}, name: p{port}, protocol: TCP, targetPort: {ECHO}}}"))
            .collect();
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: \
             {{hosts: [shared.example], addresses: [{vip}], resolution: STATIC, workloadSelector: {{labels: {{app: far}}}}, \
             ports: [{}]}}\n",
            ports.join(", ")
        )
    };
    let objects = &mesh.control_plane.objects;
    let _older = objects.put_for_now("shared-1", &entry("shared-1", "10.96.0.41", &[5001]))?;
    let _younger = objects.put_for_now("shared-2", &entry("shared-2", "10.96.0.42", &[5001, 5002]))?;
    for vip in ["10.96.0.41", "10.96.0.42"] {
        for port in [5001, 5002] {
            brings(mesh, &format!("port {port} at {vip} answers"), vip, port, |seen| seen.received == "x")?;
        }
    }
    let told = "ServiceEntry shop/shared-2: host \"shared.example\": port 5001 has no effect: the older ServiceEntry \"shared-1\" has it";
    let log = mesh.control_plane.tail();
    ensure!(log.contains(told), "the control plane does not say {told:?}:\n{log}");
    Ok(())
}

fn unlisted_port(mesh: &Mesh) -> Result<()> {
    let outside = mesh.outsider.ipv4().to_string();
    // BANNER is listed, with an address to which nobody answers; ECHO is not.
    for addresses in [&*outside, "0.0.0.0/0"] {
        let entry = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: listed, namespace: {NAMESPACE}}}\nspec: \
             {{hosts: [listed.example], addresses: [\"{addresses}\"], resolution: STATIC, endpoints: [{{address: {}}}], \
             ports: [{{number: {BANNER}, name: listed, protocol: TCP, targetPort: {ECHO}}}]}}\n",
            mesh.far.ipv4()
        );
        let objects = &mesh.control_plane.objects;
        let _entry = objects.put_for_now("listed", &entry)?;
        brings(mesh, &format!("{addresses}: the listed port leads to its endpoint"), &outside, BANNER, |seen| {
            seen.received == "x"
        })?;
        brings(mesh, &format!("{addresses}: the other port passes"), &outside, ECHO, |seen| seen.received == "x")?;
        let _policy = objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
        brings(mesh, &format!("{addresses}: under REGISTRY_ONLY it does not"), &outside, ECHO, Seen::refused)?;
        brings(mesh, &format!("{addresses}: the listed port does"), &outside, BANNER, |seen| seen.received == "x")?;
    }
    Ok(())
}

fn selectorless(vip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: db, namespace: {NAMESPACE}}}\nspec: {{clusterIP: {vip}, \
         ports: [{{name: sql, port: {ECHO}}}]}}\n"
    )
}

fn endpoint_slice(mesh: &Mesh) -> Result<()> {
    let objects = &mesh.control_plane.objects;
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: db-1, namespace: {NAMESPACE}, labels: \
         {{kubernetes.io/service-name: db}}}}\naddressType: IPv4\nports: [{{name: sql, port: {ECHO}}}]\nendpoints: [{{addresses: [{}]}}]\n",
        mesh.outsider.ipv4()
    );
    let _service = objects.put_for_now("db", &selectorless("10.96.0.51"))?;
    let _slice = objects.put_for_now("db-1", &slice)?;
    brings(mesh, "the endpoint of the slice answers", "10.96.0.51", ECHO, |seen| seen.received == "x")
}

fn terminating_endpoint(mesh: &Mesh) -> Result<()> {
    const VIP: &str = "10.96.0.81";
    const READY: &str = "ready: true, serving: true, terminating: false";
    const ENDS: &str = "ready: false, serving: true, terminating: true";
    const ENDED: &str = "ready: false, serving: false, terminating: true";
    let slice = |near: &str, far: &str| {
        let endpoint = |pod: &Pod, conditions| format!("{{addresses: [{}], conditions: {{{conditions}}}}}", pod.ipv4());
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: rolling-1, namespace: {NAMESPACE}, labels: \
             {{kubernetes.io/service-name: rolling}}}}\naddressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: [{}, {}]\n",
            nginx::PORT,
            endpoint(&mesh.near, near),
            endpoint(&mesh.far, far)
        )
    };
    let objects = &mesh.control_plane.objects;
    let _service = objects.put_for_now(
        "rolling",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: rolling, namespace: {NAMESPACE}}}\nspec: {{clusterIP: {VIP}, \
             ports: [{{name: http, port: 80}}]}}\n"
        ),
    )?;
    let _slice = objects.put_for_now("rolling-1", &slice(READY, ENDS))?;
    for (near, far, serves) in
        [(READY, ENDS, "near"), (ENDED, ENDS, "far"), (ENDS, ENDS, "near far"), (ENDS, READY, "far")]
    {
        objects.put("rolling-1", &slice(near, far))?;
        let expected = serves.split(' ').map(|pod| format!("hello from {pod}")).collect();
        wait::until(&format!("near is {near}, far is {far}: {serves}"), DELIVERED, || {
            let found = pages(mesh, VIP, 16)?;
            ensure!(found == expected, "{found:?} serve");
            Ok(())
        })?;
    }
    objects.put("rolling-1", &slice(ENDED, ENDED))?;
    brings(mesh, "nobody serves any more", VIP, 80, |seen| seen.connect == "ConnectionRefused")
}

fn no_endpoint(mesh: &Mesh) -> Result<()> {
    let objects = &mesh.control_plane.objects;
    // What answers at the address stands for kube-proxy.
    let outside = mesh.outsider.ipv4().to_string();
    let _service = objects.put_for_now("db", &selectorless(&outside))?;
    let host = format!("db.{NAMESPACE}.svc.cluster.local");
    let agent = mesh.agent_of(&mesh.client);
    let passed = Counter::of(agent, OPENED, &[("destination_service", &host), ("reporter", "source")])?;
    wait::until("it passes, as a connection to that service", DELIVERED, || {
        let seen = test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "x")?;
        ensure!(seen.received == "x", "{seen:?}");
        ensure!(passed.grown()? > 0.0, "the service is not known yet");
        Ok(())
    })?;
    let _policy = objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
    brings(mesh, "under REGISTRY_ONLY it does not", &outside, ECHO, Seen::refused)
}

/// Pages that the client gets at a virtual address, one per connection.
fn pages(mesh: &Mesh, vip: &str, count: usize) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for _ in 0..count {
        let seen = test_app::probe(&mesh.client.place, ip(vip), 80, "GET / HTTP/1.0\r\n\r\n")?;
        let page = seen.received.lines().last().unwrap_or_default().to_owned();
        ensure!(page.starts_with("hello from"), "{vip}: {seen:?}");
        found.insert(page);
    }
    Ok(found)
}

fn client_ip_affinity(mesh: &Mesh) -> Result<()> {
    const CONNECTIONS: usize = 24;
    let objects = &mesh.control_plane.objects;
    let service = |name: &str, vip: &str, affinity: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: {{clusterIP: {vip}, \
             sessionAffinity: {affinity}, ports: [{{name: http, port: 80}}]}}\n"
        )
    };
    let slice = |name: &str, addresses: &[IpAddr]| {
        let endpoints: Vec<String> = addresses.iter().map(|ip| format!("{{addresses: [{ip}]}}")).collect();
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: {NAMESPACE}, labels: \
             {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: [{}]\n",
            nginx::PORT,
            endpoints.join(", ")
        )
    };
    let both = [mesh.near.ipv4(), mesh.far.ipv4()];
    let (free, sticky) = ("10.96.0.71", "10.96.0.72");
    let _free = objects.put_for_now("free", &service("free", free, "None"))?;
    let _free_slice = objects.put_for_now("free-1", &slice("free", &both))?;
    let _sticky = objects.put_for_now("sticky", &service("sticky", sticky, "ClientIP"))?;
    let all = objects.put_for_now("sticky-1", &slice("sticky", &both))?;
    for vip in [free, sticky] {
        wait::until("the service answers", DELIVERED, || pages(mesh, vip, 1).map(drop))?;
    }
    ensure!(pages(mesh, free, CONNECTIONS)?.len() == 2, "without affinity both endpoints serve");
    let kept = pages(mesh, sticky, CONNECTIONS)?;
    ensure!(kept.len() == 1, "{kept:?}");
    let (other, its_page) =
        if kept.contains("hello from near") { (both[1], "hello from far") } else { (both[0], "hello from near") };
    {
        let _other = objects.put_for_now("sticky-1", &slice("sticky", &[other]))?;
        wait::until("without its endpoint the client has the other", DELIVERED, || {
            let found = pages(mesh, sticky, 1)?;
            ensure!(found.contains(its_page), "{found:?}");
            Ok(())
        })?;
    }
    drop(all);
    let _again = objects.put_for_now("sticky-1", &slice("sticky", &both))?;
    wait::until("it has its own again", DELIVERED, || {
        let found = pages(mesh, sticky, 4)?;
        ensure!(found == kept, "{found:?}");
        Ok(())
    })
}

fn by_name(mesh: &mut Mesh) -> Result<()> {
    let IpAddr::V4(live) = mesh.outsider.ipv4() else { unreachable!("an IPv4 address was asked for") };
    // Neighbours that nobody has, before the one that answers.
    let dead = [100, 101].map(|more| Ipv4Addr::from_bits(live.to_bits() + more));
    let lines: Vec<String> = dead.iter().chain([&live]).map(|ip| format!("{ip} several.example\n")).collect();
    restart_resolving_by(mesh, &[("hosts", format!("127.0.0.1 localhost\n{}", lines.concat()))])?;
    mesh.control_plane.objects.put("several", &named("several", "10.96.0.81"))?;
    brings(mesh, "the address that answers is reached", "10.96.0.81", ECHO, |seen| seen.received == "x")
}

/// A ServiceEntry whose endpoint only has the name that it is called by.
fn named(name: &str, vip: &str) -> String {
    named_at(name, vip, ECHO)
}

/// The same for a port.
pub(crate) fn named_at(name: &str, vip: &str, port: u16) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: \
         {{hosts: [{name}.example], addresses: [{vip}], resolution: DNS, ports: [{{number: {port}, name: tcp, protocol: TCP}}]}}\n"
    )
}

/// Starts the client's agent again with these files in the place of those of `/etc`.
pub(crate) fn restart_resolving_by(mesh: &mut Mesh, files: &[(&str, String)]) -> Result<()> {
    let mut mounts = String::new();
    for (name, content) in files {
        let file = mesh.world.run().folder().join(name);
        fs::write(&file, content)?;
        mounts += &format!("mount --bind {} /etc/{name} && ", file.display());
    }
    let mounted = format!("{mounts}exec \"$0\" \"$@\"");
    let agent = &mut mesh.agents[N1];
    agent.run_under(["unshare", "--mount", "--propagation", "slave", "sh", "-c", &mounted].map(str::to_owned));
    agent.restart()
}

/// A DNS server that says how many names it was asked for, and answers nothing.
const SILENT_DNS: &str = "
import socket
asked = set()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('0.0.0.0', 53))
print('bound', flush=True)
while True:
    query = server.recv(4096)
    asked.add(query[12:].split(b'\\0')[0])
    print('asked for', len(asked), flush=True)
";

fn silent_names(mesh: &mut Mesh) -> Result<()> {
    /// What all pods share, and the client's own one.
    const LOOKUPS: usize = 32 + 1;
    const NAMES: usize = 40;
    let dns = mesh.outsider.place.spawn(&["python3", "-c", SILENT_DNS])?;
    wait::until("the DNS server is there", Duration::from_secs(10), || {
        ensure!(dns.stdout().contains("bound"), "{}", dns.tail());
        Ok(())
    })?;
    let address = mesh.outsider.ipv4();
    mesh.agents[N1].add_flags(["--max-name-lookups-per-pod=64".to_owned()]);
    restart_resolving_by(
        mesh,
        &[
            ("hosts", format!("127.0.0.1 localhost\n{address} prompt.example fresh.example\n")),
            ("resolv.conf", format!("nameserver {address}\noptions timeout:30 attempts:1\n")),
        ],
    )?;
    let vip = |number: usize| format!("10.96.2.{}", number + 1);
    let silent: String = (0..NAMES).map(|number| named(&format!("silent-{number}"), &vip(number))).collect();
    let known = named("prompt", "10.96.2.200") + &named("fresh", "10.96.2.201");
    mesh.control_plane.objects.put("silent", &(known + &silent))?;
    brings(mesh, "the objects count", "10.96.2.200", ECHO, |seen| seen.received == "x")?;
    let app = binary("weir-test-app")?.display().to_string();
    let asking = (0..NAMES).map(|number| {
        let to = format!("{}:{ECHO}", vip(number));
        mesh.client.place.spawn(&[&app, "probe", &to])
    });
    let _asking = asking.collect::<Result<Vec<_>>>()?;
    wait::until("the client's connections have taken all lookups", Duration::from_secs(20), || {
        ensure!(dns.stdout().contains(&format!("asked for {LOOKUPS}\n")), "{}", dns.tail());
        Ok(())
    })?;
    // One that nobody has asked for before: there is no former answer.
    let seen = test_app::probe(&mesh.near.place, ip("10.96.2.201"), ECHO, "x")?;
    ensure!(seen.received == "x" && seen.ms < 5000, "another pod's name: {seen:?}");
    Ok(())
}
