//! Telemetry objects: which metrics, access lines and spans they ask for is what agents tell. And what the agents tell of their own
//! work: each message is parsed once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::collector::{CLIENT, Collector, SERVER};
use weir_tests::http_mesh::{Echo, HttpMesh, HttpService};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::ForNow;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use super::carriage::{parse_meanwhile, requests};
use super::inbound::decided_about;
use crate::count::{Counter, grow_by_exactly};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: a Telemetry object adds and removes labels of the metrics it names",
        check: Check::Http(labels),
    },
    Case { name: "http: a Telemetry object says which requests have an access line", check: Check::Http(lines) },
    Case { name: "http: a namespace's Telemetry object goes before that of the mesh", check: Check::Http(levels) },
    Case { name: "http: a Telemetry object counts for connections without requests", check: Check::Http(connections) },
    Case {
        name: "http: a Telemetry object that is not valid affects only itself, and is told",
        check: Check::Http(bad),
    },
    Case {
        name: "http: spans of one trace reach the collector that a Telemetry object names, from both ends of each request",
        check: Check::Http(spans),
    },
    Case {
        name: "http: a server's agent tells of requests that it denies, and of those of which their client's tells nothing",
        check: Check::Http(spans_of_servers),
    },
    Case { name: "http: each head is parsed once, at the source alone", check: Check::Http(parsed_once) },
];

const REQUESTS: &str = "istio_requests_total";
const DURATIONS: &str = "istio_request_duration_milliseconds_count";
/// How long an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);

/// Writes a Telemetry object, whose `spec` is YAML flow.
fn put<'a>(mesh: &'a HttpMesh, namespace: &str, name: &str, spec: &str) -> Result<ForNow<'a>> {
    let yaml = format!(
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    );
    mesh.control_plane.objects.put_for_now(&format!("telemetry-{namespace}-{name}"), &yaml)
}

/// Waits until a request is counted with these labels.
fn counts_with(mesh: &HttpMesh, service: &HttpService<'_>, labels: &[(&str, &str)]) -> Result<()> {
    let agent = mesh.agent_of(&mesh.client);
    wait::until(&format!("requests are counted with {labels:?}"), DELIVERED, || {
        service.ask("/", &[])?.expect(200, service.name().into())?;
        let counted = agent.metrics()?.sum(REQUESTS, labels);
        ensure!(counted > 0.0, "{}", agent.metrics_text()?);
        Ok(())
    })
    .with_context(|| mesh.logs())
}

fn labels(mesh: &HttpMesh) -> Result<()> {
    let (service, other) = (mesh.version("v1"), mesh.version("v2"));
    let agent = mesh.agent_of(&mesh.client);
    let (host, other_host) = (service.host(), other.host());
    let spec = "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {request_host: {value: \
                request.host}, request_method: {value: request.method}, source_principal: {operation: REMOVE}}}]}]}";
    let object = put(mesh, NAMESPACE, "labels", spec)?;
    let of = |host| [("request_host", host), ("request_method", "GET"), ("response_code", "200")];
    counts_with(mesh, &service, &of(&host))?;
    let (mine, others) = (Counter::of(agent, REQUESTS, &of(&host))?, Counter::of(agent, REQUESTS, &of(&other_host))?);
    let timed = [("source_workload", "client"), ("destination_service", &*host), ("response_code", "200")];
    let timed = Counter::of(agent, DURATIONS, &timed)?;
    service.load(80, &["--requests=9"])?.all_are(200)?;
    other.load(80, &["--requests=4"])?.all_are(200)?;
    grow_by_exactly(&[(&mine, 9.0), (&others, 4.0), (&timed, 9.0)])?;
    let text = agent.metrics_text()?;
    let has = |name: &str, word: &str| {
        let mut with = text.lines().filter(|line| line.starts_with(name) && line.contains("request_host="));
        with.any(|line| line.contains(word))
    };
    ensure!(!has(REQUESTS, "source_principal="), "the label is still there:\n{text}");
    ensure!(!has(DURATIONS, ""), "another metric has the label:\n{text}");
    drop(object);
    let usual = [("destination_service", &*host), ("source_principal", "spiffe://cluster.local/ns/shop/sa/client")];
    let usual = Counter::of(agent, REQUESTS, &usual)?;
    wait::until("the labels are as usual again", DELIVERED, || {
        service.ask("/", &[])?.expect(200, Some("v1"))?;
        ensure!(usual.grown()? > 0.0, "{}", agent.metrics_text()?);
        Ok(())
    })
}

