//! What connect(2) says where it is known before the connection is accepted that nobody answers.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::{Mesh, NAMESPACE, ip};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::N1;

use crate::count::Counter;
use crate::harness::{Case, Check};
use crate::outbound::REGISTRY_ONLY;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "refusals: a virtual address that nobody serves is ECONNREFUSED, until somebody does",
        check: Check::Mesh(service_without_endpoints),
    },
    Case {
        name: "refusals: a port of a pod of this node is ECONNREFUSED while nobody listens",
        check: Check::Mesh(closed_port_of_a_neighbour),
    },
    Case {
        name: "refusals: under REGISTRY_ONLY an address that the mesh does not know is ECONNREFUSED",
        check: Check::Mesh(not_in_the_registry),
    },
];

/// How long a change of an object may take to reach a connection.
const DELIVERED: Duration = Duration::from_secs(10);

/// Connects to an address and port in three ways, and says what each came to: with a socket of the address' family, with
/// one that does not wait, and, for IPv4, with an IPv6 socket.
const CONNECT: &str = "import errno, select, socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ':' in address else socket.AF_INET
def told(code): print(errno.errorcode.get(code, 'connected'))
told(socket.socket(family).connect_ex((address, port)))
eager = socket.socket(family)
eager.setblocking(False)
code = eager.connect_ex((address, port))
if code == errno.EINPROGRESS:
    select.select([], [eager], [], 10)
    code = eager.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
told(code)
if family == socket.AF_INET: told(socket.socket(socket.AF_INET6).connect_ex(('::ffff:' + address, port)))
";

/// Checks that every way to connect from the client is refused as by an address where nobody listens.
fn is_refused(mesh: &Mesh, address: IpAddr, port: u16) -> Result<()> {
    let said = mesh.client.place.run(&["python3", "-c", CONNECT, &address.to_string(), &port.to_string()])?;
    ensure!(
        said.lines().all(|line| line == "ECONNREFUSED"),
        "{address} port {port}: {}",
        said.trim().replace('\n', " ")
    );
    Ok(())
}

/// The client's agent's count of a verdict.
fn verdict<'a>(mesh: &'a Mesh, verdict: &'a str) -> Result<Counter<'a>> {
    Counter::of(&mesh.agents[N1], "weir_capture_verdicts_total", &[("verdict", verdict)])
}

fn service_without_endpoints(mesh: &Mesh) -> Result<()> {
    const VIPS: [&str; 2] = ["10.96.0.61", "fd96::61"];
    let entry = |app: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: nobody, namespace: {NAMESPACE}}}\nspec: \
             {{hosts: [nobody.example], addresses: [{}, \"{}\"], resolution: STATIC, workloadSelector: {{labels: {{app: {app}}}}}, \
             ports: [{{number: {ECHO}, name: echo, protocol: TCP}}]}}\n",
            VIPS[0], VIPS[1]
        )
    };
    let objects = &mesh.control_plane.objects;
    let counted = verdict(mesh, "lookup_refused_service")?;
    let _entry = objects.put_for_now("nobody", &entry("absent"))?;
    for vip in VIPS {
        wait::until("it is refused", DELIVERED, || is_refused(mesh, ip(vip), ECHO))?;
    }
    counted.grows_by(5.0)?;
    objects.put("nobody", &entry("far"))?;
    for vip in VIPS {
        let served = || test_app::echoes(&mesh.client.place, ip(vip), ECHO);
        wait::until("it is served", DELIVERED, || served().map(drop))?;
        (0..10).try_for_each(|_| served().map(drop))?;
    }
    objects.put("nobody", &entry("absent"))?;
    wait::until("it is refused again", DELIVERED, || is_refused(mesh, ip(VIPS[0]), ECHO))
}

fn closed_port_of_a_neighbour(mesh: &Mesh) -> Result<()> {
    const PORT: u16 = 7911;
    let program = binary("weir-test-app")?.display().to_string();
    let counted = verdict(mesh, "lookup_refused_pod_port")?;
    for address in mesh.near.addresses() {
        is_refused(mesh, address, PORT)?;
    }
    counted.grows_by(5.0)?;
    let mut server = mesh.near.place.spawn(&[&*program, "serve", &format!("echo:{PORT}")])?;
    server.listens_on(PORT)?;
    for address in mesh.near.addresses() {
        test_app::echoes(&mesh.client.place, address, PORT)?;
    }
    drop(server);
    wait::until("nobody listens any more", DELIVERED, || is_refused(mesh, mesh.near.ipv4(), PORT))
}

fn not_in_the_registry(mesh: &Mesh) -> Result<()> {
    let outside: [IpAddr; 2] = [mesh.outsider.ipv4(), "fd77::9999".parse()?];
    let counted = verdict(mesh, "lookup_refused_not_in_registry")?;
    {
        let _policy = mesh.control_plane.objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
        for address in outside {
            wait::until("it is refused", DELIVERED, || is_refused(mesh, address, ECHO))?;
        }
        counted.grows_by(5.0)?;
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
        test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO)?;
    }
    wait::until("it is reached again", DELIVERED, || {
        test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO).map(drop)
    })
}
