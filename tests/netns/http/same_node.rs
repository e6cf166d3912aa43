//! Requests between two pods of one node: they stay within the agent, and all that is promised of requests over HBONE holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use weir_tests::agent::Agent;
use weir_tests::http_mesh::{self, Answer, HttpMesh};
use weir_tests::mesh::{NAMESPACE, principal, workload_entry};
use weir_tests::tokens::SigningKey;
use weir_tests::wait;
use weir_tests::world::N1;

use super::inbound::{comes_to, decided_about, is_denied, policy};
use super::inbound_changes::{ENDS_WITHIN, UPGRADING};
use super::rate_limits::limits;
use super::streams;
use super::tokens::{ISSUER, authentication, bearer, is_refused, rule};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http same node: requests stay within the agent, in each version of HTTP and of IP, upgrades too",
        check: Check::Http(stay),
    },
    Case {
        name: "http same node: policies, tokens and rate limits decide, and the application learns who the client is",
        check: Check::Http(decided),
    },
    Case {
        name: "http same node: a policy ends what it no longer allows, whether or not requests were read",
        check: Check::Http(revoked),
    },
    Case { name: "http same node: both reporters count what they count over HBONE", check: Check::Alone(told_alike) },
    Case {
        name: "http same node: what the network does not let through does not pass within the agent",
        check: Check::OwnHttp(network_decides),
    },
    Case {
        name: "http same node: an application that dies and a pod that leaves are seen at once, and come back",
        check: Check::OwnHttp(comes_and_goes),
    },
    Case {
        name: "http same node: an agent is replaced under load, and no request fails",
        check: Check::OwnHttp(replaced),
    },
    Case {
        name: "http same node: a side that does not read holds the other one, with little in between, and nobody else",
        check: Check::OwnHttp(stalled),
    },
];

/// The pod `v1`, as it was enrolled: it is on the client's node.
const V1: &str = "selector: {matchLabels: {app: v1}}, ";

/// Links between pods that the agent has.
fn links(agent: &Agent) -> Result<f64> {
    Ok(agent.metrics()?.sum("weir_same_node_links_open", &[]))
}

/// Requests of HBONE, CONNECT or not, that an agent has sent or got.
fn over_hbone(agent: &Agent) -> Result<f64> {
    let metrics = agent.metrics()?;
    let of = |protocol| metrics.sum("weir_http_heads_parsed_total", &[("protocol", protocol)]);
    Ok(of("hbone") + of("request_stream"))
}

/// Waits until requests to `v1` stay within the client's agent: a link that could not be had at first is tried again.
pub(super) fn is_linked(mesh: &HttpMesh) -> Result<()> {
    wait::until("requests stay within the agent", Duration::from_secs(30), || {
        mesh.version("v1").load(80, &["--requests=40", "--connections=8"])?.all_are(200)?;
        ensure!(links(&mesh.agents[N1])? >= 1.0, "there is no link");
        Ok(())
    })
}

/// Nothing goes over HBONE meanwhile.
pub(super) fn stays_within<T>(mesh: &HttpMesh, happens: impl FnOnce() -> Result<T>) -> Result<T> {
    let agent = &mesh.agents[N1];
    let before = over_hbone(agent)?;
    let result = happens()?;
    let after = over_hbone(agent)?;
    ensure!(after == before, "{} went over HBONE", after - before);
    Ok(result)
}

fn stay(mesh: &HttpMesh) -> Result<()> {
    is_linked(mesh)?;
    let service = mesh.version("v1");
    stays_within(mesh, || {
        for vip in [service.vip(), service.vip6()] {
            for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"])] {
                let echo = service.ask_at(vip, port, "/", more)?.echo()?;
                let client = mesh.client.addresses().map(|address| address.to_string());
                ensure!(client.iter().any(|address| echo.peer.contains(address)), "{vip}, port {port}: {echo:?}");
            }
        }
        for (port, more) in [(80, &["--connections=8"][..]), (8081, &["--http2", "--streams=8", "--connections=2"])] {
            for bytes in ["--bytes=0", "--bytes=3000001"] {
                let own = ["--requests=60", "--method=POST", bytes, "--target=/?size=70000"];
                let seen = service.load(port, &[&own[..], more].concat())?;
                seen.all_are(200).with_context(|| format!("port {port}, {bytes}"))?;
                ensure!(seen.bytes == 60 * 70_000, "port {port}, {bytes}: {seen:?}");
            }
        }
        let calls = ["--http2", "--method=POST", "--field=content-type: application/grpc", "--field=te: trailers"];
        let calls = [&calls[..], &["--bytes=100", "--streams=16", "--requests=200", "--target=/echo.Echo/Unary"]];
        let seen = service.load(9000, &calls.concat())?;
        ensure!(seen.grpc_statuses.get("0") == Some(&200), "{seen:?}");
        let upgrade = format!(
            "GET /socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nall that follows comes back",
            service.host()
        );
        let answer = Answer::parse(&service.raw(&upgrade)?.received)?;
        ensure!(answer.status == 101 && answer.body == "all that follows comes back", "{answer:?}");
        ensure!(!service.curl("/?size=1000000&reset=midway", &["--max-time", "10"])?.success, "it breaks off");
        service.ask("/?reset=before", &[])?.expect(503, None)
    })
}

