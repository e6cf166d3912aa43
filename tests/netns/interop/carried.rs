//! What is carried between Weir and Envoy, either way: what applications say and see must be what it is without both.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use weir_tests::agent::binary;
use weir_tests::envoy::Envoy;
use weir_tests::envoy::bootstrap::{self, Http2, PAGE, PAGES};
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::authorization_policy;
use weir_tests::test_app::{self, BANNER, Bulk, ECHO, RESET, SINK, SOURCE};
use weir_tests::wait;

use super::setup::{FromEnvoy, OWN_PORT, ToEnvoy, Way};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "interop: to Envoy, HTTP/1.1 on kept connections and HTTP/2",
        check: Check::Mesh(|mesh| to(mesh, http)),
    },
    Case { name: "interop: to Envoy, whoever speaks first", check: Check::Mesh(|mesh| to(mesh, who_speaks_first)) },
    Case {
        name: "interop: to Envoy, a client that ends first",
        check: Check::Mesh(|mesh| to(mesh, client_ends_first)),
    },
    Case {
        name: "interop: to Envoy, a server that ends first is read to its end",
        check: Check::Mesh(|mesh| to(mesh, read_to_its_end)),
    },
    Case { name: "interop: to Envoy, a server that resets", check: Check::Mesh(|mesh| to(mesh, server_resets)) },
    Case {
        name: "interop: to Envoy, 1 GiB there and 1 GiB back, bit for bit",
        check: Check::Mesh(|mesh| to(mesh, bulk)),
    },
    Case {
        name: "interop: to Envoy, 64 MiB each way through the smallest windows",
        check: Check::Mesh(|mesh| ToEnvoy::run(mesh, &smallest_windows(), |setup| less_bulk(setup.way()))),
    },
    Case {
        name: "interop: to Envoy, servers that do not read stop no further connection",
        check: Check::Mesh(|mesh| ToEnvoy::run(mesh, &smallest_windows(), |setup| unread(setup.way()))),
    },
    Case { name: "interop: from Envoy, HTTP/1.1 on kept connections and HTTP/2", check: Check::Mesh(http_from_envoy) },
    Case {
        name: "interop: from Envoy, requests that policy decides about one by one",
        check: Check::Mesh(judged_from_envoy),
    },
    Case { name: "interop: from Envoy, whoever speaks first", check: Check::Mesh(|mesh| from(mesh, who_speaks_first)) },
    Case {
        name: "interop: from Envoy, a client that ends first",
        check: Check::Mesh(|mesh| from(mesh, client_ends_first)),
    },
    Case {
        name: "interop: from Envoy, a server that ends first is read to its end",
        check: Check::Mesh(|mesh| from(mesh, read_to_its_end)),
    },
    Case {
        name: "interop: from Envoy, a client goes on after its server has ended",
        check: Check::Mesh(|mesh| from(mesh, client_goes_on)),
    },
    Case { name: "interop: from Envoy, a server that resets", check: Check::Mesh(|mesh| from(mesh, server_resets)) },
    Case {
        name: "interop: from Envoy, 1 GiB there and 1 GiB back, bit for bit",
        check: Check::Mesh(|mesh| from(mesh, bulk)),
    },
    Case {
        name: "interop: from Envoy, 64 MiB each way through the smallest windows",
        check: Check::Mesh(|mesh| less_bulk(FromEnvoy::start(mesh, &smallest_windows())?.way())),
    },
];

const GIB: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(180);

fn to(mesh: &Mesh, check: fn(Way<'_>) -> Result<()>) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| check(setup.way()))
}

fn from(mesh: &Mesh, check: fn(Way<'_>) -> Result<()>) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    check(setup.way()).map_err(|error| anyhow!("{error:#}\nEnvoy says {:?}", setup.envoy.words()))
}

/// What RFC 9113 starts with, and the least that Envoy can be told.
fn smallest_windows() -> Http2 {
    let options = json!({ "initial_stream_window_size": 65_535, "initial_connection_window_size": 65_535 });
    Http2 { options, ..Http2::default() }
}

/// Envoy does not give back the connection's window while the readers of its streams are slow.
fn unread(way: Way<'_>) -> Result<()> {
    let listener =
        format!("import socket,time\ns=socket.create_server(('0.0.0.0',{OWN_PORT}),backlog=100)\ntime.sleep(600)");
    let mut server = way.server.spawn(&["python3", "-c", &listener])?;
    server.listens_on(OWN_PORT)?;
    let (program, to) = (binary("weir-test-app")?.display().to_string(), way.to(OWN_PORT).to_string());
    let uploads = way.client.spawn(&[&*program, "paused", &to, "--count", "24", "--upload"])?;
    wait::until("no server takes any more", Duration::from_secs(20), || {
        ensure!(uploads.stdout().contains("open"), "they say {}", uploads.tail());
        Ok(())
    })?;
    let echo = way.to(ECHO);
    let seen = test_app::probe(way.client, echo.ip(), echo.port(), "abc")?;
    ensure!(seen.received == "abc", "another connection carried {:?}: {seen:?}", seen.received);
    Ok(())
}

/// In `far` there is no server that speaks both, so Envoy is one.
fn http_from_envoy(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let _pages = Envoy::start(&mesh.far.place, mesh.world.run(), &bootstrap::pages())?;
    http(setup.way())
}

/// The same where the pod's agent reads each request.
fn judged_from_envoy(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let way = setup.way();
    let _pages = Envoy::start(&mesh.far.place, mesh.world.run(), &bootstrap::pages())?;
    let url = format!("http://{}/denied", way.to(PAGES));
    let is_answered = |what: &str, expected: &str| {
        wait::until(what, Duration::from_secs(10), || {
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let curl = ["curl", "-sS", "--max-time", "10", "-w", " %{http_code}", version, &url];
                let said = way.client.run(&curl)?;
                ensure!(said == expected, "{version}: {said:?}");
            }
            Ok(())
        })
    };
    {
        let rules = "[{to: [{operation: {paths: [/denied]}}]}]";
        let policy = authorization_policy("no-path", NAMESPACE, "far", "DENY", rules);
        let _policy = mesh.control_plane.objects.put_for_now("no-path", &policy)?;
        is_answered("the path is denied", "RBAC: access denied 403")?;
        http(way)?;
    }
    is_answered("the path is allowed again", &format!("{PAGE} 200"))
}

fn http(way: Way<'_>) -> Result<()> {
    let url = format!("http://{}/", way.to(PAGES));
    let curl = ["curl", "-sS", "--max-time", "10"];
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        ensure!(way.client.run(&[&curl[..], &[flag, &url]].concat())? == PAGE, "{url} with {flag}");
    }
    // Over HTTP/2 h2load does this: some versions of curl fail at it, also without a mesh.
    let twice = ["-w", "%{num_connects}\n", "-o", "/dev/null", &url, "-o", "/dev/null", &url, "--http1.1"];
    let kept = way.client.run(&[&curl[..], &twice].concat())?;
    ensure!(kept == "1\n0\n", "two requests on one connection: {kept:?}");
    for flags in [&["--h1"][..], &["-m", "10"]] {
        let load = [&["h2load", "-n", "5000", "-c", "10"][..], flags, &[&url]].concat();
        let said = way.client.run_within(PATIENCE, &load)?;
        let all = "5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout";
        ensure!(said.contains(all), "{load:?} says {said}");
        let rate = said.lines().find_map(|line| line.strip_prefix("finished in ")).unwrap_or("?");
        note(format!("{}: {rate}", load[..load.len() - 1].join(" ")));
    }
    Ok(())
}