/// Asks for a path until the agent has logged a line with these words.
fn line_comes(mesh: &HttpMesh, path: &str, words: &[&str]) -> Result<String> {
    let (agent, service) = (mesh.agent_of(&mesh.client), mesh.version("v1"));
    let before = agent.log().len();
    wait::until(&format!("{path} is logged with {words:?}"), DELIVERED, || {
        service.ask(path, &[])?;
        let log = agent.log();
        let new = log.get(before..).unwrap_or_default();
        let line = new.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned).with_context(|| format!("logged: {new}"))
    })
    .with_context(|| mesh.said())
}

/// Asks for a path once, and then for others until these are logged: the first was not.
fn has_no_line(mesh: &HttpMesh, silent: &str, logged: &str) -> Result<()> {
    let agent = mesh.agent_of(&mesh.client);
    let before = agent.log().len();
    mesh.version("v1").ask(silent, &[])?;
    line_comes(mesh, logged, &[logged])?;
    let log = agent.log();
    ensure!(!log[before..].contains(silent), "{silent} was logged:\n{}", &log[before..]);
    Ok(())
}

fn lines(mesh: &HttpMesh) -> Result<()> {
    let filtered = "{accessLogging: [{providers: [{name: envoy}], filter: {expression: 'response.code >= 500'}}]}";
    let object = put(mesh, NAMESPACE, "lines", filtered)?;
    // In the form of Istio's sidecars.
    line_comes(mesh, "/filtered?status=503", &["\"GET /filtered?status=503 HTTP/1.1\" 503 - via_upstream"])?;
    has_no_line(mesh, "/unwanted?status=200", "/wanted?status=500")?;
    drop(object);
    line_comes(
        mesh,
        "/own",
        &["request complete", "path=\"/own\"", "dst.identity=spiffe://cluster.local/ns/shop/sa/v1"],
    )?;
    Ok(())
}

fn levels(mesh: &HttpMesh) -> Result<()> {
    let silent = "{accessLogging: [{disabled: true}]}";
    let of_mesh = put(mesh, "istio-system", "levels", silent)?;
    let agent = mesh.agent_of(&mesh.client);
    let service = mesh.version("v1");
    let mut number = 0;
    wait::until("nothing is logged", DELIVERED, || {
        number += 1;
        let path = format!("/silent-{number}");
        let counted = Counter::of(agent, REQUESTS, &[("destination_service", &service.host())])?;
        service.ask(&path, &[])?;
        // It is counted where it is logged.
        counted.grows_by(1.0)?;
        ensure!(!agent.log().contains(&path), "{path} was logged");
        Ok(())
    })
    .with_context(|| mesh.said())?;
    let object = put(mesh, NAMESPACE, "levels", "{accessLogging: [{providers: [{name: envoy}]}]}")?;
    line_comes(mesh, "/again", &["\"GET /again HTTP/1.1\" 200"])?;
    drop((object, of_mesh));
    line_comes(mesh, "/own", &["request complete", "path=\"/own\""]).map(drop)
}

fn connections(mesh: &HttpMesh) -> Result<()> {
    let opened = "istio_tcp_connections_opened_total";
    let agent = mesh.agent_of(&mesh.client);
    let service = mesh.version("v2");
    let connect = || weir_tests::test_app::probe(&mesh.client.place, service.vip(), 7001, "hello");
    let spec = "{metrics: [{overrides: [{match: {metric: TCP_OPENED_CONNECTIONS}, tagOverrides: {port: {value: \
                string(destination.port)}}}, {match: {metric: TCP_SENT_BYTES}, disabled: true}]}]}";
    let _object = put(mesh, NAMESPACE, "connections", spec)?;
    let labels = [("reporter", "source"), ("source_workload", "client"), ("port", "7001")];
    wait::until("connections are counted with the label", DELIVERED, || {
        connect()?;
        ensure!(agent.metrics()?.sum(opened, &labels) > 0.0, "{}", agent.metrics_text()?);
        Ok(())
    })?;
    let counted = Counter::of(agent, opened, &labels)?;
    let of_source = [("reporter", "source"), ("source_workload", "client")];
    let sent = Counter::of(agent, "istio_tcp_sent_bytes_total", &of_source)?;
    let received = Counter::of(agent, "istio_tcp_received_bytes_total", &of_source)?;
    connect()?;
    grow_by_exactly(&[(&counted, 1.0), (&received, 5.0), (&sent, 0.0)])
}

