//! What Telemetry objects change about metrics, access logs and spans.

use std::sync::Arc;

use super::ends::Reporter;
use super::fixture::{ends, pod, scraped};
use super::log::LogFormat;
use super::log::tests::lines;
use super::metrics::Metrics;
use super::record::ConnectionRecord;
use super::request::RequestRecord;
use super::request_ends::RequestEnds;
use super::request_reporting::RequestReporting;
use super::span_view::TagValue;
use super::spans::{Span, Tracing};
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::trace::Sampling;
use crate::model::mesh::IstioAccessLog;
use crate::model::telemetry::Expression;
use crate::model::telemetry::config::TelemetryConfig;
use crate::model::telemetry::objects::*;
use crate::model::telemetry::providers::{Provider, ProviderKind, TelemetryDefaults};
use crate::telemetry::connection_reporting::ConnectionReporting;

fn get(host: &str) -> RequestHead {
    RequestHead {
        method: b"GET".to_vec(),
        target: b"/cart?id=7".to_vec(),
        authority: host.into(),
        fields: [("x-tenant", "blue"), ("x-request-id", "00000001-0000-4000-8000-000000000000")].into_iter().collect(),
        ..RequestHead::default()
    }
}

fn config(spec: TelemetrySpec) -> Arc<TelemetryConfig> {
    let object = TelemetryObject { namespace: "shop".into(), name: "x".into(), spec };
    let short = IstioAccessLog { format: "short %RESPONSE_CODE%".into(), ..IstioAccessLog::default() };
    let providers = vec![Provider { name: "short".into(), kind: ProviderKind::File(Some(short)) }];
    let defaults = TelemetryDefaults { providers, ..TelemetryDefaults::default() };
    Arc::new(TelemetryConfig { objects: vec![Arc::new(object)], root_namespace: "istio-system".into(), defaults })
}

fn ask(ends: &Arc<RequestEnds>, host: &str, status: u16) {
    let mut record = RequestRecord::open(ends, &get(host));
    record.attempt(ends);
    record.response(&ResponseHead { status, ..ResponseHead::default() });
    record.response_data(&[0; 100]);
    record.complete();
}

/// The samples of a metric after requests to hosts of a pod that may have so many series.
fn samples(spec: TelemetrySpec, series: u32, hosts: &[&str], metric: &str) -> Vec<String> {
    let metrics = Metrics::new();
    let reporting = RequestReporting::new(&metrics, None);
    reporting.configure(None, &config(spec), Vec::new());
    let ends = RequestEnds::new(&reporting, &pod(series), ends(Reporter::Source));
    hosts.iter().for_each(|host| ask(&ends, host, 200));
    of(&scraped(&metrics), metric)
}

fn of(text: &str, metric: &str) -> Vec<String> {
    let mut found: Vec<_> =
        text.lines().filter(|line| line.starts_with(&format!("{metric}{{"))).map(str::to_owned).collect();
    found.sort();
    found
}

fn metrics(overrides: Vec<MetricsOverride>) -> TelemetrySpec {
    let rule = MetricsRule { providers: Vec::new(), overrides };
    TelemetrySpec { metrics: vec![rule], ..TelemetrySpec::default() }
}

fn tags(metric: Option<Metric>, tags: &[(&str, Option<&str>)]) -> MetricsOverride {
    let tag = |(name, value): &(&str, Option<&str>)| {
        let tag = match value {
            Some(value) => TagOverride::Upsert(Arc::new(Expression::tag(value).expect("tests have good ones"))),
            None => TagOverride::Remove,
        };
        (Arc::from(*name), tag)
    };
    MetricsOverride { metric, tags: tags.iter().map(tag).collect(), ..MetricsOverride::default() }
}