fn who_speaks_first(way: Way<'_>) -> Result<()> {
    let (echo, banner) = (way.to(ECHO), way.to(BANNER));
    test_app::echoes(way.client, echo.ip(), echo.port())?;
    let seen = test_app::probe(way.client, banner.ip(), banner.port(), "")?;
    ensure!(seen.received == "220 ready\r\n" && seen.end == "open", "{seen:?}");
    Ok(())
}

fn client_ends_first(way: Way<'_>) -> Result<()> {
    let to = way.to(SINK).to_string();
    let sent: Bulk = test_app::client(way.client, Duration::from_secs(20), &["upload", &to, "1000003"])?;
    ensure!(sent.bytes == 1_000_003 && sent.exact, "{sent:?}");
    Ok(())
}

/// A server that sends a million bytes, ends its side, and counts what comes.
const ENDS_FIRST: &str = "\
import socket,sys
s,_=socket.create_server(('0.0.0.0',int(sys.argv[1]))).accept()
s.sendall(b'y'*1000003); s.shutdown(socket.SHUT_WR); n=0
while (part:=s.recv(65536)): n+=len(part)
print(n,flush=True)";

/// Its client: reads to the end, then sends as much as it is told.
const READS_FIRST: &str = "\
import socket,sys
s=socket.create_connection((sys.argv[1],int(sys.argv[2])),20); n=0
while (part:=s.recv(65536)): n+=len(part)
assert n==1000003,n
s.sendall(b'x'*int(sys.argv[3]))
print('read',flush=True)";

/// What Envoy does when the answer of a CONNECT ends before the request is to end both: so nothing is sent after it.
fn read_to_its_end(way: Way<'_>) -> Result<()> {
    server_ends_first(way, 0)
}

fn client_goes_on(way: Way<'_>) -> Result<()> {
    server_ends_first(way, 1_000_007)
}

fn server_ends_first(way: Way<'_>, sent_after: u32) -> Result<()> {
    let mut server = way.server.spawn(&["python3", "-c", ENDS_FIRST, &OWN_PORT.to_string()])?;
    server.listens_on(OWN_PORT)?;
    let to = way.to(OWN_PORT);
    let (ip, port, sent) = (to.ip().to_string(), to.port().to_string(), sent_after.to_string());
    way.client.run(&["python3", "-c", READS_FIRST, &ip, &port, &sent])?;
    let counted = server.finish(Duration::from_secs(10))?;
    ensure!(counted.stdout == format!("{sent}\n"), "the server counted {}", counted.summary());
    Ok(())
}

fn server_resets(way: Way<'_>) -> Result<()> {
    let to = way.to(RESET);
    let seen = test_app::probe(way.client, to.ip(), to.port(), "x")?;
    ensure!(seen.end == "ConnectionReset", "{seen:?}");
    Ok(())
}

/// Clients here are done asking before the answer begins: Envoy cuts off what it has not sent yet when a server ends before
/// its client.
fn bulk(way: Way<'_>) -> Result<()> {
    for (act, port) in [("upload", SINK), ("fetch", SOURCE)] {
        stream(way, act, port, GIB)?;
    }
    Ok(())
}

fn less_bulk(way: Way<'_>) -> Result<()> {
    for (act, port) in [("upload", SINK), ("fetch", SOURCE), ("echo", ECHO)] {
        stream(way, act, port, GIB / 16)?;
    }
    Ok(())
}

fn stream(way: Way<'_>, act: &str, port: u16, bytes: u64) -> Result<()> {
    let bulk: Bulk = test_app::client(way.client, PATIENCE, &[act, &way.to(port).to_string(), &bytes.to_string()])?;
    ensure!(bulk.bytes == bytes && bulk.exact, "{act}: {bulk:?}");
    note(format!("{act} of {} MiB: {:.2} GB/s", bytes >> 20, bytes as f64 / bulk.seconds / 1e9));
    Ok(())
}
