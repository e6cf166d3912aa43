//! How requests travel between two agents: as streams of their own where the destination's agent decides about each, and inside of CONNECT
//! otherwise. An application sees no difference.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::agent::Agent;
use weir_tests::http_mesh::{Answer, HttpMesh, HttpService};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::ForNow;
use weir_tests::tokens::SigningKey;
use weir_tests::wait;
use weir_tests::world::{N1, N2, Pod};

use super::inbound::{DENY_NONE, comes_to, decided_about, is_denied};
use super::tokens::{ISSUER, authentication, bearer, is_refused, rule};
use super::{once, streams};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http carriage: what its destination decides about is a stream of its own, and each message is parsed once",
        check: Check::Http(parsed_once),
    },
    Case {
        name: "http carriage: it follows what the destination's policies are about",
        check: Check::Http(follows_policy),
    },
    Case {
        name: "http carriage: bodies, trailers and interim responses pass in streams, upgrades inside of CONNECT",
        check: Check::Http(transparent),
    },
    Case {
        name: "http carriage: bodies pass in streams bit by bit, both ways at once",
        check: Check::Http(bit_by_bit),
    },
    Case {
        name: "http carriage: denials, tokens and the client's identity are those of a request inside of CONNECT",
        check: Check::Http(decided),
    },
    Case {
        name: "http carriage: no application reads or writes what agents tell each other",
        check: Check::Http(forged),
    },
    Case { name: "http carriage: whoever leaves or resets ends its own stream alone", check: Check::Http(resets) },
    Case {
        name: "http carriage: a side that does not read holds the other one, with little in between, and nobody else",
        check: Check::OwnHttp(stalled),
    },
    Case {
        name: "http carriage: a POST in a stream arrives at most once, whatever happens to servers, agents and the network",
        check: Check::OwnHttp(at_most_once),
    },
    Case {
        name: "http carriage: an agent that takes no part in streams is sent none, and sends none",
        check: Check::Alone(switched_off),
    },
];

/// How long an agent may take to learn how requests are wanted: each of its workers learns for itself.
pub(super) const LEARNED_WITHIN: Duration = Duration::from_secs(20);

/// The kinds of heads that agents parse, as (protocol, kind).
pub(super) const HTTP: [(&str, &str); 4] =
    [("http1", "request"), ("http1", "response"), ("http2", "request"), ("http2", "response")];
const STREAMS: [(&str, &str); 2] = [("request_stream", "request"), ("request_stream", "response")];

/// How many heads an agent has parsed, of each of these kinds.
pub(super) fn parsed(agent: &Agent, kinds: &[(&str, &str)]) -> Result<Vec<f64>> {
    let metrics = agent.metrics()?;
    let count = |(protocol, kind): &(&str, &str)| {
        metrics.sum("weir_http_heads_parsed_total", &[("protocol", protocol), ("kind", kind)])
    };
    Ok(kinds.iter().map(count).collect())
}

/// How many heads two agents parse while something happens: what of the client's agent, what of the server's.
pub(super) fn parse_meanwhile(mesh: &HttpMesh, happens: impl FnOnce() -> Result<()>) -> Result<[Vec<f64>; 2]> {
    let kinds = [&HTTP[..], &STREAMS].concat();
    let now =
        || -> Result<[Vec<f64>; 2]> { Ok([parsed(&mesh.agents[N1], &kinds)?, parsed(&mesh.agents[N2], &kinds)?]) };
    let before = now()?;
    happens()?;
    let after = now()?;
    let grown = |at: usize| after[at].iter().zip(&before[at]).map(|(after, before)| after - before).collect();
    Ok([grown(N1), grown(N2)])
}

/// How many requests come to the server's agent as streams while something happens.
pub(super) fn streams_meanwhile(mesh: &HttpMesh, happens: impl FnOnce() -> Result<()>) -> Result<f64> {
    Ok(parse_meanwhile(mesh, happens)?[N2][HTTP.len()])
}

/// Requests to a port, none of which fails.
pub(super) fn requests(service: &HttpService<'_>, port: u16, count: u32) -> Result<()> {
    let own = [format!("--requests={count}"), "--connections=8".to_owned()];
    let version: &[&str] = if port == 8081 { &["--http2", "--streams=2"] } else { &[] };
    let arguments: Vec<&str> = own.iter().map(String::as_str).chain(version.iter().copied()).collect();
    service.load(port, &arguments)?.all_are(200)
}

