//! Policies about requests that change while connections are kept and requests are under way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::wait;

use super::inbound::{comes_to, policy};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http policy: a change reaches the next request of a kept connection, and none of them fails",
        check: Check::Http(kept),
    },
    Case {
        name: "http policy: a change ends streams and upgrades that it no longer allows, and no others",
        check: Check::Http(under_way),
    },
];

/// By when a change must have ended what it no longer allows.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(10);

fn kept(mesh: &HttpMesh) -> Result<()> {
    ["v2", "v1"].into_iter().try_for_each(|version| kept_to(mesh, version).context(version))
}

fn kept_to(mesh: &HttpMesh, version: &str) -> Result<()> {
    let service = mesh.version(version);
    let _none = policy(mesh, version, "DENY", "[{to: [{operation: {paths: [/marked]}}]}]")?;
    comes_to(&service, "/marked", 403)?;
    for (port, more) in
        [(80, &["--connections=4"][..]), (8082, &["--connections=4"]), (8081, &["--http2", "--streams=4"])]
    {
        let mut load = service.start_load(port, &[more, &["--rate=400", "--target=/load"]].concat())?;
        load.goes_on(Duration::from_millis(300))?;
        std::mem::forget(policy(mesh, version, "DENY", "[{to: [{operation: {paths: [/load, /marked]}}]}]")?);
        comes_to(&service, "/load", 403)?;
        load.goes_on(Duration::from_millis(300))?;
        std::mem::forget(policy(mesh, version, "DENY", "[{to: [{operation: {paths: [/marked]}}]}]")?);
        comes_to(&service, "/load", 200)?;
        load.goes_on(Duration::from_millis(300))?;
        let seen = load.end()?;
        let count = |status| seen.statuses.get(&status).copied().unwrap_or_default();
        ensure!(seen.failed == 0 && count(200) > 100 && count(403) > 50, "port {port}: {seen:?}");
        ensure!(count(200) + count(403) == seen.answered && seen.connections <= 4, "port {port}: {seen:?}");
    }
    Ok(())
}

/// A client that upgrades its connection, says so, and then waits for its end.
pub(super) const UPGRADING: &str = r#"
import socket, sys
address, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = socket.create_connection((address, port))
client.sendall(f"GET {path} HTTP/1.1\r\nHost: v2\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode())
head = b""
while b"\r\n\r\n" not in head:
    head += client.recv(4096) or sys.exit("no answer")
assert head.startswith(b"HTTP/1.1 101"), head
client.sendall(b"hello")
received = b""
while len(received) < 5:
    received += client.recv(4096) or sys.exit("no echo")
print("open", flush=True)
try:
    print("ended" if client.recv(4096) == b"" else "bytes", flush=True)
except ConnectionResetError:
    print("reset", flush=True)
"#;

fn under_way(mesh: &HttpMesh) -> Result<()> {
    ["v2", "v1"].into_iter().try_for_each(|version| under_way_to(mesh, version).context(version))
}

fn under_way_to(mesh: &HttpMesh, version: &str) -> Result<()> {
    let service = mesh.version(version);
    let _none = policy(mesh, version, "DENY", "[{to: [{operation: {paths: [/marked]}}]}]")?;
    comes_to(&service, "/marked", 403)?;
    let vip = service.vip().to_string();
    let upgraded = |path: &str| mesh.client.place.spawn(&["python3", "-c", UPGRADING, &vip, "80", path]);
    let streaming = |path: &str, version: &str| {
        let url = format!("http://{vip}:8082{path}?stream=100000&pause_ms=20");
        mesh.client.place.spawn(&["curl", "-sSN", version, "--max-time", "60", &url])
    };
    let kinds = ["--http1.1", "--http2-prior-knowledge"];
    let ending = [upgraded("/a/socket")?, streaming("/a", kinds[0])?, streaming("/a", kinds[1])?];
    let mut going_on = [upgraded("/b/socket")?, streaming("/b", kinds[0])?, streaming("/b", kinds[1])?];
    wait::until("all of them are under way", Duration::from_secs(10), || {
        let silent = ending.iter().chain(&going_on).find(|one| one.stdout().is_empty());
        ensure!(silent.is_none(), "one waits: {:?}", silent.map(|one| one.tail()));
        Ok(())
    })?;
    let _change = policy(mesh, version, "DENY", "[{to: [{operation: {paths: [/marked, /a, \"/a/*\"]}}]}]")?;
    for (mut one, what) in ending.into_iter().zip(["the upgrade", "the stream", "the stream of HTTP/2"]) {
        wait::until(&format!("{what} ends"), ENDS_WITHIN, || {
            ensure!(!one.is_running(), "it goes on: {}", one.tail());
            Ok(())
        })?;
    }
    for one in &mut going_on {
        wait::throughout("what is allowed goes on", Duration::from_millis(500), || {
            ensure!(one.is_running() && !one.stdout().contains("ended"), "it ended: {}", one.tail());
            Ok(())
        })?;
    }
    Ok(())
}