fn decided(mesh: &HttpMesh) -> Result<()> {
    is_linked(mesh)?;
    let service = mesh.version("v1");
    let own = principal(&mesh.client);
    let none = decided_about(mesh, "v1")?;
    let key = SigningKey::make("one")?;
    let token = bearer(&key.token(ISSUER, "a", &json!({"aud": "web"}))?);
    let other = bearer(&SigningKey::make("one")?.token(ISSUER, "a", &json!({"aud": "web"}))?);
    let tokens = authentication(mesh, "v1", &format!("[{}]", rule(ISSUER, &key, "")))?;
    service.comes_to("tokens are verified", "/", &[&other], |answer| answer.status == 401)?;
    let spec =
        "limits: [{name: paths, match: [{to: [{operation: {paths: [/limited]}}]}], local: {requests: 2, per: hour}}]";
    let limited = limits(mesh, &["v1"], V1, spec)?;
    stays_within(mesh, || {
        for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"])] {
            let ask = |path, own: &[&str]| service.ask_at(service.vip(), port, path, &[own, more].concat());
            ask("/", &[&token])?.expect(200, Some("v1"))?;
            ensure!(is_refused(&ask("/", &[&other])?, "Jwt verification fails"), "port {port}: a forged token counts");
            ensure!(is_denied(&ask("/never", &[&token])?), "port {port}: it is not denied");
            let forged = "-HX-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/shop/sa/admin";
            let echo = ask("/", &[forged])?.echo()?;
            let said = echo.header("x-forwarded-client-cert").context("no identity")?;
            ensure!(said.contains(&own) && !said.contains("admin") && said.contains("Hash="), "{said}");
        }
        let statuses = (0..4).map(|_| Ok(service.ask("/limited", &[])?.status)).collect::<Result<Vec<_>>>()?;
        ensure!(statuses == [200, 200, 429, 429], "{statuses:?}");
        Ok(())
    })?;
    drop((none, tokens, limited));
    comes_to(&service, "/never", 200)?;
    let rules = format!("[{{from: [{{source: {{principals: [\"{}\"]}}}}]}}]", own.trim_start_matches("spiffe://"));
    let denying = policy(mesh, "v1", "DENY", &rules)?;
    comes_to(&service, "/", 403)?;
    stays_within(mesh, || service.ask("/", &[])?.expect(403, None))?;
    drop(denying);
    let allowing = policy(mesh, "v1", "ALLOW", &rules)?;
    comes_to(&service, "/", 200)?;
    stays_within(mesh, || service.ask("/", &[])?.expect(200, Some("v1")))?;
    drop(allowing);
    Ok(())
}

fn revoked(mesh: &HttpMesh) -> Result<()> {
    let (service, vip) = (mesh.version("v1"), mesh.version("v1").vip().to_string());
    let own = principal(&mesh.client);
    let rules = format!("[{{from: [{{source: {{principals: [\"{}\"]}}}}]}}]", own.trim_start_matches("spiffe://"));
    for is_read in [false, true] {
        let reading = if is_read {
            Some(decided_about(mesh, "v1")?)
        } else {
            comes_to(&service, "/never", 200)?;
            None
        };
        let mut upgraded = mesh.client.place.spawn(&["python3", "-c", UPGRADING, &vip, "80", "/socket"])?;
        wait::until("it is under way", Duration::from_secs(10), || {
            ensure!(upgraded.stdout().contains("open"), "it waits: {}", upgraded.tail());
            Ok(())
        })?;
        let denying = policy(mesh, "v1", "DENY", &rules)?;
        wait::until("the upgrade ends", ENDS_WITHIN, || {
            ensure!(!upgraded.is_running(), "it goes on: {}", upgraded.tail());
            Ok(())
        })?;
        comes_to(&service, "/", 403)?;
        drop((denying, reading));
        comes_to(&service, "/", 200)?;
    }
    Ok(())
}

