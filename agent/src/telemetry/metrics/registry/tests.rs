//! What a scrape shows.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::Ordering;

use super::*;
use crate::model::http::head::RequestHead;
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::Reporter;
use crate::telemetry::fixture::{ends, pod, strangers};
use crate::telemetry::metrics::{AuthorizerResult, LimitOutcome, Side, StateFile, XdsTermination};
use crate::telemetry::record::ConnectionRecord;
use crate::telemetry::request::RequestRecord;
use crate::telemetry::request_ends::RequestEnds;
use crate::telemetry::request_reporting::RequestReporting;

fn text_of(metrics: &Metrics, format: TextFormat) -> String {
    let mut text = String::new();
    let scrape = metrics.scrape(format).unwrap();
    scrape.text().read_to_string(&mut text).unwrap();
    assert_eq!(text.len() as u64, scrape.text_bytes());
    text
}

fn open_metrics(metrics: &Metrics) -> String {
    text_of(metrics, TextFormat::OpenMetrics)
}

/// The labels and value of the only line of a metric.
fn only(text: &str, metric: &str) -> (String, u64) {
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("{metric}{{"))).collect();
    let [line] = lines.as_slice() else { panic!("{metric}: {lines:#?}\n{text}") };
    let (labels, value) = line[metric.len()..].rsplit_once(' ').unwrap();
    (labels.to_owned(), value.parse().unwrap())
}

