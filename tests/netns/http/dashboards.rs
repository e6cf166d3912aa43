//! What a real Prometheus that scrapes the agents answers to the queries of Kiali and of Istio's dashboards for services and
//! workloads, after requests and bytes whose numbers are known. Written from the labels that Istio documents.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::prometheus::{self, ANSWERED, Prometheus};
use weir_tests::test_app;
use weir_tests::wait;
use weir_tests::world::N1;

use crate::harness::{Case, Check, Skip, note};

pub(crate) const CASES: &[Case] = &[Case {
    name: "http: the queries of Kiali and of Istio's dashboards return what was asked",
    check: Check::OwnHttp(queries),
}];

/// What may come out of a query.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Exactly(f64),
    /// More than the first, at most the second.
    Within(f64, f64),
}

use Expected::{Exactly, Within};

/// A query by its name, the labels of the series that is meant, and its value.
struct Query {
    title: &'static str,
    promql: &'static str,
    labels: &'static [(&'static str, &'static str)],
    expected: Expected,
}

const fn query(
    title: &'static str,
    promql: &'static str,
    labels: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> Query {
    Query { title, promql, labels, expected }
}

/// By name and namespace, as Kiali's graph and Grafana's variables group.
const GRAPH: &str = "sum by (source_cluster, source_workload_namespace, source_workload, source_canonical_service, \
    source_canonical_revision, destination_cluster, destination_service_namespace, destination_service, \
    destination_service_name, destination_workload_namespace, destination_workload, destination_canonical_service, \
    destination_canonical_revision, request_protocol, response_code, grpc_response_status, response_flags) \
    (istio_requests_total{reporter=\"source\", source_workload_namespace=\"shop\"}) > 0";
const EDGE: [(&str, &str); 7] = [
    ("source_workload", "client"),
    ("source_canonical_service", "client"),
    ("destination_service", "v2.shop.svc.cluster.local"),
    ("destination_service_name", "v2"),
    ("destination_workload", "v2"),
    ("destination_canonical_service", "web"),
    ("destination_canonical_revision", "v2"),
];
const OK: [(&str, &str); 10] = [
    EDGE[0],
    EDGE[1],
    EDGE[2],
    EDGE[3],
    EDGE[4],
    EDGE[5],
    EDGE[6],
    ("request_protocol", "http"),
    ("response_code", "200"),
    ("response_flags", "-"),
];
const FAILED: [(&str, &str); 2] = [("destination_workload", "v2"), ("response_code", "503")];
const CALLS: [(&str, &str); 3] =
    [("request_protocol", "grpc"), ("response_code", "200"), ("grpc_response_status", "0")];

/// After [`ask_all`]: 21 requests with 200 and 6 with 503, of which the first of each are older than the first scrape; 4 calls of
/// gRPC; one connection with 5 bytes each way.
const QUERIES: &[Query] = &[
    query("Kiali: an edge of the graph", GRAPH, &OK, Exactly(21.0)),
    query("Kiali: its errors", GRAPH, &FAILED, Exactly(6.0)),
    query("Kiali: gRPC", GRAPH, &CALLS, Exactly(4.0)),
    query(
        "Kiali: mutual TLS of an edge",
        "sum by (source_principal, destination_principal, connection_security_policy) \
         (istio_requests_total{reporter=\"source\", destination_workload=\"v2\", request_protocol=\"http\"})",
        &[
            ("source_principal", "spiffe://cluster.local/ns/shop/sa/client"),
            ("destination_principal", "spiffe://cluster.local/ns/shop/sa/v2"),
            ("connection_security_policy", "mutual_tls"),
        ],
        Exactly(27.0),
    ),
    query(
        "Kiali: TCP of an edge",
        "sum by (source_workload, destination_service_name, destination_workload) \
         (istio_tcp_sent_bytes_total{reporter=\"source\", app!=\"\"})",
        &[("source_workload", "client"), ("destination_service_name", "v2"), ("destination_workload", "v2")],
        Exactly(5.0),
    ),
    query(
        "Kiali: request rate of a workload",
        "sum(rate(istio_requests_total{reporter=\"source\", destination_workload=\"v2\", request_protocol=\"http\"}[120s]))",
        &[],
        Within(0.0, 25.0),
    ),
    query(
        "Kiali: messages of gRPC",
        "sum(istio_request_messages_total{reporter=\"source\", destination_workload=\"v2\"})",
        &[],
        Exactly(4.0),
    ),
    query(
        "Grafana, service: success rate of its clients",
        "sum(rate(istio_requests_total{reporter=\"source\", destination_service=~\"v2.shop.svc.cluster.local\", \
         request_protocol=\"http\", response_code!~\"5.*\"}[120s])) / sum(rate(istio_requests_total{reporter=\"source\", \
         destination_service=~\"v2.shop.svc.cluster.local\", request_protocol=\"http\"}[120s]))",
        &[],
        Exactly(0.8),
    ),
    query(
        "Grafana, service: half of the requests took no longer (ms)",
        "histogram_quantile(0.50, sum by (le) (rate(istio_request_duration_milliseconds_bucket{reporter=\"source\", \
         destination_service=~\"v2.shop.svc.cluster.local\", request_protocol=\"http\"}[120s])))",
        &[],
        Within(100.0, 250.0),
    ),
    query(
        "Grafana, workload: sizes of responses",
        "histogram_quantile(0.50, sum by (le, destination_workload) (rate(istio_response_bytes_bucket{reporter=\"source\", \
         destination_workload=~\"v2\", destination_workload_namespace=~\"shop\", response_code=\"200\"}[120s])))",
        &[("destination_workload", "v2")],
        Within(1000.0, 2500.0),
    ),
    query(
        "Grafana, workload: its clients",
        "sum by (source_workload, source_workload_namespace, response_code) (istio_requests_total{\
         connection_security_policy=\"mutual_tls\", destination_workload_namespace=~\"shop\", destination_workload=~\"v2\", \
         reporter=~\"source|destination\", request_protocol=\"http\"})",
        &[("source_workload", "client"), ("source_workload_namespace", "shop"), ("response_code", "200")],
        Exactly(21.0),
    ),
    query(
        "Grafana, workload: what it asks of services",
        "sum by (destination_service, response_code) (istio_requests_total{source_workload=~\"client\", \
         source_workload_namespace=~\"shop\", reporter=\"source\", request_protocol=\"http\"})",
        &[("destination_service", "v2.shop.svc.cluster.local"), ("response_code", "503")],
        Exactly(6.0),
    ),
    query(
        "Grafana, workload: bytes of TCP that reached it",
        "sum by (source_workload) (istio_tcp_received_bytes_total{reporter=\"destination\", destination_workload=~\"v2\", \
         connection_security_policy=\"mutual_tls\"}) > 0",
        &[("source_workload", "client")],
        Within(5.0, 1_000_000.0),
    ),
    query("Kiali: components", "count(istio_build{component=\"weir\"})", &[], Exactly(2.0)),
];

fn ask_all(mesh: &HttpMesh, prometheus: &Prometheus) -> Result<()> {
    let service = mesh.version("v2");
    let ok = "--target=/?delay_ms=120&size=2000";
    // A rate needs a first value.
    service.load(80, &["--requests=1", ok])?.all_are(200)?;
    service.load(80, &["--requests=1", "--target=/?status=503&delay_ms=120"])?.all_are(503)?;
    wait::until("both are scraped twice", ANSWERED, || {
        for code in ["200", "503"] {
            let query = format!(
                "count_over_time(istio_requests_total{{destination_workload=\"v2\", response_code=\"{code}\"}}[60s])"
            );
            let series = prometheus.series(&query)?;
            let count = series.first().and_then(value).with_context(|| format!("nothing of {code}"))?;
            ensure!(count >= 2.0, "{code}: {count}");
        }
        Ok(())
    })?;
    service.load(80, &["--requests=20", ok])?.all_are(200)?;
    service.load(80, &["--requests=5", "--target=/?status=503&delay_ms=120"])?.all_are(503)?;
    let call =
        ["--http2", "--method=POST", "--field=content-type: application/grpc", "--field=te: trailers", "--bytes=105"];
    service.load(9000, &[&call[..], &["--requests=4", "--target=/echo.Echo/Unary"]].concat())?.all_are(200)?;
    test_app::probe(&mesh.client.place, service.vip(), 7001, "hello").map(drop)
}

fn value(series: &Value) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}

