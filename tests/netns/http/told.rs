//! What agents tell of requests: Istio's metrics, and a line for each request; and what is said of objects that are wrong, or have no
//! effect in part.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use super::split::answered_by;
use crate::count::{Counter, grow_by_exactly};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: each request is counted once, with Istio's labels", check: Check::Http(counted) },
    Case { name: "http: answers that the mesh makes are counted with their flag", check: Check::Http(flags) },
    Case { name: "http: the access log has a line for each request", check: Check::Http(access_line) },
    Case { name: "http: requests are no connections to the TCP metrics of the source", check: Check::Http(no_tcp) },
    Case { name: "http: the status counts the requests of each pod", check: Check::Http(status) },
    Case { name: "http: a bad object affects only itself, and is told", check: Check::Http(bad_object) },
    Case { name: "http: what of objects has no effect is told and counted", check: Check::Http(without_effect) },
];

const REQUESTS: &str = "istio_requests_total";

fn principal(pod: &Pod) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{}", pod.name())
}

fn counted(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let (source, destination, host) = (principal(&mesh.client), principal(mesh.pod("v2")), service.host());
    let labels = |status: &'static str| {
        vec![
            ("reporter", "source"),
            ("source_workload", "client"),
            ("source_workload_namespace", "shop"),
            ("source_principal", &*source),
            ("source_app", "client"),
            ("destination_workload", "v2"),
            ("destination_workload_namespace", "shop"),
            ("destination_principal", &*destination),
            ("destination_app", "web"),
            ("destination_version", "v2"),
            ("destination_service", &*host),
            ("destination_service_name", "v2"),
            ("destination_service_namespace", "shop"),
            ("request_protocol", "http"),
            ("response_code", status),
            ("response_flags", "-"),
            ("connection_security_policy", "mutual_tls"),
        ]
    };
    let agent = mesh.agent_of(&mesh.client);
    let (good, bad) = (Counter::of(agent, REQUESTS, &labels("200"))?, Counter::of(agent, REQUESTS, &labels("503"))?);
    let timed = Counter::of(agent, "istio_request_duration_milliseconds_count", &labels("200"))?;
    let bytes = Counter::of(agent, "istio_response_bytes_sum", &labels("200"))?;
    service.load(80, &["--requests=7", "--target=/?size=1000"])?.all_are(200)?;
    service.ask("/?status=503", &[])?.expect(503, Some("v2"))?;
    grow_by_exactly(&[(&good, 7.0), (&bad, 1.0), (&timed, 7.0), (&bytes, 7000.0)])
        .with_context(|| agent.metrics_text().unwrap_or_default())
}

fn flags(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("flags")?;
    let _route = service.virtual_service(
        "[{match: [{uri: {exact: /fault}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: v1}}]}, \
          {match: [{uri: {exact: /slow}}], timeout: 0.1s, route: [{destination: {host: v1}}]}, \
          {match: [{uri: {exact: /nobody}}], route: [{destination: {host: nobody}}]}]",
    )?;
    service.comes_to("the route counts", "/fault", &[], |answer| answer.status == 418)?;
    let agent = mesh.agent_of(&mesh.client);
    let host = service.host();
    // Once an endpoint is chosen, the destination is its service.
    let chosen = mesh.version("v1").host();
    for (path, status, flag, destination) in [
        ("/fault", "418", "FI", &host),
        ("/slow?delay_ms=3000", "504", "UT", &chosen),
        ("/nobody", "503", "NC", &host),
        ("/none", "404", "NR", &host),
    ] {
        let labels = [
            ("reporter", "source"),
            ("source_workload", "client"),
            ("response_code", status),
            ("response_flags", flag),
            ("destination_service", destination),
        ];
        let counter = Counter::of(agent, REQUESTS, &labels)?;
        let answer = service.ask(path, &[])?;
        ensure!(answer.status.to_string() == status, "{path}: {answer:?}");
        counter.grows_by_exactly(1.0).with_context(|| format!("{path}: {labels:?}"))?;
    }
    Ok(())
}