fn values(text: &str, metric: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        text.lines().filter(|line| line.starts_with(metric)).map(|line| line[metric.len()..].to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn labels_are_istios_in_ztunnels_order() {
    let metrics = Metrics::new();
    drop(ConnectionRecord::open(&metrics, ends(Reporter::Source)));
    let expected = "{reporter=\"source\",source_workload=\"client-v1\",source_canonical_service=\"client\",\
        source_canonical_revision=\"v1\",source_workload_namespace=\"shop\",\
        source_principal=\"spiffe://cluster.local/ns/shop/sa/client\",source_app=\"client\",source_version=\"v1\",\
        source_cluster=\"Kubernetes\",destination_service=\"reviews.shop.svc.cluster.local\",\
        destination_service_namespace=\"shop\",destination_service_name=\"reviews\",\
        destination_workload=\"reviews-v1\",destination_canonical_service=\"reviews\",\
        destination_canonical_revision=\"v1\",destination_workload_namespace=\"shop\",\
        destination_principal=\"spiffe://cluster.local/ns/shop/sa/reviews\",destination_app=\"reviews\",\
        destination_version=\"v1\",destination_cluster=\"Kubernetes\",request_protocol=\"tcp\",response_flags=\"-\",\
        connection_security_policy=\"mutual_tls\"}";
    let text = open_metrics(&metrics);
    for metric in ["opened", "closed"] {
        assert_eq!(only(&text, &format!("istio_tcp_connections_{metric}_total")), (expected.to_owned(), 1));
    }
    for metric in ["received", "sent"] {
        assert_eq!(only(&text, &format!("istio_tcp_{metric}_bytes_total")), (expected.to_owned(), 0));
    }
}

#[test]
fn what_is_not_known_is_unknown() {
    let metrics = Metrics::new();
    let _open = ConnectionRecord::open(&metrics, strangers(Reporter::Destination));
    let (labels, _) = only(&open_metrics(&metrics), "istio_tcp_connections_opened_total");
    assert_eq!(labels.matches("=\"unknown\"").count(), 20, "{labels}");
    assert!(labels.starts_with("{reporter=\"destination\",source_workload=\"unknown\","));
    assert!(labels.ends_with("response_flags=\"-\",connection_security_policy=\"unknown\"}"));
}

#[test]
fn sent_is_the_response_and_received_the_request_whoever_reports() {
    for reporter in [Reporter::Source, Reporter::Destination] {
        let metrics = Metrics::new();
        let record = ConnectionRecord::open(&metrics, ends(reporter));
        record.bytes().to_destination.fetch_add(10, Ordering::Relaxed);
        record.bytes().to_source.fetch_add(3000, Ordering::Relaxed);
        drop(record);
        let text = open_metrics(&metrics);
        assert_eq!(only(&text, "istio_tcp_received_bytes_total").1, 10, "{reporter:?}");
        assert_eq!(only(&text, "istio_tcp_sent_bytes_total").1, 3000, "{reporter:?}");
    }
}

#[test]
fn bytes_of_open_connections_show_at_every_scrape_and_once() {
    let metrics = Metrics::new();
    let record = ConnectionRecord::open(&metrics, ends(Reporter::Source));
    for total in [5, 10] {
        record.bytes().to_destination.fetch_add(5, Ordering::Relaxed);
        assert_eq!(only(&open_metrics(&metrics), "istio_tcp_received_bytes_total").1, total);
        assert_eq!(only(&open_metrics(&metrics), "istio_tcp_received_bytes_total").1, total);
    }
    let bytes = record.bytes();
    bytes.to_destination.fetch_add(1, Ordering::Relaxed);
    drop(record);
    assert_eq!(only(&open_metrics(&metrics), "istio_tcp_received_bytes_total").1, 11);
}

#[test]
fn every_connection_is_closed_once_and_a_failed_one_with_its_flag() {
    let metrics = Metrics::new();
    drop(ConnectionRecord::open(&metrics, ends(Reporter::Source)));
    let mut record = ConnectionRecord::open(&metrics, ends(Reporter::Source));
    record.fail(ResponseFlag::Denied, &"denied by policy shop/deny");
    record.fail(ResponseFlag::ConnectFailure, &"too late to matter");
    drop(record);
    let text = open_metrics(&metrics);
    assert_eq!(only(&text, "istio_tcp_connections_opened_total").1, 2);
    let (labels, failed) = only(&text, "istio_tcp_connections_failed_total");
    assert_eq!(failed, 1);
    assert!(labels.contains("response_flags=\"DENY\""), "{labels}");
    let closed = values(&text, "istio_tcp_connections_closed_total");
    assert_eq!(closed.len(), 2, "{closed:?}");
    assert!(closed.iter().all(|line| line.ends_with(" 1")), "{closed:?}");
}

#[test]
fn a_connection_refused_before_its_ends_are_known_only_failed() {
    let metrics = Metrics::new();
    let [source_addr, listener] = ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap()];
    let (reporter, flag) = (Reporter::Destination, ResponseFlag::TlsFailure);
    RefusedConnection { reporter, source_addr, listener, flag }.record(&metrics, &pod(100), &"no certificate");
    let text = open_metrics(&metrics);
    let (labels, failed) = only(&text, "istio_tcp_connections_failed_total");
    assert_eq!(failed, 1);
    assert!(labels.contains("reporter=\"destination\"") && labels.contains("response_flags=\"TLS_FAILURE\""));
    assert!(values(&text, "istio_tcp_connections_opened_total").is_empty());
}

#[test]
fn open_connections_are_listed_until_they_end() {
    let metrics = Metrics::new();
    let record = ConnectionRecord::open(&metrics, ends(Reporter::Source));
    let other = ConnectionRecord::open(&metrics, ends(Reporter::Destination));
    record.bytes().to_source.fetch_add(7, Ordering::Relaxed);
    assert_eq!(
        values(&open_metrics(&metrics), "istio_tcp_sockets_open"),
        ["{reporter=\"destination\"} 1", "{reporter=\"source\"} 1"]
    );
    drop(other);
    let live = metrics.live_connections();
    let [connection] = live.as_slice() else { panic!("{live:?}") };
    assert_eq!(connection.bytes_to_source, 7);
    assert_eq!(connection.ends.original_dst.unwrap().0.to_string(), "10.96.0.7:80");
    drop(record);
    assert!(metrics.live_connections().is_empty());
    assert_eq!(values(&open_metrics(&metrics), "istio_tcp_sockets_open{reporter=\"source\"}"), [" 0"]);
}

#[test]
fn a_provisional_record_is_open_at_once_and_counts_as_opened_when_its_ends_are_settled() {
    let metrics = Metrics::new();
    let record = ConnectionRecord::open_provisional(&metrics, strangers(Reporter::Source));
    let text = open_metrics(&metrics);
    assert_eq!(values(&text, "istio_tcp_connections_opened_total"), [] as [String; 0]);
    assert_eq!(values(&text, "istio_tcp_sockets_open{reporter=\"source\"}"), [" 1"]);
    assert_eq!(metrics.live_connections().len(), 1);
    record.settle(Some(ends(Reporter::Source)));
    let (labels, opened) = only(&open_metrics(&metrics), "istio_tcp_connections_opened_total");
    assert_eq!(opened, 1);
    drop(record);
    // Whoever never settles is counted as what was known at first.
    drop(ConnectionRecord::open_provisional(&metrics, ends(Reporter::Source)));
    let text = open_metrics(&metrics);
    for metric in ["opened", "closed"] {
        assert_eq!(only(&text, &format!("istio_tcp_connections_{metric}_total")), (labels.clone(), 2));
    }
}

#[test]
fn a_connection_that_carries_requests_is_open_and_has_no_tcp_metrics() {
    let metrics = Metrics::new();
    let mut record = ConnectionRecord::open_provisional(&metrics, strangers(Reporter::Source));
    record.settle_for_requests(Some(ends(Reporter::Source)));
    record.settle(Some(strangers(Reporter::Source)));
    record.bytes().to_destination.fetch_add(10, Ordering::Relaxed);
    let live = metrics.live_connections();
    let [connection] = live.as_slice() else { panic!("{live:?}") };
    assert!(connection.carries_requests && connection.ends.service.is_some());
    record.fail(ResponseFlag::TlsFailure, &"no peer");
    drop(record);
    let text = open_metrics(&metrics);
    assert!(metrics.live_connections().is_empty());
    for metric in ["connections_opened", "connections_closed", "connections_failed", "received_bytes", "sent_bytes"] {
        assert_eq!(values(&text, &format!("istio_tcp_{metric}_total")), [] as [String; 0], "{metric}");
    }
}

#[test]
fn sources_are_asked_at_every_scrape() {
    let metrics = Metrics::new();
    metrics.register_kernel_counters(|| vec![("redirected", 4), ("bypass_loopback", 2)]);
    metrics.register_kernel_entries(|| vec![("pods", 3)]);
    metrics.register_fields_without_effect(|| vec![("sidecar", 2), ("mesh_config", 0)]);
    metrics.register_dropped_log_lines(|| 9);
    let identity = Identity::new(crate::model::identity::TrustDomain::new(""), "shop", "client");
    metrics.register_certificates(move || vec![(identity.clone(), SystemTime::UNIX_EPOCH)]);
    metrics.config_accepted(SystemTime::now());
    let text = open_metrics(&metrics);
    assert!(text.contains("\nweir_capture_verdicts_total{verdict=\"redirected\"} 4\n"), "{text}");
    assert!(text.contains("\nweir_capture_map_entries{map=\"pods\"} 3\n"), "{text}");
    for line in ["{kind=\"sidecar\"} 2", "{kind=\"mesh_config\"} 0"] {
        assert!(text.contains(&format!("\nweir_config_fields_without_effect{line}\n")), "{text}");
    }
    assert!(text.contains("\nweir_log_lines_dropped_total 9\n"), "{text}");
    assert!(text.contains("weir_certificate_expiry_seconds{identity=\"spiffe://cluster.local/ns/shop/sa/client\"} -"));
    assert_eq!(values(&text, "weir_last_good_age_seconds ").len(), 1, "{text}");
}

mod dashboards;

#[test]
fn names_of_all_metrics() {
    let metrics = Metrics::new();
    let _open = everything_once(&metrics);
    let text = open_metrics(&metrics);
    let names: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let expected = "istio_build gauge\nistio_request_bytes histogram\nistio_request_duration_milliseconds histogram\n\
        istio_request_messages counter\nistio_requests counter\nistio_response_bytes histogram\n\
        istio_response_messages counter\nistio_tcp_connections_closed counter\nistio_tcp_connections_failed counter\n\
        istio_tcp_connections_opened counter\nistio_tcp_received_bytes counter\nistio_tcp_sent_bytes counter\n\
        istio_tcp_sockets_open gauge\nistio_xds_connection_terminations counter\nistio_xds_message counter\n\
        istio_xds_message_bytes counter\nprocess_cpu_seconds counter\nprocess_max_fds gauge\nprocess_open_fds gauge\n\
        process_resident_memory_bytes gauge\nprocess_start_time_seconds gauge\nprocess_threads gauge\n\
        weir_accept_errors counter\nweir_audited counter\nweir_capture_map_entries gauge\nweir_capture_verdicts counter\n\
        weir_certificate_expiry_seconds gauge\nweir_certificate_requests counter\n\
        weir_cni_calls counter\nweir_config_fields_without_effect gauge\nweir_config_rejected counter\nweir_dry_run_denials counter\n\
        weir_enrollment_refusals counter\nweir_external_authorizations counter\nweir_hbone_connections_open gauge\n\
        weir_hbone_peers_distrusted counter\nweir_http_heads_parsed counter\nweir_jwks_fetches counter\nweir_kubernetes_watch_errors counter\nweir_last_good_age_seconds gauge\n\
        weir_late_plaintext_connections gauge\nweir_late_plaintext_ended counter\nweir_limit_reached counter\nweir_log_lines_dropped counter\n\
        weir_nri_connected gauge\nweir_nri_requests counter\nweir_object_status_writes counter\n\
        weir_policy_closed_connections counter\n\
        weir_rate_limit_requests counter\nweir_request_denials counter\nweir_same_node_links_open gauge\n\
        weir_spans_dropped counter\nweir_spans_exported counter\n\
        weir_state_write_failures counter\nweir_tls_handshake_failures counter\nweir_worker_restarts counter\nweir_xds_repeated_resources counter\n\
        workload_manager_active_proxy_count gauge\n\
        workload_manager_pending_proxy_count gauge";
    assert_eq!(names.into_iter().collect::<Vec<_>>().join("\n"), expected);
    assert!(text.contains(&format!("istio_build{{component=\"weir\",tag=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    assert!(text.ends_with("# EOF\n"));
}

/// Counts every event once (families without any value are not written).
fn everything_once(metrics: &Arc<Metrics>) -> (ConnectionRecord, OpenGuard) {
    metrics.config_accepted(SystemTime::now());
    metrics.handshake_failed(Side::Downstream, "expired");
    metrics.peer_distrusted(Side::Upstream, "revoked");
    metrics.certificate_requested(true);
    metrics.certificate_requested(false);
    metrics.xds_connection_ended(XdsTermination::Reconnect);
    metrics.xds_message("type.googleapis.com/istio.workload.Address", 300);
    metrics.config_rejected("type.googleapis.com/istio.security.Authorization");
    metrics.xds_repeated("virtual_service", 3);
    metrics.enrollment_refused("netns");
    metrics.cni_called("add", "enrolled");
    metrics.nri_asked("add", "enrolled");
    metrics.set_nri_connected(true);
    metrics.policy_closed_connection();
    metrics.dry_run_denied();
    metrics.audited();
    metrics.external_authorization(AuthorizerResult::FailedOpen);
    metrics.jwks_fetched(true);
    metrics.object_status_written("written");
    metrics.accept_failed();
    metrics.state_write_failed(StateFile::LastGood);
    metrics.rate_limit(&"shop/web".into(), &"writes".into()).count(LimitOutcome::DryRun);
    metrics.set_pods(3);
    metrics.set_pending_pods(1);
    let request_ends = RequestEnds::new(&RequestReporting::new(metrics, None), &pod(100), ends(Reporter::Source));
    let grpc =
        RequestHead { fields: [("content-type", "application/grpc")].into_iter().collect(), ..RequestHead::default() };
    let mut record = RequestRecord::open(&request_ends, &grpc);
    record.request_data(&[0; 5]);
    record.denied(&"by a policy");
    drop(record);
    (ConnectionRecord::open(metrics, ends(Reporter::Source)), metrics.hbone_connection_opened(Side::Upstream))
}

#[test]
fn events_count_under_bounded_labels() {
    let metrics = Metrics::new();
    let open = everything_once(&metrics);
    let text = open_metrics(&metrics);
    for line in [
        "weir_tls_handshake_failures_total{side=\"downstream\",reason=\"expired\"} 1",
        "weir_hbone_peers_distrusted_total{side=\"upstream\",reason=\"revoked\"} 1",
        "weir_certificate_requests_total{result=\"success\"} 1",
        "weir_certificate_requests_total{result=\"failure\"} 1",
        "istio_xds_connection_terminations_total{reason=\"Reconnect\"} 1",
        "istio_xds_message_total{url=\"type.googleapis.com/istio.workload.Address\"} 1",
        "istio_xds_message_bytes_total{url=\"type.googleapis.com/istio.workload.Address\"} 300",
        "weir_config_rejected_total{type=\"type.googleapis.com/istio.security.Authorization\"} 1",
        "weir_cni_calls_total{command=\"add\",answer=\"enrolled\"} 1",
        "weir_nri_requests_total{command=\"add\",answer=\"enrolled\"} 1",
        "weir_nri_connected 1",
        "weir_xds_repeated_resources_total{type=\"virtual_service\"} 3",
        "weir_policy_closed_connections_total 1",
        "weir_dry_run_denials_total 1",
        "weir_audited_total 1",
        "weir_external_authorizations_total{result=\"failed_open\"} 1",
        "weir_request_denials_total 1",
        "weir_rate_limit_requests_total{object=\"shop/web\",limit=\"writes\",outcome=\"dry_run\"} 1",
        "weir_rate_limit_requests_total{object=\"shop/web\",limit=\"writes\",outcome=\"limited\"} 0",
        "weir_accept_errors_total 1",
        "weir_state_write_failures_total{file=\"last_good\"} 1",
        "workload_manager_active_proxy_count 3",
        "workload_manager_pending_proxy_count 1",
        "weir_hbone_connections_open{side=\"upstream\"} 1",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    drop(open);
    assert!(open_metrics(&metrics).contains("weir_hbone_connections_open{side=\"upstream\"} 0"));
}