fn bad(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v1");
    let host = service.host();
    let spec = |value: &str| {
        format!(
            "{{metrics: [{{overrides: [{{match: {{metric: REQUEST_COUNT}}, tagOverrides: {{tag: {{value: \"{value}\"}}}}}}]}}]}}"
        )
    };
    let _good = put(mesh, NAMESPACE, "good", &spec("request.host"))?;
    counts_with(mesh, &service, &[("tag", &host)])?;
    let _bad = put(mesh, NAMESPACE, "bad", &spec("request.nothing + 1"))?;
    wait::until("the object is told", DELIVERED, || {
        let said = mesh.said() + &mesh.agents[N1].log();
        let mut lines = said.lines().filter(|line| line.contains("Telemetry") && line.contains("bad"));
        let is_told = lines.any(|line| line.contains("request.nothing + 1") && line.contains("not known here"));
        ensure!(is_told, "{said}");
        Ok(())
    })?;
    let counted = Counter::of(mesh.agent_of(&mesh.client), REQUESTS, &[("tag", &host)])?;
    service.load(80, &["--requests=3"])?.all_are(200)?;
    counted.grows_by_exactly(3.0)
}

fn spans(mesh: &HttpMesh) -> Result<()> {
    let collector = Collector::start(mesh, "spans")?;
    collector.requests_are_read(mesh).with_context(|| mesh.logs())?;
    // As three applications do that pass on what they got. The first two pods are on one node, the third on another.
    let (trace, root) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let mut parent = format!("00-{trace}-{root}-01");
    for (from, to) in [(&mesh.client, "v1"), (mesh.pod("v1"), "v2")] {
        let url = format!("http://{}/spans", mesh.version(to).vip());
        let output = from.place.output(&["curl", "-s", "-H", &format!("traceparent: {parent}"), &url])?;
        let echo: Echo = serde_json::from_str(&output.stdout).with_context(|| output.summary())?;
        parent = echo.header("traceparent").context("no traceparent arrived")?;
    }
    let found = collector.trace(trace, 4).with_context(|| mesh.logs())?;
    let seen: Vec<_> = found
        .iter()
        .map(|span| (span.service.as_deref(), span.pod.as_deref(), span.node.as_deref(), &*span.name, span.kind))
        .collect();
    let names = ["v1.shop.svc.cluster.local:80/*", "v2.shop.svc.cluster.local:80/*"];
    let expected = [
        (Some("client.shop"), Some("client"), Some("n1"), names[0], CLIENT),
        (Some("web.shop"), Some("v1"), Some("n1"), names[0], SERVER),
        (Some("web.shop"), Some("v1"), Some("n1"), names[1], CLIENT),
        (Some("web.shop"), Some("v2"), Some("n2"), names[1], SERVER),
    ];
    ensure!(seen == expected && found[0].parent == root, "{found:#?}");
    for span in &found {
        let tags = &span.tags;
        ensure!(tags["http.status_code"] == 200 && tags["http.method"] == "GET", "{span:?}");
        ensure!(tags["response_flags"] == "-" && tags["istio.namespace"] == "shop", "{span:?}");
    }
    // The application is told of its own server's span.
    ensure!(parent == format!("00-{trace}-{}-01", found[3].span), "{parent}: {found:#?}");
    are_parsed_once(mesh)
}

/// Each message is parsed once at each end of its way where both tell of it, and once in all on one node.
fn are_parsed_once(mesh: &HttpMesh) -> Result<()> {
    for (version, of_client, of_server) in [
        ("v1", [80.0, 80.0, 0.0, 0.0, 0.0, 0.0], [0.0; 6]),
        ("v2", [80.0, 0.0, 0.0, 0.0, 0.0, 80.0], [0.0, 80.0, 0.0, 0.0, 80.0, 0.0]),
    ] {
        let [client, server] = parse_meanwhile(mesh, || requests(&mesh.version(version), 80, 80))?;
        ensure!(client == of_client && server == of_server, "{version}: {client:?} and {server:?} were parsed");
    }
    Ok(())
}

