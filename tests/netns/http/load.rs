//! What happens to requests that are under way when something changes: pods die, routes change, clients and servers leave.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::http_mesh::{self, HttpMesh, HttpSeen, VERSIONS};
use weir_tests::wait;
use weir_tests::world::N1;

use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: routes change under load, and no request fails", check: Check::Http(route_changes) },
    Case {
        name: "http: a pod is taken out of its service under load, and no request fails",
        check: Check::Http(endpoint_leaves),
    },
    Case {
        name: "http: a server process dies under load: what can be sent elsewhere is",
        check: Check::OwnHttp(server_dies),
    },
    Case {
        name: "http: connections that a server closes while they are idle cost no request",
        check: Check::Http(idle_close),
    },
    Case { name: "http: a client that leaves ends its request at the server", check: Check::Http(client_leaves) },
    Case { name: "http: readers that stand still hold up nobody else", check: Check::Http(paused_readers) },
    Case {
        name: "http: a request that the end of a drain cuts off is not told as left by its client",
        check: Check::Alone(drain_ends),
    },
    Case {
        name: "limits: at its limit of HTTP/2 requests a pod is answered 503, another is not",
        check: Check::Alone(too_many_streams),
    },
    Case { name: "http: many connections and many requests, all exact", check: Check::Http(many) },
];

/// How long a load goes on before and after what happens to it.
const AROUND: Duration = Duration::from_millis(500);

fn route_changes(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("changing")?;
    answered_by(&service, &VERSIONS)?;
    let mut load = service.start_load(80, &["--connections=8"])?;
    for version in VERSIONS {
        let _route = service.http_route(&format!("[{{backendRefs: [{{name: {version}, port: 80}}]}}]"))?;
        answered_by(&service, &[version])?;
    }
    answered_by(&service, &VERSIONS)?;
    load.goes_on(AROUND)?;
    let seen = load.end()?;
    note(format!("{} requests, {} failed, during 4 changes", seen.answered, seen.failed));
    seen.all_are(200)?;
    ensure!(VERSIONS.iter().all(|version| seen.by(version) > 0), "{seen:?}");
    Ok(())
}

fn endpoint_leaves(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("leaving")?;
    answered_by(&service, &VERSIONS)?;
    let mut load = service.start_load(80, &["--connections=8"])?;
    {
        let _resting = mesh.relabel("v3", &[("app", "resting"), ("version", "v3")])?;
        answered_by(&service, &["v1", "v2"])?;
    }
    answered_by(&service, &VERSIONS)?;
    load.goes_on(AROUND)?;
    let seen = load.end()?;
    note(format!("{} requests, {} failed", seen.answered, seen.failed));
    seen.all_are(200)
}

/// Requests that were with the server when it died are lost, unless they may be sent again: a connection that ends without a
/// response is such a case where the policy says so.
fn server_dies(mesh: &mut HttpMesh) -> Result<()> {
    {
        let service = mesh.service("dying")?;
        let _route = service.virtual_service(
            "[{match: [{uri: {exact: /ready}}], directResponse: {status: 299}}, {route: [{destination: {host: dying}}], \
              retries: {attempts: 4, retryOn: 'connect-failure,reset,503'}}]",
        )?;
        service.comes_to("the route counts", "/ready", &[], |answer| answer.status == 299)?;
        let mut load = service.start_load(80, &["--connections=8"])?;
        load.goes_on(AROUND)?;
        let victim = mesh.servers.iter().zip(VERSIONS).find(|(_, name)| *name == "v2").expect("v2 serves").0;
        victim.signal(Signal::SIGKILL)?;
        answered_by(&service, &["v1", "v3"])?;
        load.goes_on(AROUND)?;
        let seen = load.end()?;
        note(format!("{} requests, {} failed, the slowest took {:.0} ms", seen.answered, seen.failed, seen.slowest_ms));
        seen.all_are(200)?;
    }
    let again = http_mesh::serve(&mesh.pod("v2").place)?;
    mesh.servers.push(again);
    wait::until("v2 serves again", Duration::from_secs(10), || {
        mesh.version("v2").ask("/", &[])?.expect(200, Some("v2"))
    })
}

fn idle_close(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    // The server closes right after each response, without a word, as the next request is on its way.
    let seen = service.load(80, &["--requests=200", "--target=/?idle_close_ms=0", "--pause-ms=3"])?;
    seen.all_are(200)?;
    ensure!(seen.connections == 1, "the client's connection ended with the server's: {seen:?}");
    Ok(())
}

