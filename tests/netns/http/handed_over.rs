//! Requests between two pods of one node where the destination decides about each of them: they are handed over as they were read, so that
//! each message is parsed once, and all else is as for requests that travel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::objects::ForNow;
use weir_tests::tokens::SigningKey;
use weir_tests::wait;
use weir_tests::world::N1;

use super::carriage::{HTTP, bodies, forged_fields_are_unread, leaves_and_resets, messages, parsed};
use super::inbound::{comes_to, decided_about, is_denied, policy};
use super::inbound_changes::ENDS_WITHIN;
use super::same_node::{is_linked, stays_within};
use super::streams;
use super::tokens::{ISSUER, authentication, bearer, rule};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http same node: what its destination decides about is parsed once, in each version of HTTP, denied or not",
        check: Check::Http(parsed_once),
    },
    Case {
        name: "http same node: what is decided about passes with bodies, trailers and interim responses, and upgrades",
        check: Check::Http(transparent),
    },
    Case {
        name: "http same node: as policies come and go each message is parsed once, and requests are answered",
        check: Check::Http(follows_policy),
    },
    Case {
        name: "http same node: a change of policy ends the requests that it no longer allows, and no others",
        check: Check::Http(under_way),
    },
    Case {
        name: "http same node: whoever leaves or resets what is decided about ends its own request alone",
        check: Check::Http(resets),
    },
    Case {
        name: "http same node: a side that does not read holds the other one where requests are decided about, too",
        check: Check::OwnHttp(stalled),
    },
    Case {
        name: "http same node: what is decided about counts among what a pod may have inbound, and beyond that is answered 503",
        check: Check::Alone(limited),
    },
];

/// Requests to `v1` stay within the client's agent, which decides about each.
fn decided_within(mesh: &HttpMesh) -> Result<ForNow<'_>> {
    is_linked(mesh)?;
    decided_about(mesh, "v1")
}

/// Which heads the agent of both pods parses meanwhile: requests and responses of HTTP/1, and of HTTP/2. None of another kind.
fn parse_meanwhile(mesh: &HttpMesh, happens: impl FnOnce() -> Result<()>) -> Result<[f64; 4]> {
    let agent = &mesh.agents[N1];
    let before = parsed(agent, &HTTP)?;
    stays_within(mesh, happens)?;
    let after = parsed(agent, &HTTP)?;
    Ok([0, 1, 2, 3].map(|kind| after[kind] - before[kind]))
}

/// Has each request be parsed once, but for so many, and none but those that its client's side counts.
fn are_parsed_once(mesh: &HttpMesh, but: f64, happens: impl FnOnce() -> Result<()>) -> Result<()> {
    let agent = &mesh.agents[N1];
    let now = || -> Result<[f64; 2]> {
        let heads = parsed(agent, &HTTP)?;
        let counted = agent.metrics()?.sum("istio_requests_total", &[("reporter", "source")]);
        Ok([heads[0] + heads[2], counted])
    };
    let before = now()?;
    happens()?;
    let [heads, requests] = wait::until("all requests have ended", Duration::from_secs(10), || {
        let after = now()?;
        let [heads, requests] = [0, 1].map(|at| after[at] - before[at]);
        ensure!(heads >= requests && heads - requests <= but, "{heads} heads of {requests} requests were parsed");
        Ok([heads, requests])
    })?;
    note(format!("{requests} requests, {heads} heads of requests"));
    ensure!(requests > 0.0, "there were none");
    Ok(())
}