/// Waits until all requests to a version travel as streams: whichever worker of the client's agent has them.
fn are_streams(mesh: &HttpMesh, service: &HttpService<'_>) -> Result<()> {
    wait::until("requests travel as streams", LEARNED_WITHIN, || {
        for port in [80, 8081] {
            let seen = streams_meanwhile(mesh, || requests(service, port, 80))?;
            ensure!(seen >= 80.0, "{seen} of 80 to port {port} did");
        }
        Ok(())
    })
}

/// Waits until no request to a version travels as a stream.
fn are_no_streams(mesh: &HttpMesh, service: &HttpService<'_>) -> Result<()> {
    wait::until("requests travel inside of CONNECT", LEARNED_WITHIN, || {
        let streams = streams_meanwhile(mesh, || requests(service, 80, 80))?;
        ensure!(streams == 0.0, "{streams} were streams");
        Ok(())
    })
}

/// A policy that denies nothing that cases ask for, in force and known to the client's agent: requests to the version travel as streams.
fn sent_as_streams<'a>(mesh: &'a HttpMesh, version: &str) -> Result<ForNow<'a>> {
    let none = decided_about(mesh, version)?;
    are_streams(mesh, &mesh.version(version))?;
    Ok(none)
}

fn parsed_once(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _none = sent_as_streams(mesh, "v2")?;
    // HTTP as the client's agent parses it, and then the streams of both; each message once at each end of its way.
    for (port, of_client, of_server) in [
        (80, [80.0, 0.0, 0.0, 0.0, 0.0, 80.0], [0.0, 80.0, 0.0, 0.0, 80.0, 0.0]),
        (8081, [0.0, 0.0, 80.0, 0.0, 0.0, 80.0], [0.0, 0.0, 0.0, 80.0, 80.0, 0.0]),
    ] {
        let [client, server] = parse_meanwhile(mesh, || requests(&service, port, 80))?;
        ensure!(client == of_client, "port {port}: the client's agent parsed {client:?}");
        ensure!(server == of_server, "port {port}: the server's agent parsed {server:?}");
    }
    Ok(())
}

fn follows_policy(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v3");
    // What an earlier case had decided about is known to the client's agent until it asks again.
    are_no_streams(mesh, &service)?;
    let none = sent_as_streams(mesh, "v3")?;
    drop(none);
    comes_to(&service, "/never", 200)?;
    are_no_streams(mesh, &service)
}

fn transparent(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _none = sent_as_streams(mesh, "v2")?;
    let streams = streams_meanwhile(mesh, || {
        bodies(&service)?;
        messages(&service)
    })?;
    ensure!(streams >= 34.0, "{streams} were streams");
    let upgrade = format!(
        "GET /socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nall that follows comes back",
        service.host()
    );
    let streams = streams_meanwhile(mesh, || {
        let answer = Answer::parse(&service.raw(&upgrade)?.received)?;
        ensure!(answer.status == 101 && answer.body == "all that follows comes back", "{answer:?}");
        Ok(())
    })?;
    ensure!(streams == 0.0, "an upgrade is between two connections");
    let streams =
        streams_meanwhile(mesh, || service.ask("/", &["-HAuthorization: Negotiate YII="])?.expect(200, Some("v2")))?;
    ensure!(streams == 0.0, "authentication of a connection stays on it");
    Ok(())
}

/// Bodies of several sizes both ways, in each version of HTTP.
pub(super) fn bodies(service: &HttpService<'_>) -> Result<()> {
    for (port, more) in [(80, &[][..]), (8081, &["--http2"])] {
        for bytes in [0_u64, 1, 16_384, 65_536, 3_000_001] {
            let own = [format!("--bytes={bytes}"), format!("--target=/?size={bytes}"), "--requests=3".to_owned()];
            let own: Vec<&str> = own.iter().map(String::as_str).chain(["--method=POST"]).collect();
            let seen = service.load(port, &[&own[..], more].concat())?;
            seen.all_are(200).with_context(|| format!("port {port}, {bytes} bytes"))?;
            ensure!(seen.bytes == bytes * 3, "{bytes} bytes, three times: {seen:?}");
        }
    }
    Ok(())
}