fn access_line(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("logged")?;
    let _route = service.virtual_service("[{name: to-two, route: [{destination: {host: v2}}]}]")?;
    answered_by(&service, &["v2"])?;
    let agent = mesh.agent_of(&mesh.client);
    let before = agent.log().len();
    let sent = ["-HX-Request-Id: 0001-0002", "-AAgent/1", "--data-binary", "12345"];
    let answer = service.ask("/line?status=201", &sent)?;
    answer.expect(201, Some("v2"))?;
    let line = agent.logs_line(before, &["request complete", "path=\"/line"])?;
    let host = service.host();
    for field in [
        "method=\"POST\"".to_owned(),
        "path=\"/line?status=201\"".to_owned(),
        format!("authority=\"{host}\""),
        "protocol=\"HTTP/1.1\"".to_owned(),
        "status=201".to_owned(),
        "response_flags=-".to_owned(),
        "details=\"via_upstream\"".to_owned(),
        "route=\"to-two\"".to_owned(),
        "request_id=\"0001-0002\"".to_owned(),
        "user_agent=\"Agent/1\"".to_owned(),
        "attempts=1".to_owned(),
        "bytes_sent=5".to_owned(),
        format!("bytes_recv={}", answer.body.len()),
        format!("src.identity={}", principal(&mesh.client)),
        format!("dst.identity={}", principal(mesh.pod("v2"))),
    ] {
        ensure!(line.contains(&field), "{field} is missing in\n{line}");
    }
    Ok(())
}

fn no_tcp(mesh: &HttpMesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.client);
    let labels = [("reporter", "source"), ("source_workload", "client")];
    let opened = Counter::of(agent, "istio_tcp_connections_opened_total", &labels)?;
    let requests = Counter::of(agent, REQUESTS, &labels)?;
    mesh.version("v1").ask("/", &[])?.expect(200, Some("v1"))?;
    grow_by_exactly(&[(&requests, 1.0), (&opened, 0.0)])
}

fn status(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    // Ended, failed and under way, as `weir status` prints them for the client.
    let counts = || -> Result<[u64; 3]> {
        let output = mesh.agent_of(&mesh.client).weir(&["status"])?;
        let row = output.stdout.lines().find(|line| line.trim_start().starts_with("shop/client "));
        let row = row.with_context(|| format!("no row for the client: {}", output.summary()))?;
        // Behind the number of connections; the state is the last column.
        let mut numbers = row.split_whitespace().rev().skip(1).filter_map(|cell| cell.parse().ok());
        let mut next = || numbers.next().with_context(|| format!("a number is missing in {row:?}"));
        let (under_way, _denied, failed, ended) = (next()?, next()?, next()?, next()?);
        Ok([ended, failed, under_way])
    };
    let [ended, failed, _] = counts()?;
    service.load(80, &["--requests=5"])?.all_are(200)?;
    service.ask("/?status=503", &[])?.expect(503, Some("v2"))?;
    wait::until("they are counted", Duration::from_secs(10), || {
        let now = counts()?;
        ensure!(now == [ended + 6, failed + 1, 0], "{now:?} after {ended} and {failed}");
        Ok(())
    })
}

fn bad_object(mesh: &HttpMesh) -> Result<()> {
    let good = mesh.service("well-written")?;
    let _good = good.virtual_service("[{route: [{destination: {host: v1}}]}]")?;
    answered_by(&good, &["v1"])?;
    for (name, http) in [
        ("bad-regex", "[{match: [{uri: {regex: '(unclosed'}}], route: [{destination: {host: v2}}]}]"),
        (
            "bad-share",
            "[{fault: {abort: {httpStatus: 500, percentage: {value: 300}}}, route: [{destination: {host: v2}}]}]",
        ),
        ("bad-time", "[{timeout: -1s, route: [{destination: {host: v2}}]}]"),
    ] {
        let bad = mesh.service(name)?;
        let _bad = bad.virtual_service(http)?;
        wait::until(&format!("{name} is told"), Duration::from_secs(10), || {
            let said = mesh.said() + &mesh.agents[N1].log();
            let line = said.lines().find(|line| line.contains("VirtualService") && line.contains(name));
            line.map(drop).context("nothing is said of it")
        })?;
        good.ask("/", &[])?.expect(200, Some("v1")).context(name)?;
    }
    Ok(())
}

