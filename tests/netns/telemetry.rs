//! What agents tell: metrics with Istio's names and labels, one line per connection, and the configuration they hold.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http;
use weir_tests::mesh::{FAR_VIPS, Mesh, ip, principal};
use weir_tests::test_app::{self, Bulk, ECHO, Seen};
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::count::{CLOSED, Counter, OPENED};
use crate::harness::{Case, Check};

/// The port of HBONE listeners.
const HBONE: u16 = 15_008;

pub(crate) const CASES: &[Case] = &[
    Case { name: "telemetry: connections carry Istio's labels on both sides", check: Check::Mesh(labels) },
    Case { name: "telemetry: bytes are counted exactly, in both directions", check: Check::Mesh(bytes) },
    Case { name: "telemetry: every opened connection is closed, in the counters too", check: Check::Mesh(closed) },
    Case { name: "telemetry: plaintext is reported as such", check: Check::Mesh(plaintext) },
    Case { name: "telemetry: the access log names both ends", check: Check::Mesh(access_log) },
    Case { name: "telemetry: the configuration dump has istioctl's keys", check: Check::Mesh(config_dump) },
    Case { name: "telemetry: no key and no token is ever shown", check: Check::Mesh(no_secrets) },
    Case { name: "telemetry: `weir status` tells in one screen what a node does", check: Check::Mesh(status) },
    Case { name: "telemetry: the admin endpoint is on loopback only", check: Check::Mesh(admin_on_loopback) },
];

/// Every label that Istio's TCP metrics have, in the words of its documentation.
const LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

fn labels(mesh: &Mesh) -> Result<()> {
    let (source, destination) = (principal(&mesh.client), principal(&mesh.far));
    let expected = |reporter: &'static str| {
        vec![
            ("reporter", reporter),
            ("source_workload", "client"),
            ("source_workload_namespace", "shop"),
            ("source_principal", &*source),
            ("destination_workload", "far"),
            ("destination_workload_namespace", "shop"),
            ("destination_principal", &*destination),
            ("destination_service", "far.shop.svc.cluster.local"),
            ("destination_service_name", "far"),
            ("destination_service_namespace", "shop"),
            ("request_protocol", "tcp"),
            ("response_flags", "-"),
            ("connection_security_policy", "mutual_tls"),
        ]
    };
    for (pod, reporter) in [(&mesh.client, "source"), (&mesh.far, "destination")] {
        let agent = mesh.agent_of(pod);
        let counter = Counter::of(agent, OPENED, &expected(reporter))?;
        test_app::echoes(&mesh.client.place, ip(FAR_VIPS[0]), ECHO)?;
        counter.grows_by(1.0).with_context(|| agent.metrics_text().unwrap_or_default())?;
        let metrics = agent.metrics()?;
        let wanted = expected(reporter);
        let sample = metrics.matching(OPENED, &wanted).next().context("a sample carries the labels")?;
        for label in LABELS {
            ensure!(sample.labels.contains_key(*label), "{reporter}: {label} is missing in {sample:?}");
        }
    }
    Ok(())
}

fn status(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.client);
    let output = agent.weir(&["status"])?;
    let text = &output.stdout;
    ensure!(output.status.success() && text.lines().count() <= 40, "{output:?}");
    for word in ["n1", "shop/client", "shop/near", &*principal(&mesh.client), "10.77.1.10"] {
        ensure!(text.contains(word), "{word} is missing in:\n{text}");
    }
    Ok(())
}

fn bytes(mesh: &Mesh) -> Result<()> {
    const SENT: u64 = 1_234_567;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let (source, destination) = (principal(&mesh.client), principal(&mesh.far));
    let mut counters = Vec::new();
    for (pod, reporter) in [(&mesh.client, "source"), (&mesh.far, "destination")] {
        let labels = [("reporter", reporter), ("source_principal", &*source), ("destination_principal", &*destination)];
        for name in ["istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"] {
            counters.push((reporter, name, Counter::of(mesh.agent_of(pod), name, &labels)?));
        }
    }
    let echoed: Bulk =
        test_app::client(&mesh.client.place, Duration::from_secs(20), &["echo", &to, &SENT.to_string()])?;
    ensure!(echoed.exact, "{echoed:?}");
    for (reporter, name, counter) in counters {
        counter
            .grows_by_exactly(SENT as f64)
            .with_context(|| format!("{reporter} {name}: {SENT} were sent each way"))?;
    }
    Ok(())
}

fn closed(mesh: &Mesh) -> Result<()> {
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
    for agent in &mesh.agents {
        wait::until("as many are closed as were opened", Duration::from_secs(5), || {
            let metrics = agent.metrics()?;
            let (opened, closed) = (metrics.sum(OPENED, &[]), metrics.sum(CLOSED, &[]));
            ensure!(opened == closed, "{opened} opened, {closed} closed");
            Ok(())
        })?;
    }
    Ok(())
}