/// Messages whose form is more than a body.
pub(super) fn messages(service: &HttpService<'_>) -> Result<()> {
    let chunked = format!(
        "POST /?trailers=1 HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n",
        service.host()
    );
    let seen = service.raw(&chunked)?;
    ensure!(seen.received.ends_with("0\r\nx-checked: yes\r\n\r\n"), "the response's trailers are missing: {seen:?}");
    ensure!(seen.received.contains(r#""trailers":[["x-sum","6"]]"#), "the request's are missing: {seen:?}");
    let continued = service.ask("/", &["-HExpect: 100-continue", "--data-binary", "12345"])?;
    ensure!((continued.status, &*continued.interim) == (200, &[100][..]), "{continued:?}");
    let early = service.ask("/?interim=103", &[])?;
    ensure!((early.status, &*early.interim) == (200, &[103][..]), "{early:?}");
    let head = service.ask("/?size=5000", &["--head"])?;
    ensure!((head.status, head.header("content-length"), &*head.body) == (200, Some("5000"), ""), "{head:?}");
    service.ask("/?status=204", &[])?.expect(204, Some(service.name()))
}

fn bit_by_bit(mesh: &HttpMesh) -> Result<()> {
    let _none = sent_as_streams(mesh, "v2")?;
    let (service, _server) = streams::served(mesh, "carried", "v2")?;
    for port in &streams::PORTS {
        let streams = streams_meanwhile(mesh, || {
            for bytes in ["-bytes=1000", "-bytes=30000000", "-bytes=30000001"] {
                mesh.client.place.run(&streams::command(&service, "bulk", port, &[bytes])?).context(port.name)?;
            }
            Ok(())
        })?;
        ensure!(streams >= 1.0, "{}: {streams} were streams", port.name);
    }
    Ok(())
}

fn decided(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let none = sent_as_streams(mesh, "v2")?;
    let key = SigningKey::make("one")?;
    let token = bearer(&key.token(ISSUER, "a", &json!({"aud": "web"}))?);
    let other = bearer(&SigningKey::make("one")?.token(ISSUER, "a", &json!({"aud": "web"}))?);
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, "")))?;
    service.comes_to("tokens are verified", "/", &[&other], |answer| answer.status == 401)?;
    are_streams(mesh, &service)?;
    let streams = streams_meanwhile(mesh, || {
        for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"])] {
            let ask = |path, own: &[&str]| service.ask_at(service.vip(), port, path, &[own, more].concat());
            ask("/", &[&token])?.expect(200, Some("v2"))?;
            ensure!(
                is_refused(&ask("/", &[&other])?, "Jwt verification fails"),
                "a forged token counts at port {port}"
            );
            ensure!(is_denied(&ask("/never", &[&token])?), "it is not denied at port {port}");
            let forged = "-HX-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/shop/sa/admin";
            let echo = ask("/", &[forged])?.echo()?;
            let said = echo.header("x-forwarded-client-cert").context("no identity")?;
            ensure!(said.contains("sa/client") && !said.contains("admin"), "{said}");
        }
        Ok(())
    })?;
    ensure!(streams >= 8.0, "{streams} were streams");
    drop(none);
    Ok(())
}

fn forged(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    forged_fields_are_unread(mesh, &service)?;
    let _none = sent_as_streams(mesh, "v2")?;
    let streams = streams_meanwhile(mesh, || forged_fields_are_unread(mesh, &service))?;
    ensure!(streams >= 2.0, "{streams} were streams");
    Ok(())
}