fn parsed_once(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v1");
    let _none = decided_within(mesh)?;
    let call = ["--http2", "--method=POST", "--field=content-type: application/grpc", "--field=te: trailers"];
    let call = [&call[..], &["--bytes=100", "--streams=16", "--target=/echo.Echo/Unary"]].concat();
    let http2 = &["--http2", "--streams=2"][..];
    let post = &["--method=POST", "--bytes=300001", "--target=/?size=70000"][..];
    let never = &["--target=/never"][..];
    for (what, port, more, status, expected) in [
        ("GET", 80, vec![], 200, [80.0, 80.0, 0.0, 0.0]),
        ("GET of HTTP/2", 8081, http2.to_vec(), 200, [0.0, 0.0, 80.0, 80.0]),
        ("GET of HTTP/1 to a port of HTTP/2", 8081, vec![], 200, [80.0, 0.0, 0.0, 80.0]),
        ("POST", 80, post.to_vec(), 200, [80.0, 80.0, 0.0, 0.0]),
        ("POST of HTTP/2", 8081, [http2, post].concat(), 200, [0.0, 0.0, 80.0, 80.0]),
        ("a call of gRPC", 9000, call, 200, [0.0, 0.0, 80.0, 80.0]),
        ("a denied GET", 80, never.to_vec(), 403, [80.0, 0.0, 0.0, 0.0]),
        ("a denied GET of HTTP/2", 8081, [http2, never].concat(), 403, [0.0, 0.0, 80.0, 0.0]),
    ] {
        let seen = parse_meanwhile(mesh, || {
            let seen = service.load(port, &[&["--requests=80", "--connections=4"][..], &more].concat())?;
            ensure!(port != 9000 || seen.grpc_statuses.get("0") == Some(&80), "{seen:?}");
            seen.all_are(status)
        });
        let seen = seen.context(what)?;
        ensure!(seen == expected, "{what}: {seen:?} were parsed");
    }
    // Responses that come before the final one are messages, too.
    let seen = parse_meanwhile(mesh, || messages(&service))?;
    ensure!(seen == [5.0, 7.0, 0.0, 0.0], "{seen:?} were parsed");
    let key = SigningKey::make("one")?;
    let token = bearer(&key.token(ISSUER, "a", &json!({"aud": "web"}))?);
    let other = bearer(&SigningKey::make("one")?.token(ISSUER, "a", &json!({"aud": "web"}))?);
    let _tokens = authentication(mesh, "v1", &format!("[{}]", rule(ISSUER, &key, "")))?;
    service.comes_to("tokens are verified", "/", &[&other], |answer| answer.status == 401)?;
    let seen = parse_meanwhile(mesh, || {
        service.ask("/", &[&token])?.expect(200, Some("v1"))?;
        service.ask("/", &[&other])?.expect(401, None)
    })?;
    ensure!(seen == [2.0, 1.0, 0.0, 0.0], "{seen:?} were parsed");
    Ok(())
}

fn transparent(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v1");
    let _none = decided_within(mesh)?;
    let (bulk, _server) = streams::served(mesh, "handed-over", "v1")?;
    are_parsed_once(mesh, 0.0, || {
        bodies(&service)?;
        // More clients than are remembered at first.
        service.load(80, &["--requests=1200", "--connections=300"])?.all_are(200)?;
        for port in &streams::PORTS {
            for bytes in ["-bytes=1000", "-bytes=30000000", "-bytes=30000001"] {
                mesh.client.place.run(&streams::command(&bulk, "bulk", port, &[bytes])?).context(port.name)?;
            }
        }
        Ok(())
    })?;
    forged_fields_are_unread(mesh, &service)?;
    let upgrade = format!(
        "GET /socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nall that follows comes back",
        service.host()
    );
    stays_within(mesh, || {
        let answer = Answer::parse(&service.raw(&upgrade)?.received)?;
        ensure!(answer.status == 101 && answer.body == "all that follows comes back", "{answer:?}");
        service.ask("/", &["-HAuthorization: Negotiate YII="])?.expect(200, Some("v1"))?;
        service.ask("/", &["--http1.0"])?.expect(200, Some("v1"))
    })
}

fn follows_policy(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v1");
    is_linked(mesh)?;
    // What crosses a change may come as bytes that are read by now.
    are_parsed_once(mesh, 12.0, || {
        let mut loads = [(80, &["--connections=4"][..]), (8081, &["--http2", "--streams=4"])]
            .into_iter()
            .map(|(port, more)| service.start_load(port, &[more, &["--rate=100"]].concat()))
            .collect::<Result<Vec<_>>>()?;
        for _ in 0..3 {
            let none = decided_about(mesh, "v1")?;
            loads.iter_mut().try_for_each(|load| load.goes_on(Duration::from_millis(300)))?;
            drop(none);
            comes_to(&service, "/never", 200)?;
            loads.iter_mut().try_for_each(|load| load.goes_on(Duration::from_millis(300)))?;
        }
        for load in loads {
            let seen = load.end()?;
            let count = |status| seen.statuses.get(&status).copied().unwrap_or_default();
            // Bytes that nobody has read end when requests begin to be decided about, and what is under way among them.
            ensure!(seen.failed == 0 && count(200) + count(503) == seen.answered, "{seen:?}");
            ensure!(count(200) > 10 * count(503), "{seen:?}");
        }
        Ok(())
    })
}