fn queries(mesh: &mut HttpMesh) -> Result<()> {
    prometheus::binary().map_err(|error| Skip(format!("{error:#}")))?;
    // What was asked while the mesh came up.
    let before = mesh.agent_of(&mesh.client).metrics()?.sum("istio_requests_total", &[("destination_workload", "v2")]);
    let targets: Vec<Value> = (1..=2)
        .map(|node| json!({"targets": [format!("10.77.0.{node}:15020")], "labels": {"app": "weir", "pod": format!("weir-{node}")}}))
        .collect();
    let folder = mesh.world.run().bulk()?.join("prometheus");
    let prometheus = Prometheus::start(&mesh.world.nodes[N1].place, &folder, &targets)?;
    ask_all(mesh, &prometheus)?;
    for Query { title, promql, labels, expected } in QUERIES {
        wait::until(&format!("{title}: {promql}"), ANSWERED, || {
            let all = prometheus.series(promql)?;
            let is_it = |series: &&Value| labels.iter().all(|(name, value)| series["metric"][*name] == *value);
            let found: Vec<&Value> = all.iter().filter(is_it).collect();
            let [series] = found.as_slice() else { anyhow::bail!("{labels:?} is not in {all:#?}") };
            let value = value(series).context("no number")?;
            let is_right = match expected {
                // The first requests of the mesh itself succeeded.
                Exactly(wanted) if *wanted > 20.0 => (value - before - wanted).abs() < 1e-9,
                Exactly(wanted) => (value - wanted).abs() < 1e-9,
                Within(least, most) => value > *least && value <= *most,
            };
            ensure!(is_right, "{value}, expected {expected:?} (before: {before})");
            Ok(())
        })?;
    }
    note(format!("{} queries answered", QUERIES.len()));
    Ok(())
}
