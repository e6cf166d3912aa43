//! A real Prometheus that scrapes Weir's agents as their annotations say, and the queries of Istio's dashboard of node agents.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::{CLIENT_NODE, Cluster, NODES};
use weir_tests::prometheus::{ANSWERED, Prometheus};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] = &[
    Case { name: "prometheus: promtool finds names, types and help as they should be", check: Check::Mesh(promtool) },
    Case { name: "prometheus: the queries of Istio's dashboards have answers", check: Check::Mesh(dashboards) },
];

/// The queries of Istio's dashboard of node agents (Istio 1.31), by the title of their panel. Left out are two: what the
/// kubelet says of containers' memory and processors, and DNS, which Weir leaves alone.
const PANELS: &[(&str, &str)] = &[
    ("Ztunnel Versions", r#"sum by (tag) (istio_build{component="ztunnel"})"#),
    ("Connections", r#"sum by (pod) (rate(istio_tcp_connections_opened_total{pod=~"ztunnel-.*"}[$__rate_interval]))"#),
    ("Connections", r#"-sum by (pod) (rate(istio_tcp_connections_closed_total{pod=~"ztunnel-.*"}[$__rate_interval]))"#),
    ("Bytes Transmitted", r#"sum by (pod) (rate(istio_tcp_sent_bytes_total{pod=~"ztunnel-.*"}[$__rate_interval]))"#),
    (
        "Bytes Transmitted",
        r#"sum by (pod) (rate(istio_tcp_received_bytes_total{pod=~"ztunnel-.*"}[$__rate_interval]))"#,
    ),
    (
        "XDS Connections",
        r#"sum by (pod) (rate(istio_xds_connection_terminations_total{pod=~"ztunnel-.*"}[$__rate_interval]))"#,
    ),
    ("XDS Pushes", r#"sum by (url) (irate(istio_xds_message_total{pod=~"ztunnel-.*"}[$__rate_interval]))"#),
    ("Workload Manager", r#"sum by (pod) (workload_manager_active_proxy_count{pod=~"ztunnel-.*"})"#),
    ("Workload Manager", r#"sum by (pod) (workload_manager_pending_proxy_count{pod=~"ztunnel-.*"})"#),
    (
        "Resource Usage",
        r#"sum by (pod) (istio_tcp_connections_opened_total{app="ztunnel"}) - sum by (pod) (istio_tcp_connections_closed_total{app="ztunnel"})"#,
    ),
    ("Resource Usage", r#"sum by (pod) (process_open_fds{app="ztunnel"})"#),
    ("Resource Usage", r#"sum by (pod) (istio_tcp_sockets_open{app="ztunnel"})"#),
];
/// What Istio's other dashboards show of TCP, in their form: of a service, by the client.
const SERVICE: &str = r#"sum by (source_workload, source_workload_namespace) (irate(istio_tcp_received_bytes_total{
    connection_security_policy="mutual_tls", reporter="destination", destination_workload_namespace="dashboards"}[10s]))"#;
/// What Grafana puts into a query.
const RATE_INTERVAL: &str = "10s";

fn promtool(cluster: &mut Cluster) -> Result<()> {
    // Weir's names are Istio's where Istio has one, and these two end as those of histograms do.
    let istios = "non-histogram and non-summary metrics should not have \"_count\" suffix";
    for agent in mesh::agents(cluster)? {
        let url = format!("http://{}:15020/metrics", agent.address);
        let promtool = cluster.parts().prometheus("promtool");
        let check = format!("curl --silent --fail --max-time 5 {url} | {} check metrics", promtool.display());
        let output = cluster.node(&agent.node)?.place().output(&["sh", "-c", &check])?;
        let said = output.stdout + &output.stderr;
        let complaints: Vec<&str> =
            said.lines().filter(|line| !(line.starts_with("workload_manager_") && line.ends_with(istios))).collect();
        ensure!(complaints.is_empty(), "of {}: {complaints:?}", agent.name);
    }
    Ok(())
}

fn dashboards(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "dashboards", &[IN_MESH])?;
    pair.is_meshed()?;
    let folder = cluster.run().bulk()?.join("prometheus");
    let prometheus = Prometheus::start(cluster.node(CLIENT_NODE)?.place(), &folder, &targets(cluster)?)?;
    let load = pair.load(40)?;
    for (title, query) in PANELS {
        let query = query.replace("$__rate_interval", RATE_INTERVAL);
        // A rate takes two scrapes, and agents are not scraped at the same time.
        wait::until("all agents are in the answer", ANSWERED, || {
            let series = prometheus.answer(title, &query)?;
            let pods = series.iter().filter(|series| series["metric"]["pod"].is_string()).count();
            ensure!(pods == 0 || pods == 2, "{title}: one agent is missing: {series:?}");
            Ok(())
        })?;
    }
    prometheus.answer("a service by its clients", SERVICE)?;
    for (name, kind) in [("istio_tcp_connections_opened_total", "counter"), ("istio_tcp_sockets_open", "gauge")] {
        ensure!(prometheus.kind(name)? == kind, "{name} is no {kind}");
    }
    note(format!("{} queries answered", PANELS.len() + 1));
    load.report(Duration::from_secs(90))?.none_failed("new")
}

/// What Istio's sample installation of Prometheus makes of pods with these annotations. Debian's Prometheus is built without
/// the part that asks Kubernetes, so it is asked here. One thing is for Weir: the dashboard knows agents by the names that
/// Istio's own have, so that is how they are called.
fn targets(cluster: &Cluster) -> Result<Vec<Value>> {
    let pods = cluster.kubectl.get(&["pods", "--all-namespaces"])?;
    let targets = pods["items"].as_array().into_iter().flatten().filter_map(|pod| {
        let metadata = &pod["metadata"];
        let annotation = |name: &str| metadata["annotations"][format!("prometheus.io/{name}")].as_str();
        annotation("scrape").filter(|scrape| *scrape == "true")?;
        let address = format!("{}:{}", pod["status"]["podIP"].as_str()?, annotation("port")?);
        let labels = json!({
            "__metrics_path__": annotation("path")?,
            "app": metadata["labels"]["app"],
            "namespace": metadata["namespace"],
            "pod": format!("ztunnel-{}", metadata["name"].as_str()?),
        });
        Some(json!({"targets": [address], "labels": labels}))
    });
    let targets: Vec<Value> = targets.collect();
    ensure!(targets.len() == NODES.len(), "pods to be scraped are {targets:?}");
    Ok(targets)
}