fn under_way(mesh: &HttpMesh) -> Result<()> {
    let (service, vip) = (mesh.version("v1"), mesh.version("v1").vip().to_string());
    let _none = decided_within(mesh)?;
    let streaming = |(port, version): (u16, &str), path: &str| {
        let url = format!("http://{vip}:{port}{path}?stream=100000&pause_ms=20");
        mesh.client.place.spawn(&["curl", "-sSN", version, "--max-time", "60", &url])
    };
    let kinds = [(80, "--http1.1"), (8081, "--http2-prior-knowledge")];
    let ending = [streaming(kinds[0], "/a")?, streaming(kinds[1], "/a")?];
    let mut going_on = [streaming(kinds[0], "/b")?, streaming(kinds[1], "/b")?];
    wait::until("all of them are under way", Duration::from_secs(10), || {
        let silent = ending.iter().chain(&going_on).find(|one| one.stdout().is_empty());
        ensure!(silent.is_none(), "one waits: {:?}", silent.map(|one| one.tail()));
        Ok(())
    })?;
    let _change = policy(mesh, "v1", "DENY", "[{to: [{operation: {paths: [/never, /a]}}]}]")?;
    for (mut one, kind) in ending.into_iter().zip(kinds) {
        wait::until("what is denied now ends", ENDS_WITHIN, || {
            ensure!(!one.is_running(), "{kind:?} goes on: {}", one.tail());
            Ok(())
        })?;
    }
    ensure!(is_denied(&service.ask("/a", &[])?), "it is not denied");
    for one in &mut going_on {
        wait::throughout("what is allowed goes on", Duration::from_millis(500), || {
            ensure!(one.is_running(), "it ended: {}", one.tail());
            Ok(())
        })?;
    }
    Ok(())
}

fn resets(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v1");
    let _none = decided_within(mesh)?;
    let mut bystander = service.start_load(80, &["--connections=4", "--rate=200"])?;
    stays_within(mesh, || leaves_and_resets(&service, mesh.pod("v1")))?;
    bystander.goes_on(Duration::from_millis(300))?;
    bystander.end()?.all_are(200)
}

fn stalled(mesh: &mut HttpMesh) -> Result<()> {
    let none = decided_within(mesh)?;
    std::mem::forget(none);
    stays_within(mesh, || streams::stalled_to(mesh, "v1"))
}

fn limited() -> Result<()> {
    ["--worker-threads=1", "--worker-threads=2"]
        .into_iter()
        .try_for_each(|workers| limited_with(workers).context(workers))
}

fn limited_with(workers: &str) -> Result<()> {
    let mesh = HttpMesh::start_with("t", &["--max-inbound-connections-per-pod=20", workers])?;
    let check = || -> Result<()> {
        let service = mesh.version("v1");
        let _none = decided_within(&mesh)?;
        let slow = ["--requests=120", "--target=/?delay_ms=200"];
        for (port, more) in [(80, &["--connections=40"][..]), (8081, &["--http2", "--streams=40"])] {
            let seen = stays_within(&mesh, || service.load(port, &[&slow[..], more].concat()))?;
            let count = |status| seen.statuses.get(&status).copied().unwrap_or_default();
            ensure!(seen.failed == 0 && count(200) + count(503) == 120, "port {port}: {seen:?}");
            // What was asked last before may take up one for a moment longer.
            ensure!(count(200) >= 19 && count(503) >= 20, "port {port}: {seen:?}");
        }
        service.comes_to("what was held is free again", "/", &[], |answer| answer.status == 200)?;
        // Whichever workers have the clients that are remembered.
        (0..4).try_for_each(|_| service.load(80, &["--requests=40", "--connections=8"])?.all_are(200))
    };
    check().with_context(|| mesh.logs())
}