/// What is counted of requests and of connections, but for times: by name and labels.
fn counted(agent: &Agent) -> Result<BTreeMap<String, f64>> {
    let metrics = agent.metrics()?;
    let counts = metrics.samples().filter(|sample| {
        let is_count = sample.name.starts_with("istio_request") || sample.name.starts_with("istio_response");
        let is_connection = sample.name.starts_with("istio_tcp_connections_opened")
            || sample.name.starts_with("istio_tcp_received_bytes")
            || sample.name.starts_with("istio_tcp_sent_bytes");
        (is_count && !sample.name.contains("duration")) || is_connection
    });
    let series = counts.map(|sample| (format!("{} {:?}", sample.name, sample.labels), sample.value));
    Ok(series.collect())
}

/// Nothing is counted any more.
fn settled(agent: &Agent) -> Result<BTreeMap<String, f64>> {
    let mut last = counted(agent)?;
    wait::until("all is counted", Duration::from_secs(20), || {
        let before = std::mem::replace(&mut last, counted(agent)?);
        ensure!(before == last, "it goes on");
        Ok(())
    })?;
    Ok(last)
}

/// By how much the counts grow while something happens.
fn growth(agent: &Agent, happens: impl FnOnce() -> Result<()>) -> Result<BTreeMap<String, f64>> {
    let before = settled(agent)?;
    happens()?;
    let after = settled(agent)?;
    let grown = after.into_iter().map(|(series, count)| {
        let former = before.get(&series).copied().unwrap_or_default();
        (series, count - former)
    });
    Ok(grown.filter(|(_, by)| *by != 0.0).collect())
}

/// What both reporters count of the same requests, first without a policy about them and then with one. Each time connections are there
/// already.
fn counts_of(mesh: &HttpMesh) -> Result<[BTreeMap<String, f64>; 2]> {
    let (service, agent) = (mesh.version("v1"), &mesh.agents[N1]);
    let put = |port, target: &str, more: &[&str]| -> Result<()> {
        let target = format!("--target={target}?size=2000");
        // How much of a body is sent before a denial comes is nobody's promise.
        let body = if target.contains("/open") { "--bytes=1000" } else { "--bytes=0" };
        let own = ["--connections=1", "--requests=9", "--method=PUT", body, &*target];
        service.load(port, &[&own[..], more].concat()).map(drop)
    };
    let bytes = || put(80, "/open", &[]);
    bytes()?;
    let unread = growth(agent, bytes)?;
    let _policy = policy(mesh, "v1", "DENY", "[{to: [{operation: {paths: [/marked, /never]}}]}]")?;
    comes_to(&service, "/never", 403)?;
    let requests = || {
        ["/open", "/marked"].into_iter().try_for_each(|target| {
            put(80, target, &[])?;
            put(8081, target, &["--http2"])
        })
    };
    requests()?;
    Ok([unread, growth(agent, requests)?])
}

fn told_alike() -> Result<()> {
    let count = |is_within: bool| -> Result<_> {
        // One worker, so that connections are shared by all requests.
        let mesh = HttpMesh::start_with(
            "t",
            &[&format!("--same-node={}", if is_within { "in-process" } else { "hbone" }), "--worker-threads=1"],
        )?;
        let counts = counts_of(&mesh).with_context(|| mesh.logs())?;
        ensure!((links(&mesh.agents[N1])? > 0.0) == is_within, "links, within the agent: {is_within}");
        Ok(counts)
    };
    let (within, over) = (count(true)?, count(false)?);
    for (within, over) in within.iter().zip(&over) {
        let series: BTreeSet<_> = within.keys().chain(over.keys()).collect();
        let differing = series.into_iter().find(|series| within.get(*series) != over.get(*series));
        let differing = differing.map(|series| (series, within.get(series), over.get(series)));
        ensure!(differing.is_none(), "counted within the agent, and over HBONE: {differing:?}");
    }
    for reporter in ["source", "destination"] {
        let is_of = |series: &str| {
            series.starts_with("istio_requests_total") && series.contains(&format!("\"reporter\": \"{reporter}\""))
        };
        let requests: f64 = within[1].iter().filter(|(series, _)| is_of(series)).map(|(_, count)| count).sum();
        ensure!(requests == 36.0, "{reporter} counts {requests} requests");
    }
    Ok(())
}