fn client_leaves(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let established = || -> Result<usize> {
        let sockets = mesh.pod("v2").place.run(&["ss", "-Htn", "state", "established", "sport", "=", ":8080"])?;
        Ok(sockets.lines().count())
    };
    let before = established()?;
    let output = service.curl("/?stream=1000&pause_ms=100&key=leaves", &["--max-time", "1"])?;
    ensure!(!output.success && output.stdout.contains("data: 1\n"), "{}", output.summary());
    wait::until("the server's connection has ended", Duration::from_secs(5), || {
        let now = established()?;
        ensure!(now <= before, "{now} are open, {before} were");
        Ok(())
    })
}

fn drain_ends() -> Result<()> {
    let mut mesh = HttpMesh::start_with("t", &["--drain-seconds=1"])?;
    let url = format!("http://{}/?delay_ms=60000&key=drain-ends", mesh.version("v2").vip());
    let _waiting = mesh.client.place.spawn(&["curl", "-sS", "--max-time", "60", &url])?;
    wait::until("the request has arrived", Duration::from_secs(10), || {
        ensure!(mesh.arrived("drain-ends")? == [0, 1, 0]);
        Ok(())
    })?;
    let log = mesh.agents[N1].stop(Duration::from_secs(20))?.stdout;
    let line = log.lines().find(|line| line.contains("key=drain-ends"));
    let line = line.with_context(|| format!("no line is about it:\n{log}"))?;
    ensure!(line.contains("response_flags=LR"), "{line}");
    Ok(())
}

fn too_many_streams() -> Result<()> {
    const HTTP2: u16 = 8081;
    let mesh = HttpMesh::start_with("t", &["--max-http-streams-per-pod=4"])?;
    let check = || {
        let service = mesh.version("v2");
        let slow = ["--http2", "--connections=2", "--streams=4", "--pause-ms=20", "--target=/?delay_ms=200"];
        let load = service.start_load(HTTP2, &slow)?;
        let bystander = mesh.pod("v1");
        let to = SocketAddr::new(service.vip(), HTTP2).to_string();
        let host = format!("--host={}", service.host());
        let arguments = [&to, &host, "--http2", "--streams=2", "--requests=100"].map(str::to_owned);
        HttpSeen::of(&bystander.place, &arguments)?.all_are(200).context("another pod of the node")?;
        let seen = load.end()?;
        let refused = seen.statuses.get(&503).copied().unwrap_or_default();
        ensure!(refused > 0 && seen.by("v2") > 0 && seen.failed == 0, "{seen:?}");
        let times =
            mesh.agent_of(&mesh.client).metrics()?.sum("weir_limit_reached_total", &[("limit", "http_streams")]);
        ensure!(times >= 1.0, "the limit was reached {times} times");
        service.load(HTTP2, &["--http2", "--streams=4", "--requests=40"])?.all_are(200)
    };
    check().with_context(|| mesh.logs())
}

/// A client that asks for much and reads nothing.
const PAUSED: &str = "import socket,sys,time
kept=[]
for _ in range(int(sys.argv[3])):
  s=socket.create_connection((sys.argv[1],80)); s.sendall(b'GET /?size=50000000 HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' % sys.argv[2].encode()); kept.append(s)
print('asked',flush=True)
time.sleep(600)";

fn paused_readers(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let command = ["python3", "-c", PAUSED, &service.vip().to_string(), &service.host(), "32"];
    let paused = mesh.client.place.spawn(&command)?;
    wait::until("all have asked", Duration::from_secs(10), || {
        ensure!(paused.stdout().contains("asked"), "{}", paused.tail());
        Ok(())
    })?;
    let seen = service.load(80, &["--requests=300", "--target=/?size=10000"])?;
    note(format!("300 requests beside 32 paused readers: the slowest took {:.0} ms", seen.slowest_ms));
    seen.all_are(200)?;
    for agent in &mesh.agents {
        let held = agent.resident_bytes()? >> 20;
        ensure!(held < 400, "an agent holds {held} MiB");
    }
    Ok(())
}

fn many(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("many")?;
    answered_by(&service, &VERSIONS)?;
    let address = SocketAddr::new(service.vip(), 80);
    for (port, arguments) in [
        (80, &["--connections=64", "--requests=3000", "--bytes=300", "--target=/?size=2000"][..]),
        (80, &["--connections=8", "--requests=600", "--reconnect", "--target=/?size=2000"]),
    ] {
        let seen = service.load(port, arguments)?;
        seen.all_are(200).with_context(|| format!("{address}: {arguments:?}"))?;
        ensure!(seen.bytes == seen.answered * 2000, "{seen:?}");
    }
    Ok(())
}