/// Fields in the place of those in which agents tell each other something reach neither the application nor its client.
pub(super) fn forged_fields_are_unread(mesh: &HttpMesh, service: &HttpService<'_>) -> Result<()> {
    let other = mesh.pod("v3").ipv4();
    let destination = format!("-Hweir-hop-destination: {other}:8080");
    let fields = [&*destination, "-HWeir-Hop-Forwarded: for=\"9.9.9.9:1\"", "-Hweir-hop-new: x"];
    for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"]), (8082, &[])] {
        let own = [&fields[..], more].concat();
        let answer = service.ask_at(service.vip(), port, "/?field=weir-hop-carriage:streams&field=x-own:1", &own)?;
        answer.expect(200, Some(service.name()))?;
        let echo = answer.echo()?;
        let read = echo.headers.iter().find(|(name, _)| name.to_ascii_lowercase().starts_with("weir-hop"));
        // Bytes that no agent reads are nobody's to change.
        ensure!(read.is_none() || port == 8082, "port {port}: the application reads {read:?}");
        let is_read = answer.header("weir-hop-carriage").is_some();
        ensure!(!is_read || port == 8082, "port {port}: the client reads {answer:?}");
    }
    Ok(())
}

fn resets(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _none = sent_as_streams(mesh, "v2")?;
    let mut bystander = service.start_load(80, &["--connections=4", "--rate=200"])?;
    let streams = streams_meanwhile(mesh, || leaves_and_resets(&service, mesh.pod("v2")))?;
    ensure!(streams >= 15.0, "{streams} were streams");
    bystander.goes_on(Duration::from_millis(300))?;
    bystander.end()?.all_are(200)
}

/// Clients that leave within a response end the connection to the application, and applications that reset theirs end the response.
pub(super) fn leaves_and_resets(service: &HttpService<'_>, pod: &Pod) -> Result<()> {
    let established = || -> Result<usize> {
        let sockets = pod.place.run(&["ss", "-Htn", "state", "established", "sport", "=", ":8080"])?;
        Ok(sockets.lines().count())
    };
    for round in 0..5 {
        let before = established()?;
        let output = service.curl("/?stream=1000&pause_ms=100", &["--max-time", "1"])?;
        ensure!(!output.success && output.stdout.contains("data: 1\n"), "{}", output.summary());
        wait::until("the server's connection has ended", Duration::from_secs(5), || {
            let now = established()?;
            ensure!(now <= before + 1, "round {round}: {now} are open, {before} were");
            Ok(())
        })?;
        let output = service.curl("/?size=1000000&reset=midway", &["--max-time", "10"])?;
        ensure!(!output.success, "a response that breaks off ends: {}", output.summary());
        service.ask("/?reset=before", &[])?.expect(503, None)?;
    }
    Ok(())
}

fn stalled(mesh: &mut HttpMesh) -> Result<()> {
    let none = sent_as_streams(mesh, "v2")?;
    std::mem::forget(none);
    let before = parsed(&mesh.agents[N2], &STREAMS)?[0];
    streams::stalled(mesh)?;
    let streams = parsed(&mesh.agents[N2], &STREAMS)?[0] - before;
    ensure!(streams >= 4.0, "{streams} were streams");
    Ok(())
}

fn at_most_once(mesh: &mut HttpMesh) -> Result<()> {
    let yaml = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: all, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{app: web}}}}\n  action: DENY\n  rules: {DENY_NONE}\n"
    );
    mesh.control_plane.objects.put("all", &yaml)?;
    for version in ["v2", "v3"] {
        comes_to(&mesh.version(version), "/never", 403)?;
        are_streams(mesh, &mesh.version(version))?;
    }
    let before = parsed(&mesh.agents[N2], &STREAMS)?[0];
    once::under_load(mesh)?;
    // The agents have begun anew meanwhile.
    let after = parsed(&mesh.agents[N2], &STREAMS)?[0];
    ensure!(after > 0.0 && before > 0.0, "{before} and {after} were streams");
    Ok(())
}

fn switched_off() -> Result<()> {
    for off in [N1, N2] {
        let mut mesh = HttpMesh::start("t")?;
        mesh.agents[off].add_flags(["--native-request-streams=false".to_owned()]);
        mesh.agents[off].restart()?;
        let check = || -> Result<()> {
            let service = mesh.version("v2");
            let _none = decided_about(&mesh, "v2")?;
            let streams = streams_meanwhile(&mesh, || {
                for port in [80, 8081] {
                    requests(&service, port, 200)?;
                }
                ensure!(is_denied(&service.ask("/never", &[])?), "it is not denied");
                Ok(())
            })?;
            ensure!(streams == 0.0, "{streams} were streams");
            Ok(())
        };
        check().with_context(|| mesh.logs())?;
    }
    Ok(())
}