fn network_decides(mesh: &mut HttpMesh) -> Result<()> {
    // A pod that has no link yet.
    let late = mesh.world.nodes[N1].pod("late")?;
    let to = format!("{}/32", mesh.pod("v1").ipv4());
    late.place.run(&["ip", "route", "add", "prohibit", &to])?;
    mesh.control_plane.objects.put("late", &workload_entry(&late))?;
    mesh.agents[N1].enroll(&late, NAMESPACE, "late")?;
    let url = format!("http://{}/", mesh.version("v1").vip());
    let ask = || -> Result<u16> {
        let output = late.place.output(&["curl", "-sS", "--include", "--max-time", "20", &url])?;
        Ok(Answer::parse(&output.stdout)?.status)
    };
    is_linked(mesh)?;
    let before = links(&mesh.agents[N1])?;
    wait::until("the mesh knows the pod", Duration::from_secs(15), || {
        let status = ask()?;
        ensure!(status == 503, "it is answered {status}");
        Ok(())
    })?;
    ensure!(links(&mesh.agents[N1])? == before, "there is a link");
    late.place.run(&["ip", "route", "del", "prohibit", &to])?;
    // Without the connections that it has by now.
    mesh.agents[N1].unenroll("late")?;
    mesh.agents[N1].enroll(&late, NAMESPACE, "late")?;
    wait::until("it passes within the agent", Duration::from_secs(30), || {
        let (status, links) = (ask()?, links(&mesh.agents[N1])?);
        ensure!(status == 200 && links == before + 1.0, "it is answered {status}, and there are {links} links");
        Ok(())
    })
}

fn comes_and_goes(mesh: &mut HttpMesh) -> Result<()> {
    is_linked(mesh)?;
    let mut load = mesh.version("v1").start_load(80, &["--connections=4", "--rate=200"])?;
    load.goes_on(Duration::from_millis(300))?;
    mesh.servers.first().context("the first serves v1")?.signal(Signal::SIGKILL)?;
    comes_to(&mesh.version("v1"), "/", 503)?;
    mesh.servers[0] = http_mesh::serve(&mesh.pod("v1").place)?;
    comes_to(&mesh.version("v1"), "/", 200)?;
    load.goes_on(Duration::from_millis(300))?;
    let seen = load.end()?;
    let count = |status| seen.statuses.get(&status).copied().unwrap_or_default();
    ensure!(seen.failed == 0 && count(200) > 20 && count(200) + count(503) == seen.answered, "{seen:?}");

    is_linked(mesh)?;
    let mut bystander = mesh.version("v2").start_load(80, &["--connections=2", "--rate=100"])?;
    mesh.agents[N1].unenroll("v1")?;
    mesh.agents[N1].enroll(mesh.pod("v1"), NAMESPACE, "v1")?;
    comes_to(&mesh.version("v1"), "/", 200)?;
    is_linked(mesh)?;
    bystander.goes_on(Duration::from_millis(300))?;
    bystander.end()?.all_are(200)
}

fn stalled(mesh: &mut HttpMesh) -> Result<()> {
    is_linked(mesh)?;
    stays_within(mesh, || streams::stalled_to(mesh, "v1"))
}

fn replaced(mesh: &mut HttpMesh) -> Result<()> {
    is_linked(mesh)?;
    let mut load = mesh.version("v1").start_load(80, &["--connections=8", "--rate=300"])?;
    let (mut old, _) = mesh.agents[N1].replace()?;
    load.goes_on(Duration::from_secs(1))?;
    let seen = load.end()?;
    note(format!("{} requests, the slowest took {:.0} ms", seen.answered, seen.slowest_ms));
    seen.all_are(200).with_context(|| mesh.logs())?;
    let ended = old.finish(Duration::from_secs(20))?;
    ensure!(ended.success, "the old one ends when nothing is open any more: {}", ended.summary());
    is_linked(mesh)
}