fn plaintext(mesh: &Mesh) -> Result<()> {
    let labels =
        [("reporter", "destination"), ("destination_workload", "far"), ("connection_security_policy", "unknown")];
    let counter = Counter::of(mesh.agent_of(&mesh.far), OPENED, &labels)?;
    test_app::echoes(&mesh.outsider.place, mesh.far.ipv4(), ECHO)?;
    counter.grows_by(1.0)
}

fn access_log(mesh: &Mesh) -> Result<()> {
    let before = mesh.agents.iter().map(|agent| agent.log().len()).collect::<Vec<_>>();
    let seen = test_app::echoes(&mesh.client.place, ip(FAR_VIPS[0]), ECHO)?;
    for ((agent, before), direction) in mesh.agents.iter().zip(before).zip(["outbound", "inbound"]) {
        let expected = access_line(mesh, &seen, direction);
        wait::until("the connection is in the access log", Duration::from_secs(3), || {
            let log = agent.log();
            let new = log.get(before..).unwrap_or_default();
            let direction = format!("direction=\"{direction}\"");
            let line = new.lines().find(|line| line.contains("connection complete") && line.contains(&direction));
            let line = line.with_context(|| format!("no such line in {new:?}"))?;
            let (_, fields) = line.rsplit_once('\t').context("fields come last")?;
            let (fields, duration) =
                fields.rsplit_once(" duration=").context("the duration ends a line without error")?;
            ensure!(fields == expected, "{fields}\nis not\n{expected}");
            let millis = duration.strip_suffix("ms").with_context(|| format!("{duration} is not in milliseconds"))?;
            millis.parse::<u64>().with_context(|| format!("{millis} milliseconds"))?;
            Ok(())
        })?;
    }
    Ok(())
}

/// The fields of the line of a connection from client to far through far's service, up to its duration. Only the source's
/// agent knows which address the application dialled.
fn access_line(mesh: &Mesh, seen: &Seen, direction: &str) -> String {
    let (hbone, endpoint) = (SocketAddr::new(mesh.far.ipv4(), HBONE), SocketAddr::new(mesh.far.ipv4(), ECHO));
    let original = SocketAddr::new(ip(FAR_VIPS[0]), ECHO);
    let original = if direction == "outbound" { format!("dst.original_addr={original} ") } else { String::new() };
    let end = |end: &str, pod: &Pod| {
        let (name, principal) = (pod.name(), principal(pod));
        format!(
            "{end}.workload=\"{name}\" {end}.namespace=\"shop\" {end}.identity={principal} {end}.cluster=\"Kubernetes\""
        )
    };
    let (source, destination) = (end("src", &mesh.client), end("dst", &mesh.far));
    let bytes = seen.received.len();
    format!(
        "src.addr={} {source} dst.addr={hbone} dst.hbone_addr={endpoint} {original}\
         dst.service=\"far.shop.svc.cluster.local\" {destination} direction=\"{direction}\" bytes_sent={bytes} \
         bytes_recv={bytes}",
        seen.local
    )
}

fn config_dump(mesh: &Mesh) -> Result<()> {
    let dump = mesh.agent_of(&mesh.client).config_dump()?;
    for key in ["workloads", "services", "policies", "certificates", "config", "version", "workloadState"] {
        ensure!(
            dump.get(key).is_some(),
            "{key} is missing among {:?}",
            dump.as_object().map(|keys| keys.keys().collect::<Vec<_>>())
        );
    }
    let text = dump.to_string();
    for name in ["\"far\"", "far.shop.svc.cluster.local", "spiffe://cluster.local/ns/shop/sa/client", FAR_VIPS[0]] {
        ensure!(text.contains(name), "{name} is missing");
    }
    Ok(())
}

fn no_secrets(mesh: &Mesh) -> Result<()> {
    for agent in &mesh.agents {
        let (dump, log, metrics) = (agent.config_dump()?.to_string(), agent.log(), agent.metrics_text()?);
        ensure!(dump.contains("spiffe://") && !log.is_empty() && !metrics.is_empty(), "there is something to look at");
        let shown = dump + &log + &metrics;
        for secret in ["PRIVATE KEY", "token-of-"] {
            ensure!(!shown.contains(secret), "{secret} is shown by the agent of {}", agent.place().name());
        }
    }
    Ok(())
}

fn admin_on_loopback(mesh: &Mesh) -> Result<()> {
    let node = mesh.node_of(&mesh.client).ipv4();
    let from_pod = test_app::probe(&mesh.outsider.place, node.into(), 15_000, "GET /config_dump HTTP/1.1\r\n\r\n")?;
    ensure!(from_pod.connect != "ok", "a pod reached the admin endpoint: {from_pod:?}");
    let metrics = http::get(mesh.outsider.place.netns(), SocketAddr::new(node.into(), 15_020), "/metrics")?;
    ensure!(metrics.status == 200, "metrics are for the network: {metrics:?}");
    Ok(())
}