#[test]
fn labels_are_added_changed_and_removed_of_the_metrics_that_are_named() {
    let count = Some(Metric::RequestCount);
    let spec = metrics(vec![tags(
        count,
        &[
            ("request_host", Some("request.host")),
            ("destination_app", Some("'fixed'")),
            ("tenant", Some("request.headers['x-tenant']")),
            ("own_app", Some("node.metadata['LABELS']['app']")),
            ("absent", Some("request.headers['x-absent']")),
            ("source_principal", None),
        ],
    )]);
    let counted = samples(spec.clone(), 100, &["a", "b", "a"], "istio_requests_total");
    let [a, b] = counted.as_slice() else { panic!("{counted:#?}") };
    assert!(a.ends_with(" 2") && b.ends_with(" 1"), "{counted:#?}");
    for label in [
        "request_host=\"a\"",
        "destination_app=\"fixed\"",
        "tenant=\"blue\"",
        "own_app=\"client\"",
        "absent=\"unknown\"",
    ] {
        assert!(a.contains(label), "{label}: {a}");
    }
    assert!(!a.contains("source_principal") && a.contains("response_code=\"200\""), "{a}");
    let timed = samples(spec, 100, &["a", "b", "a"], "istio_request_duration_milliseconds_count");
    let [timed] = timed.as_slice() else { panic!("{timed:#?}") };
    assert!(timed.ends_with(" 3") && timed.contains("source_principal=") && !timed.contains("request_host"), "{timed}");
}

#[test]
fn what_differs_in_removed_labels_only_is_one_series() {
    let spec = metrics(vec![tags(None, &[("response_code", None), ("response_flags", None)])]);
    let metrics = Metrics::new();
    let reporting = RequestReporting::new(&metrics, None);
    reporting.configure(None, &config(spec), Vec::new());
    let ends = RequestEnds::new(&reporting, &pod(100), ends(Reporter::Source));
    [200, 404, 503].into_iter().for_each(|status| ask(&ends, "a", status));
    let text = scraped(&metrics);
    for metric in ["istio_requests_total", "istio_response_bytes_count"] {
        let found = of(&text, metric);
        assert!(matches!(&*found, [one] if one.ends_with(" 3")), "{found:#?}");
    }
    assert_eq!(of(&text, "istio_response_bytes_sum")[0].rsplit(' ').next(), Some("300.0"));
}

#[test]
fn disabled_metrics_are_not_counted() {
    let off = |metric| MetricsOverride { metric, is_disabled: Some(true), ..MetricsOverride::default() };
    let one = metrics(vec![off(Some(Metric::RequestCount))]);
    assert_eq!(samples(one.clone(), 100, &["a"], "istio_requests_total").len(), 0);
    assert_eq!(samples(one, 100, &["a"], "istio_request_bytes_count").len(), 1);
    let all = metrics(vec![off(None)]);
    for metric in ["istio_requests_total", "istio_request_bytes_count", "istio_request_duration_milliseconds_count"] {
        assert_eq!(samples(all.clone(), 100, &["a"], metric).len(), 0, "{metric}");
    }
}

