//! What Istio's dashboards ask Prometheus for, and whether the agent has it.

use super::*;

/// The queries of Istio's dashboard of node agents (manifests/addons/dashboards/ztunnel-dashboard.gen.json of Istio 1.31)
/// that are about the agent's own metrics: the metric, and the label that the query selects or groups by. What Prometheus
/// adds to every series (`pod`, `app`) is not ours.
const NODE_AGENTS: &[(&str, &str)] = &[
    ("istio_build", "component=\"ztunnel\""),
    ("istio_build", "tag="),
    ("istio_tcp_connections_opened_total", ""),
    ("istio_tcp_connections_closed_total", ""),
    ("istio_tcp_sent_bytes_total", ""),
    ("istio_tcp_received_bytes_total", ""),
    ("istio_xds_connection_terminations_total", "reason="),
    ("istio_xds_message_total", "url="),
    ("workload_manager_active_proxy_count", ""),
    ("workload_manager_pending_proxy_count", ""),
    ("process_open_fds", ""),
    ("istio_tcp_sockets_open", "reporter="),
];

/// What the dashboards of the mesh, of services and of workloads select and group TCP traffic by.
const TRAFFIC: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_canonical_service",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_canonical_service",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

/// What the dashboards of services and workloads and Kiali ask for of HTTP and gRPC, and whether it has the labels of the outcome.
const REQUESTS: &[(&str, bool)] = &[
    ("istio_requests_total", true),
    ("istio_request_duration_milliseconds_bucket", true),
    ("istio_request_duration_milliseconds_sum", true),
    ("istio_request_duration_milliseconds_count", true),
    ("istio_request_bytes_bucket", true),
    ("istio_request_bytes_sum", true),
    ("istio_response_bytes_bucket", true),
    ("istio_response_bytes_sum", true),
    ("istio_request_messages_total", false),
    ("istio_response_messages_total", false),
];

const OF_OUTCOME: &[&str] =
    &["request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy"];

fn has(text: &str, name: &str, label: &str) -> bool {
    let of_metric = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    text.lines().filter(of_metric).any(|line| line.contains(label))
}

#[test]
fn what_dashboards_ask_for_is_there() {
    let metrics = Metrics::new();
    let open = everything_once(&metrics);
    for text in [open_metrics(&metrics), text_of(&metrics, TextFormat::Classic)] {
        for (name, label) in NODE_AGENTS {
            assert!(has(&text, name, label), "{name} {label}\n{text}");
        }
        for (name, _) in
            NODE_AGENTS.iter().filter(|(name, _)| name.starts_with("istio_tcp_") && name.ends_with("_total"))
        {
            for label in TRAFFIC {
                assert!(has(&text, name, &format!("{label}=")), "{name} {label}\n{text}");
            }
        }
        for (name, has_outcome) in REQUESTS {
            for label in TRAFFIC.iter().filter(|label| !OF_OUTCOME.contains(label)) {
                assert!(has(&text, name, &format!("{label}=")), "{name} {label}\n{text}");
            }
            for label in OF_OUTCOME {
                assert_eq!(has(&text, name, &format!("{label}=")), *has_outcome, "{name} {label}\n{text}");
            }
        }
    }
    drop(open);
}

#[test]
fn what_does_not_need_traffic_is_there_from_the_start() {
    let text = open_metrics(&Metrics::new());
    for (name, label) in NODE_AGENTS.iter().filter(|(name, _)| !name.starts_with("istio_tcp_c")) {
        let needs_traffic = name.ends_with("_bytes_total") || *name == "istio_xds_message_total";
        assert_eq!(has(&text, name, label), !needs_traffic, "{name} {label}\n{text}");
    }
}

#[test]
fn the_older_format_describes_every_sample() {
    let metrics = Metrics::new();
    let _open = everything_once(&metrics);
    let text = text_of(&metrics, TextFormat::Classic);
    let typed: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let helped: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    // The samples of a histogram have names of their own.
    let described = |sample| {
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| str::strip_suffix(sample, part));
        of_histogram.filter(|name| typed.contains(name)).unwrap_or(sample)
    };
    let sampled: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(described)
        .collect();
    assert_eq!(typed, helped);
    assert!(sampled.is_subset(&typed), "{:?}", sampled.difference(&typed).collect::<Vec<_>>());
}
