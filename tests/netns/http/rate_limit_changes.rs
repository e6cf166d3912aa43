//! Rate limits that change while connections are kept, and the first one of a pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::http_mesh::HttpMesh;
use weir_tests::wait;

use super::from_kubernetes::joined;
use super::rate_limits::{V2, are_gone, limits, number};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rate limit: a change reaches kept connections, and what was used stays used",
        check: Check::Http(changes),
    },
    Case {
        name: "rate limit: a connection from before the first limit does not go on past it",
        check: Check::Http(from_before),
    },
    Case {
        name: "rate limit: an object that is not valid is told, and the last valid one goes on",
        check: Check::Http(invalid),
    },
    Case {
        name: "rate limit: objects come from the API server where the agent is told so",
        check: Check::OwnHttp(from_kubernetes),
    },
];

/// Where http-echo serves in a pod.
const ECHO: u16 = 8080;

fn changes(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let spec = |path: &str, requests: u32, status: u16| {
        let rules = format!("[{{to: [{{operation: {{paths: [{path}]}}}}]}}]");
        format!(
            "limits: [{{name: few, match: {rules}, local: {{requests: {requests}, per: hour}}}}], response: {{status: {status}}}"
        )
    };
    std::mem::forget(limits(mesh, &["v2"], V2, &spec("/none", 5, 429))?);
    for (port, more) in [(80, &["--connections=4"][..]), (8081, &["--http2", "--streams=4"])] {
        let mut load = service.start_load(port, &[more, &["--rate=200", "--target=/few"]].concat())?;
        std::mem::forget(limits(mesh, &["v2"], V2, &spec("/few", 5, 429))?);
        service.comes_to("the change is in force", "/few", &[], |answer| answer.status == 429)?;
        load.goes_on(Duration::from_millis(300))?;
        // What is changed besides the rate gives no request back.
        std::mem::forget(limits(mesh, &["v2"], V2, &spec("/few", 5, 418))?);
        service.comes_to("the next change is in force", "/few", &[], |answer| answer.status == 418)?;
        std::mem::forget(limits(mesh, &["v2"], V2, &spec("/none", 5, 429))?);
        service.comes_to("the last change is in force", "/few", &[], |answer| answer.status == 200)?;
        load.goes_on(Duration::from_millis(300))?;
        let seen = load.end()?;
        let count = |status| seen.statuses.get(&status).copied().unwrap_or_default();
        ensure!(seen.failed == 0 && count(429) > 20 && count(418) > 0, "port {port}: {seen:?}");
        ensure!(seen.connections <= 4, "connections were not kept: {seen:?}");
    }
    let _last = limits(mesh, &["v2"], V2, &spec("/few", 5, 418))?;
    let answer = service.comes_to("it is as used up as before", "/few", &[], |answer| answer.status == 418)?;
    ensure!(number(&answer, "x-ratelimit-remaining")? == 0, "{answer:?}");
    Ok(())
}

/// A client that keeps one connection, and says how it ends.
const KEEPING: &str = r#"
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(b"GET /first HTTP/1.1\r\nHost: v2\r\n\r\n")
received = b""
while b"\r\n\r\n" not in received:
    received += client.recv(4096) or sys.exit("no answer")
print("open", flush=True)
try:
    while client.recv(4096):
        pass
    print("ended", flush=True)
except ConnectionResetError:
    print("reset", flush=True)
"#;

fn from_before(mesh: &HttpMesh) -> Result<()> {
    are_gone(mesh, &["v2", "v3"])?;
    let keep = |version: &str| {
        let address = mesh.pod(version).ipv4().to_string();
        mesh.client.place.spawn(&["python3", "-c", KEEPING, &address, &ECHO.to_string()])
    };
    let (limited, mut other) = (keep("v2")?, keep("v3")?);
    wait::until("both are open", Duration::from_secs(10), || {
        ensure!([&limited, &other].iter().all(|one| one.stdout().contains("open")), "one waits");
        Ok(())
    })?;
    let every = limits(mesh, &["v2"], V2, "limits: [{name: all, local: {requests: 1000, per: second}}]")?;
    wait::until("the connection to the limited pod ends", Duration::from_secs(10), || {
        ensure!(
            limited.stdout().contains("ended") || limited.stdout().contains("reset"),
            "it goes on: {}",
            limited.tail()
        );
        Ok(())
    })?;
    ensure!(other.is_running() && other.stdout().trim() == "open", "the other one ended: {}", other.tail());
    drop(every);
    are_gone(mesh, &["v2"])
}

fn invalid(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    std::mem::forget(limits(mesh, &["v2"], V2, "limits: [{name: none, local: {requests: 1, per: hour}}]")?);
    service.comes_to("it is used up", "/", &[], |answer| answer.status == 429)?;
    let agent = mesh.agent_of(mesh.pod("v2"));
    let bad = limits(mesh, &["v2"], V2, "limits: [{name: none, local: {requests: 1, per: hour, brust: 5}}]")?;
    wait::until("what is wrong is told", Duration::from_secs(10), || {
        let log = mesh.control_plane.tail();
        ensure!(log.contains("spec.limits[0].local.brust"), "nothing is told: {log}");
        Ok(())
    })?;
    ensure!(service.ask("/", &[])?.status == 429, "the last valid one is gone");
    let status = agent.weir(&["status", "--config"])?.stdout;
    ensure!(status.contains("3 of 3 objects count as they are"), "{status}");
    drop(bad);
    are_gone(mesh, &["v2"])
}

fn from_kubernetes(mesh: &mut HttpMesh) -> Result<()> {
    const VERSION: &str = "weir.dev/v1alpha1";
    let kubernetes = joined(mesh, &["weir.dev/v1alpha1/ratelimits/RateLimit"])?;
    let (service, agent) = (mesh.version("v1"), mesh.agent_of(mesh.pod("v1")));
    let limit =
        |local| json!({"selector": {"matchLabels": {"app": "v1"}}, "limits": [{"name": "few", "local": local}]});
    kubernetes.object(VERSION, "RateLimit", "shop", "few", &limit(json!({"requests": 1, "per": "hour"})))?;
    service.comes_to("the limit is in force and used up", "/", &[], |answer| answer.status == 429)?;
    let before = agent.log().len();
    kubernetes.object(VERSION, "RateLimit", "shop", "few", &limit(json!({"requests": 0, "per": "hour"})))?;
    agent.logs_line(before, &["an object was rejected", "shop/few", "spec.limits[0].local.requests"])?;
    ensure!(service.ask("/", &[])?.status == 429, "the last valid one is gone");
    kubernetes.remove_object("RateLimit", "shop", "few")?;
    service.comes_to("no limit counts any more", "/", &[], |answer| answer.status == 200).map(drop)
}