/// What a server's side tells of requests that no application answers, and of those of which its client's side tells nothing.
fn spans_of_servers(mesh: &HttpMesh) -> Result<()> {
    let collector = Collector::start(mesh, "servers")?;
    collector.requests_are_read(mesh).with_context(|| mesh.logs())?;
    let service = mesh.version("v2");
    let _denied = decided_about(mesh, "v2")?;
    let traced = |trace: &str, sampled: &str, path: &str, status| {
        let context = format!("traceparent: 00-{trace}-b7ad6b7169203331-{sampled}");
        service.ask(path, &["-H", &context])?.expect(status, (status == 200).then_some("v2"))
    };
    let denied = "1af7651916cd43dd8448eb211c80319c";
    traced(denied, "01", "/never", 403)?;
    let [client, server] = &collector.trace(denied, 2)?[..] else { anyhow::bail!("no two") };
    ensure!([client.kind, server.kind] == [CLIENT, SERVER], "{client:?} {server:?}");
    ensure!(server.tags["http.status_code"] == 403 && server.pod.as_deref() == Some("v2"), "{server:?}");
    // Of the client's side nothing is told any more.
    let silent = "{tracing: [{match: {mode: CLIENT}, disableSpanReporting: true}]}";
    let _silent = put(mesh, NAMESPACE, "servers-alone", silent)?;
    let mut number = 0;
    let alone = wait::until("the server's span is the application's child", DELIVERED * 2, || {
        number += 1;
        let trace = format!("4af7651916cd43dd8448eb21{number:08x}");
        traced(&trace, "01", "/", 200)?;
        let server = wait::until("the server's span comes", DELIVERED, || {
            let found = collector.spans()?.into_iter().find(|span| span.trace == trace && span.kind == SERVER);
            found.context("not yet")
        })?;
        ensure!(server.parent == "b7ad6b7169203331", "{server:?}");
        Ok(trace)
    })?;
    collector.trace(&alone, 1)?;
    // What the client has decided counts, whatever its server's objects say.
    let unsampled = "2af7651916cd43dd8448eb211c80319c";
    traced(unsampled, "00", "/", 200)?;
    let last = "3af7651916cd43dd8448eb211c80319c";
    traced(last, "01", "/", 200)?;
    collector.trace(last, 1)?;
    ensure!(collector.spans()?.iter().all(|span| span.trace != unsampled), "{:#?}", collector.spans()?);
    Ok(())
}

fn parsed_once(mesh: &HttpMesh) -> Result<()> {
    let heads = |node: usize, protocol, kind| {
        Counter::of(&mesh.agents[node], "weir_http_heads_parsed_total", &[("protocol", protocol), ("kind", kind)])
    };
    let service = mesh.version("v2");
    let kinds = [("http1", "request"), ("http1", "response"), ("http2", "request"), ("http2", "response")];
    for (port, arguments, expected) in [
        (80, &["--requests=40", "--connections=2"][..], [40.0, 40.0, 0.0, 0.0]),
        (80, &["--requests=5", "--reconnect"], [5.0, 5.0, 0.0, 0.0]),
        (8081, &["--requests=40", "--http2", "--streams=4"], [0.0, 0.0, 40.0, 40.0]),
        // From HTTP/1 to HTTP/2.
        (8081, &["--requests=20"], [20.0, 0.0, 0.0, 20.0]),
    ] {
        let counters = kinds.iter().map(|(protocol, kind)| heads(N1, protocol, kind)).collect::<Result<Vec<_>>>()?;
        let of_destination =
            kinds.iter().map(|(protocol, kind)| heads(N2, protocol, kind)).collect::<Result<Vec<_>>>()?;
        service.load(port, arguments)?.all_are(200)?;
        let grow = counters.iter().zip(expected).chain(of_destination.iter().map(|counter| (counter, 0.0)));
        grow_by_exactly(&grow.collect::<Vec<_>>()).with_context(|| format!("port {port} {arguments:?}"))?;
    }
    Ok(())
}