/// Objects with fields that have no effect.
const PARTLY: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: partly, namespace: shop}
spec:
  hosts: [partly]
  tcp: [{route: [{destination: {host: v2}}]}]
  http:
  - match: [{uri: {prefix: /}, statPrefix: all}]
    retries: {attempts: 1, retryRemoteLocalities: true}
    route: [{destination: {host: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: partly, namespace: shop}
spec:
  host: partly
  trafficPolicy: {tunnel: {targetHost: a.example, targetPort: 80}, outlierDetection: {consecutiveErrors: 3}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: partly, namespace: shop}
spec:
  workloadSelector: {labels: {app: nobody}}
  egress: [{hosts: ['*/*']}]
  ingress: [{port: {number: 80, name: http, protocol: HTTP}, defaultEndpoint: '127.0.0.1:80'}]
  inboundConnectionPool: {tcp: {maxConnections: 3}}
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec:
  enableAutoMtls: true
  outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}
  defaultConfig: {tracing: {maxPathTagLength: 99, zipkin: {address: zipkin:9411}}}
";

/// What is told of them: the kind, as the metric has it, the line of the object, and those below.
const WITHOUT_EFFECT: [(&str, &str, &[&str]); 4] = [
    (
        "mesh_config",
        "MeshConfig",
        &[
            "spec.enableAutoMtls: has no effect here",
            "spec.outboundTrafficPolicy.mode: counts as ALLOW_ANY: unknown destinations are reached at the address that was dialled, \
             not looked up again",
            "spec.defaultConfig.tracing.maxPathTagLength: has no effect: texts of tags have at most 256 bytes",
            "spec.defaultConfig.tracing.zipkin: has no effect: name a provider of the kind opentelemetry",
        ],
    ),
    (
        "virtual_service",
        "VirtualService shop/partly",
        &[
            "spec.tcp: has no effect: only http rules are acted on",
            "spec.http[0].match[0].statPrefix: has no effect: there are no metrics per route",
            "spec.http[0].retries.retryRemoteLocalities: has no effect: every retry considers all endpoints",
        ],
    ),
    (
        "destination_rule",
        "DestinationRule shop/partly",
        &[
            "spec.trafficPolicy.tunnel: has no effect: connections are not tunnelled through a further proxy",
            "spec.trafficPolicy.outlierDetection.consecutiveErrors: has no effect any more: use consecutive5xxErrors",
        ],
    ),
    (
        "sidecar",
        "Sidecar shop/partly",
        &[
            "spec.ingress: has no effect: connections reach the application at its own ports",
            "spec.inboundConnectionPool: has no effect: limits are those of clients",
        ],
    ),
];

fn without_effect(mesh: &HttpMesh) -> Result<()> {
    let agent = &mesh.agents[N1];
    let counted = |kind: &str| -> Result<f64> {
        Ok(agent.metrics()?.sum("weir_config_fields_without_effect", &[("kind", kind)]))
    };
    let service = mesh.service("partly")?;
    let before = WITHOUT_EFFECT.iter().map(|(kind, ..)| counted(kind)).collect::<Result<Vec<f64>>>()?;
    let objects = mesh.control_plane.objects.put_for_now("partly", PARTLY)?;
    answered_by(&service, &["v1"])?;
    wait::until("all of it is told and counted", Duration::from_secs(10), || {
        let said = agent.weir(&["status", "--config"])?.stdout;
        for ((kind, header, lines), before) in WITHOUT_EFFECT.iter().zip(&before) {
            let told: BTreeSet<&str> = said
                .lines()
                .skip_while(|line| line != header)
                .skip(1)
                .map_while(|line| line.strip_prefix("  "))
                .collect();
            let wanted: BTreeSet<&str> = lines.iter().copied().collect();
            ensure!(told == wanted, "{header}: {told:#?}");
            let counted = counted(kind)? - before;
            let wanted = f64::from(u32::try_from(lines.len())?);
            ensure!(counted == wanted, "{kind}: {counted} fields are counted, {wanted} expected");
        }
        Ok(())
    })
    .with_context(|| mesh.said())?;
    drop(objects);
    wait::until("nothing of it is counted any more", Duration::from_secs(10), || {
        for ((kind, ..), before) in WITHOUT_EFFECT.iter().zip(&before) {
            let counted = counted(kind)?;
            ensure!(counted == *before, "{kind}: {counted}, and {before} before");
        }
        Ok(())
    })
}