#[test]
fn a_pod_with_as_many_series_as_it_may_have_counts_the_rest_together() {
    let spec = metrics(vec![tags(Some(Metric::RequestCount), &[("host", Some("request.host"))])]);
    let hosts: Vec<String> = (0..50).map(|number| format!("host-{number}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let found = samples(spec, 8, &hosts, "istio_requests_total");
    let value = |line: &String| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number");
    assert_eq!(found.iter().map(value).sum::<u64>(), 50);
    assert_eq!(found.len(), 9, "the three metrics without such a label take no place: {found:#?}");
    let overflow = found.iter().find(|line| line.contains("host=\"overflow\"")).expect("the rest");
    assert_eq!(value(overflow), 42, "{overflow}");
}

#[test]
fn long_values_are_cut() {
    let spec = metrics(vec![tags(Some(Metric::RequestCount), &[("host", Some("request.host"))])]);
    let found = samples(spec, 100, &[&"é".repeat(1000)], "istio_requests_total");
    assert!(found[0].contains(&format!("host=\"{}\"", "é".repeat(128))), "{found:#?}");
}

fn logging(entries: Vec<AccessLogging>) -> TelemetrySpec {
    TelemetrySpec { access_logging: entries, ..TelemetrySpec::default() }
}

/// `path` of each line, or what else it is, after a request that succeeds and one that fails.
fn written(spec: TelemetrySpec) -> Vec<String> {
    let lines = lines("access=info", LogFormat::Json, |_| {
        let reporting = RequestReporting::new(&Metrics::new(), None);
        reporting.configure(None, &config(spec), Vec::new());
        let ends = RequestEnds::new(&reporting, &pod(100), ends(Reporter::Source));
        [200, 503].into_iter().for_each(|status| ask(&ends, "a", status));
    });
    let shown = |line: String| match serde_json::from_str::<serde_json::Value>(&line) {
        Ok(fields) => format!("fields {}", fields["status"]),
        Err(_) => line,
    };
    lines.into_iter().map(shown).collect()
}

#[test]
fn lines_go_where_objects_say() {
    let entry = AccessLogging::default;
    let filter = |source| Some(Arc::new(Expression::filter(source).expect("tests have good ones")));
    let named = |name: &str| AccessLogging { providers: vec![name.into()], ..entry() };
    for (entries, expected) in [
        (vec![], vec!["fields 200", "fields 503"]),
        (vec![AccessLogging { is_disabled: true, ..entry() }], vec![]),
        (
            vec![AccessLogging { sides: Sides::Only(WorkloadMode::Server), is_disabled: true, ..entry() }],
            vec!["fields 200", "fields 503"],
        ),
        (vec![AccessLogging { filter: filter("response.code >= 500"), ..entry() }], vec!["fields 503"]),
        (vec![AccessLogging { filter: filter("request.headers['x-tenant'] == 'red'"), ..entry() }], vec![]),
        (vec![named("short")], vec!["short 200", "short 503"]),
        (
            vec![AccessLogging {
                filter: filter("response.code == 200 && request.url_path == '/cart'"),
                ..named("short")
            }],
            vec!["short 200"],
        ),
        (vec![named("nobody")], vec![]),
    ] {
        let label = format!("{entries:?}");
        assert_eq!(written(logging(entries)), expected, "{label}");
    }
    let both = AccessLogging { providers: vec!["short".into(), "envoy".into()], ..entry() };
    let found = written(logging(vec![both]));
    assert_eq!(found.len(), 4, "each request has a line for each provider: {found:#?}");
}

#[test]
fn connections_follow_the_same_objects() {
    let count = |spec: TelemetrySpec| {
        let metrics = Metrics::new();
        let lines = lines("access=info", LogFormat::Text, |_| {
            let reporting = RequestReporting::new(&metrics, None);
            reporting.configure(None, &config(spec), Vec::new());
            let record =
                ConnectionRecord::open(ConnectionReporting::new(&reporting, &pod(100)), ends(Reporter::Source));
            record.bytes().to_destination.fetch_add(10, std::sync::atomic::Ordering::Relaxed);
        });
        (scraped(&metrics), lines.len())
    };
    let port =
        tags(Some(Metric::TcpReceivedBytes), &[("port", Some("string(destination.port)")), ("source_app", None)]);
    let (text, lines) = count(metrics(vec![port]));
    let bytes = of(&text, "istio_tcp_received_bytes_total");
    let [bytes] = bytes.as_slice() else { panic!("{bytes:#?}") };
    assert!(bytes.contains("port=\"80\"") && !bytes.contains("source_app=") && bytes.ends_with(" 10"), "{bytes}");
    for metric in ["istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"] {
        let found = of(&text, metric);
        assert!(matches!(&*found, [one] if one.ends_with(" 1") && one.contains("source_app=")), "{found:#?}");
    }
    assert_eq!(lines, 1);
    let off = MetricsOverride { is_disabled: Some(true), ..MetricsOverride::default() };
    let (text, _) = count(metrics(vec![off]));
    for metric in ["istio_tcp_connections_opened_total", "istio_tcp_received_bytes_total"] {
        assert_eq!(of(&text, metric), [] as [String; 0]);
    }
    for (source, expected) in [("destination.port == 80", 1), ("destination.port == 81", 0), ("response.code > 0", 0)] {
        let filter = Some(Arc::new(Expression::filter(source).expect("it is one")));
        assert_eq!(count(logging(vec![AccessLogging { filter, ..AccessLogging::default() }])).1, expected, "{source}");
    }
}

/// A caller of which the span is recorded.
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The span of a request, which may have a caller's; the fields that whoever gets it is told; and whether requests are read at the pod for the
/// sake of spans.
fn traced(rule: TracingRule, side: Reporter, caller: Option<&str>) -> (Option<Box<Span>>, RequestHead, bool) {
    let (tracing, mut spans) = Tracing::new(Sampling::percent(100.0));
    let reporting = RequestReporting::new(&Metrics::new(), Some(tracing));
    let spec = TelemetrySpec { tracing: vec![rule], ..TelemetrySpec::default() };
    reporting.configure(None, &config(spec), Vec::new());
    let pod = pod(100);
    let ends = RequestEnds::new(&reporting, &pod, ends(side));
    let mut head = get("a");
    caller.iter().for_each(|caller| head.fields.append(b"traceparent", caller.as_bytes()));
    let mut record = RequestRecord::open(&ends, &head);
    record.trace(&mut head);
    drop(record);
    (spans.try_recv().ok(), head, reporting.records_spans_of_server(&pod))
}

#[test]
fn spans_are_made_as_objects_say() {
    let rule = TracingRule::default;
    let only = |side| TracingRule { sides: Sides::Only(side), disable_span_reporting: Some(true), ..rule() };
    for (rule, is_exported, is_told, is_server) in [
        (rule(), true, true, true),
        (TracingRule { disable_span_reporting: Some(true), ..rule() }, false, true, false),
        (TracingRule { disable_context_propagation: Some(true), ..rule() }, true, false, true),
        (TracingRule { sampling_percent: Some(0.0), ..rule() }, false, true, true),
        // The id of the request begins with a small number.
        (TracingRule { sampling_percent: Some(0.01), ..rule() }, true, true, true),
        (TracingRule { providers: vec!["nobody".into()], ..rule() }, false, false, false),
        (
            TracingRule { sides: Sides::Only(WorkloadMode::Server), sampling_percent: Some(0.0), ..rule() },
            true,
            true,
            true,
        ),
        (only(WorkloadMode::Server), true, true, false),
        (only(WorkloadMode::Client), false, true, true),
    ] {
        let label = format!("{rule:?}");
        let (span, head, reads) = traced(rule, Reporter::Source, None);
        let seen = (span.is_some(), head.fields.contains("traceparent"), reads);
        assert_eq!(seen, (is_exported, is_told, is_server), "{label}");
    }
}

#[test]
fn a_server_has_spans_as_its_own_objects_and_its_caller_say() {
    let rule = TracingRule::default;
    let unsampled = CALLER.replace("-01", "-00");
    let silent = |side| TracingRule { sides: Sides::Only(side), disable_span_reporting: Some(true), ..rule() };
    let never = || TracingRule { sampling_percent: Some(0.0), ..rule() };
    for (rule, caller, is_exported, is_parent) in [
        (rule(), None, true, true),
        (rule(), Some(CALLER), true, true),
        (rule(), Some(&*unsampled), false, true),
        // What the caller decided counts.
        (never(), Some(CALLER), true, true),
        (never(), None, false, true),
        (silent(WorkloadMode::Client), Some(CALLER), true, true),
        // Where no collector gets the server's span, the application continues the client's.
        (silent(WorkloadMode::Server), Some(CALLER), false, false),
        (TracingRule { disable_context_propagation: Some(true), ..rule() }, Some(CALLER), true, false),
        (TracingRule { providers: vec!["nobody".into()], ..rule() }, Some(CALLER), false, false),
    ] {
        let label = format!("{rule:?} {caller:?}");
        let (span, head, _) = traced(rule, Reporter::Destination, caller);
        let told = head.fields.first("traceparent");
        assert_eq!((span.is_some(), told != caller.map(str::as_bytes)), (is_exported, is_parent), "{label}");
        assert!(span.is_none_or(|span| !span.is_of_client()), "{label}");
    }
}

#[test]
fn spans_have_the_tags_of_objects() {
    let tag = |name: &str, value| CustomTag { name: name.into(), value };
    let header = |name: &str, default: &str| CustomTagValue::Header { name: name.into(), default: default.into() };
    let tags = [
        tag("fixed", CustomTagValue::Literal("value".into())),
        tag("tenant", header("x-tenant", "none")),
        tag("other", header("x-other", "none")),
        tag("nothing", header("x-other", "")),
        tag("http.method", CustomTagValue::Literal("changed".into())),
    ];
    let rule = TracingRule { custom_tags: Some(tags.into()), enable_istio_tags: Some(false), ..TracingRule::default() };
    let (span, ..) = traced(rule, Reporter::Source, None);
    let span = span.expect("it is recorded");
    let found = span.tags();
    let value = |name: &str| {
        let mut of_name = found.iter().filter(|(known, _)| *known == name).map(|(_, value)| value);
        let value = of_name.next();
        assert!(of_name.next().is_none(), "{name} is there once");
        value.map(|value| match value {
            TagValue::Text(text) => text.as_str(),
            TagValue::Number(_) => "a number",
        })
    };
    for (name, expected) in [
        ("fixed", Some("value")),
        ("tenant", Some("blue")),
        ("other", Some("none")),
        ("nothing", None),
        ("http.method", Some("changed")),
        ("istio.namespace", None),
        ("component", Some("proxy")),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
}
