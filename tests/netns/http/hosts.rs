//! Requests to addresses that the mesh does not know, whose host names a service: hosts of ServiceEntries that have no address.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::count::Counter;
use crate::harness::{Case, Check};
use crate::outbound::REGISTRY_ONLY;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: hosts: at an address that the mesh does not know, the host of a request says which service it is for",
        check: Check::Http(by_host),
    },
    Case {
        name: "http: hosts: a wildcard of resolution NONE has rules, and goes to the address that was dialled",
        check: Check::Http(wildcard),
    },
    Case {
        name: "http: hosts: a wildcard of resolution DYNAMIC_DNS goes to the address that its host has",
        check: Check::OwnHttp(dynamic),
    },
];

/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);
/// Ports that no service of the mesh has, one for each case.
const BY_HOST: u16 = 8101;
const WILDCARD: u16 = 8102;
const DYNAMIC: u16 = 8103;

/// Serves http-echo in a place.
fn serve(place: &Place, port: u16) -> Result<Program> {
    let program = binary("weir-test-app")?.display().to_string();
    let (pod, service) = (format!("--pod={}", place.name()), format!("http-echo:{port}"));
    let mut server = place.spawn(&[&*program, "serve", &pod, &service])?;
    server.listens_on(port)?;
    Ok(server)
}

/// A ServiceEntry of the namespace shop.
fn entry(host: &str, port: u16, more: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: outside-{port}, namespace: shop}}\nspec:\n  hosts: \
         ['{host}']\n  location: MESH_EXTERNAL\n  ports: [{{number: {port}, name: http, protocol: HTTP}}]\n  {more}\n"
    )
}

/// What a request to an address with a host is answered.
fn ask(mesh: &HttpMesh, address: IpAddr, port: u16, host: &str, path: &str) -> Result<Answer> {
    mesh.version("v1").ask_at(address, port, path, &["-H", &format!("Host: {host}")])
}

fn comes_to(
    mesh: &HttpMesh,
    what: &str,
    ask: impl Fn() -> Result<Answer>,
    status: u16,
    pod: Option<&str>,
) -> Result<()> {
    wait::until(what, DELIVERED, || {
        let answer = ask()?;
        ensure!(answer.status == status && answer.pod() == pod, "expected {status} from {pod:?}: {answer:?}");
        Ok(())
    })
    .with_context(|| mesh.logs())
}

fn by_host(mesh: &HttpMesh) -> Result<()> {
    let (dialled, named) = (mesh.world.nodes[N2].pod("dialled")?, mesh.world.nodes[N1].pod("named")?);
    let _servers = [serve(&dialled.place, BY_HOST)?, serve(&named.place, BY_HOST)?];
    let host = "by-host.example";
    let address = dialled.ipv4();
    let to = |host: &'static str| move || ask(mesh, address, BY_HOST, host, "/");
    let endpoints = format!("resolution: DNS\n  endpoints: [{{address: {}}}]", named.ipv4());
    let _entry = mesh.control_plane.objects.put_for_now("by-host", &entry(host, BY_HOST, &endpoints))?;
    comes_to(mesh, "the host names the service", to(host), 200, Some("named"))?;
    let passing = [("destination_service_name", "PassthroughCluster"), ("response_code", "200")];
    let passed = Counter::of(mesh.agent_of(&mesh.client), "istio_requests_total", &passing)?;
    to("other.example")()?.expect(200, Some("dialled"))?;
    passed.grows_by_exactly(1.0)?;
    let _policy = mesh.control_plane.objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
    comes_to(mesh, "other hosts are blocked", to("other.example"), 502, None)?;
    to(host)()?.expect(200, Some("named"))
}

fn wildcard(mesh: &HttpMesh) -> Result<()> {
    let outside = mesh.world.nodes[N2].pod("wild")?;
    let _server = serve(&outside.place, WILDCARD)?;
    let _entry =
        mesh.control_plane.objects.put_for_now("wild", &entry("*.wild.example", WILDCARD, "resolution: NONE"))?;
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: wild, namespace: shop}\nspec:\n  hosts: \
                 ['*.wild.example']\n  http:\n  - match: [{uri: {prefix: /direct}}]\n    directResponse: {status: 299}\n  - route: \
                 [{destination: {host: '*.wild.example'}}]\n";
    let _route = mesh.control_plane.objects.put_for_now("wild-route", route)?;
    let address = outside.ipv4();
    let to = |host: &'static str, path: &'static str| move || ask(mesh, address, WILDCARD, host, path);
    comes_to(mesh, "a rule counts", to("a.wild.example", "/direct"), 299, None)?;
    to("b.a.wild.example", "/")()?.expect(200, Some("wild"))?;
    to("wild.example", "/direct")()?.expect(200, Some("wild"))?;
    let _policy = mesh.control_plane.objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
    comes_to(mesh, "other hosts are blocked", to("wild.example", "/direct"), 502, None)?;
    to("a.wild.example", "/")()?.expect(200, Some("wild"))
}

fn dynamic(mesh: &mut HttpMesh) -> Result<()> {
    let outside = mesh.world.nodes[N2].pod("dynamic")?;
    let _server = serve(&outside.place, DYNAMIC)?;
    let hosts = mesh.world.run().folder().join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n{} a.dynamic.example\n", outside.ipv4()))?;
    let mounted = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    let agent = &mut mesh.agents[N1];
    agent.run_under(["unshare", "--mount", "--propagation", "slave", "sh", "-c", &mounted].map(str::to_owned));
    agent.restart()?;
    let mesh = &*mesh;
    let yaml = entry("*.dynamic.example", DYNAMIC, "resolution: DYNAMIC_DNS");
    let _entry = mesh.control_plane.objects.put_for_now("dynamic", &yaml)?;
    // Nobody is there: only the host says where to go.
    let nobody: IpAddr = "203.0.113.7".parse()?;
    comes_to(
        mesh,
        "the host is looked up",
        || ask(mesh, nobody, DYNAMIC, "a.dynamic.example", "/"),
        200,
        Some("dynamic"),
    )
}
