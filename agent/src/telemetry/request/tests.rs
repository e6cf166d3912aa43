//! What requests are counted as, and the access line of each.

use serde_json::{Value, json};

use super::*;
use crate::limits::{LimitKind, NodeLimits};
use crate::model::http::trace::{CallerSpan, Sampling};
use crate::model::peer_authentication::Labels;
use crate::telemetry::ends::{ConnectionEnds, Reporter};
use crate::telemetry::fixture::{ends, pod, scraped, strangers};
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::tests::lines;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pod_telemetry::PodTelemetry;
use crate::telemetry::record::ConnectionRecord;
use crate::telemetry::request_reporting::RequestReporting;
use crate::telemetry::span_view::TagValue;
use crate::telemetry::spans::{Span, Tracing};

/// What a request of these ends is reported to.
fn reported(ends: ConnectionEnds) -> (Arc<Metrics>, Arc<RequestEnds>) {
    let metrics = Metrics::new();
    let ends = RequestEnds::new(&RequestReporting::new(&metrics, None), &pod(100), ends);
    (metrics, ends)
}

fn get() -> RequestHead {
    RequestHead {
        method: b"GET".to_vec(),
        target: b"/cart?id=7".to_vec(),
        authority: b"reviews:9080".to_vec(),
        fields: [("user-agent", "curl/8"), ("x-request-id", "6f1c")].into_iter().collect(),
        ..RequestHead::default()
    }
}

fn grpc_call() -> RequestHead {
    RequestHead { fields: [("content-type", "application/grpc")].into_iter().collect(), ..get() }
}

fn response(status: u16) -> ResponseHead {
    ResponseHead { status, ..ResponseHead::default() }
}

/// The value of a label.
fn label<'a>(line: &'a str, name: &str) -> &'a str {
    let from = line.find(&format!(",{name}=\"")).map(|at| at + name.len() + 3);
    let value = &line[from.unwrap_or_else(|| panic!("{name}: {line}"))..];
    &value[..value.find('"').expect("it is quoted")]
}

/// `protocol code grpc flags` of the only request that was counted.
fn counted(metrics: &Metrics) -> String {
    let text = scraped(metrics);
    let all: Vec<_> = text.lines().filter(|line| line.starts_with("istio_requests_total{")).collect();
    let [line] = all.as_slice() else { panic!("{all:#?}") };
    assert!(line.ends_with(" 1"), "{line}");
    ["request_protocol", "response_code", "grpc_response_status", "response_flags"]
        .map(|name| label(line, name))
        .join(" ")
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn a_request_counts_once_however_it_ends() {
    type Story = fn(&mut RequestRecord);
    let stories: [(RequestHead, Story, &str); 18] = [
        (get(), |record| (record.response(&response(200)), record.complete()).1, "http 200  -"),
        (get(), |record| (record.response(&response(503)), record.complete()).1, "http 503  -"),
        (
            get(),
            |record| (record.response(&response(103)), record.response(&response(204)), record.complete()).2,
            "http 204  -",
        ),
        (get(), |_| {}, "http 0  DC"),
        (get(), |record| record.response(&response(200)), "http 200  DC"),
        (get(), |record| record.flag(HttpResponseFlag::DelayInjected), "http 0  DI,DC"),
        (get(), |record| record.end_here(&"the agent drains"), "http 0  LR"),
        (get(), |record| (record.response(&response(200)), record.end_here(&"the pod left")).1, "http 200  LR"),
        (
            get(),
            |record| {
                record.response(&response(200));
                record.complete();
                record.end_here(&"the pod left");
            },
            "http 200  -",
        ),
        (
            get(),
            |record| {
                record.fail(HttpResponseFlag::UpstreamConnectionFailure, &"refused");
                record.flag(HttpResponseFlag::UpstreamRetryLimitExceeded);
                record.local_response(&response(503), "upstream_reset_before_response_started");
                record.complete();
            },
            "http 503  UF,URX",
        ),
        (
            get(),
            |record| {
                record.response(&response(200));
                record.fail(HttpResponseFlag::UpstreamConnectionTermination, &"reset");
            },
            "http 200  UC",
        ),
        (
            get(),
            |record| {
                record.response(&ResponseHead { fields: trailers("3"), ..response(200) });
                record.complete();
            },
            "http 200  -",
        ),
        (
            grpc_call(),
            |record| {
                record.response(&response(200));
                record.response_trailers(&trailers("0"));
                record.complete();
            },
            "grpc 200 0 -",
        ),
        (
            grpc_call(),
            |record| {
                record.response(&ResponseHead { fields: trailers("12"), ..response(200) });
                record.complete();
            },
            "grpc 200 12 -",
        ),
        (
            grpc_call(),
            |record| {
                record.response(&response(200));
                record.response_trailers(&trailers("none"));
                record.complete();
            },
            "grpc 200 2 -",
        ),
        (grpc_call(), |record| (record.response(&response(503)), record.complete()).1, "grpc 503 14 -"),
        (grpc_call(), |record| (record.response(&response(200)), record.complete()).1, "grpc 200 2 -"),
        (grpc_call(), |_| {}, "grpc 0  DC"),
    ];
    for (head, story, expected) in stories {
        let (metrics, ends) = reported(ends(Reporter::Source));
        let mut record = RequestRecord::open(&ends, &head);
        story(&mut record);
        assert!(!scraped(&metrics).contains("istio_requests_total{"), "before its end nothing is known");
        drop(record);
        assert_eq!(counted(&metrics), expected);
    }
}

fn trailers(status: &str) -> HttpFields {
    [("grpc-status", status)].into_iter().collect()
}

#[test]
fn labels_are_those_of_connections_and_of_the_response() {
    for reporter in [Reporter::Source, Reporter::Destination] {
        let (metrics, request_ends) = reported(ends(reporter));
        let mut record = RequestRecord::open(&request_ends, &get());
        record.response(&response(200));
        record.complete();
        drop((record, ConnectionRecord::open(&metrics, ends(reporter))));
        let text = scraped(&metrics);
        let labels = |metric: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{metric}{{")))
                .unwrap_or_else(|| panic!("{metric}"));
            line[metric.len()..].rsplit_once(' ').expect("a value follows").0.to_owned()
        };
        let of_connection = labels("istio_tcp_connections_opened_total");
        let expected = of_connection.replace(
            "request_protocol=\"tcp\",",
            "request_protocol=\"http\",response_code=\"200\",grpc_response_status=\"\",",
        );
        assert_eq!(labels("istio_requests_total"), expected);
        for histogram in ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"] {
            assert_eq!(labels(&format!("{histogram}_count")), expected, "{histogram}");
        }
    }
}

#[test]
fn a_destination_without_a_service_has_the_name_of_istios_cluster() {
    for (reporter, is_blocked, expected) in [
        (Reporter::Source, false, "PassthroughCluster"),
        (Reporter::Source, true, "BlackHoleCluster"),
        (Reporter::Destination, false, "InboundPassthroughCluster"),
    ] {
        let (metrics, ends) = reported(strangers(reporter));
        let mut record = RequestRecord::open(&ends, &get());
        if is_blocked {
            record.destination_is_blocked();
        }
        drop(record);
        let text = scraped(&metrics);
        let line = text.lines().find(|line| line.starts_with("istio_requests_total{")).expect("it was counted");
        assert_eq!(label(line, "destination_service_name"), expected);
        assert_eq!(label(line, "destination_service"), "unknown");
    }
}

#[test]
fn bodies_and_durations_are_histograms_with_envoys_buckets() {
    let (metrics, ends) = reported(ends(Reporter::Source));
    for (sent, received) in [(0, 1), (1, 5), (26, 3_600_000), (25, 3_600_001)] {
        let mut record = RequestRecord::open(&ends, &get());
        record.request_data(&vec![0; sent]);
        record.response_data(&vec![0; received / 2]);
        record.response_data(&vec![0; received - received / 2]);
        record.response(&response(200));
        record.complete();
    }
    let text = scraped(&metrics);
    let buckets = |metric: &str| {
        let of_metric = text.lines().filter(|line| line.starts_with(&format!("{metric}_")));
        let shown = of_metric.map(|line| {
            let (labels, value) = line.rsplit_once(' ').expect("a value follows");
            let bound = labels.split_once("{le=\"").map_or("", |(_, rest)| rest.split('"').next().unwrap_or_default());
            let bound = if labels.contains("_sum{") {
                "sum"
            } else if labels.contains("_count{") {
                "count"
            } else {
                bound
            };
            format!("{bound}:{value}")
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        buckets("istio_request_bytes"),
        "sum:52.0 count:4 0.5:1 1.0:2 5.0:2 10.0:2 25.0:3 50.0:4 100.0:4 250.0:4 500.0:4 1000.0:4 2500.0:4 5000.0:4 10000.0:4 \
         30000.0:4 60000.0:4 300000.0:4 600000.0:4 1800000.0:4 3600000.0:4 +Inf:4"
    );
    assert_eq!(
        buckets("istio_response_bytes"),
        "sum:7200007.0 count:4 0.5:0 1.0:1 5.0:2 10.0:2 25.0:2 50.0:2 100.0:2 250.0:2 500.0:2 1000.0:2 2500.0:2 5000.0:2 10000.0:2 \
         30000.0:2 60000.0:2 300000.0:2 600000.0:2 1800000.0:2 3600000.0:3 +Inf:4"
    );
    assert!(buckets("istio_request_duration_milliseconds").contains(" count:4 "));
}

#[test]
fn messages_of_grpc_count_while_the_request_is_under_way() {
    let (metrics, ends) = reported(ends(Reporter::Destination));
    let mut record = RequestRecord::open(&ends, &grpc_call());
    record.request_data(&[0, 0, 0, 0, 1, b'x', 0, 0, 0]);
    record.request_data(&[0, 0]);
    record.response_data(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, b'x']);
    // Without it, none of this is a message.
    RequestRecord::open(&ends, &get()).request_data(&[0; 10]);
    let text = scraped(&metrics);
    for (metric, expected) in [("istio_request_messages_total", "2"), ("istio_response_messages_total", "1")] {
        let of_metric: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("{metric}{{"))).collect();
        let [line] = of_metric.as_slice() else { panic!("{of_metric:#?}") };
        let (labels, value) = line.rsplit_once(' ').expect("a value follows");
        assert_eq!(value, expected, "{metric}");
        assert!(labels.ends_with(",destination_cluster=\"Kubernetes\"}"), "nothing is said of how it ends: {labels}");
    }
}

#[test]
fn requests_of_a_pod_are_in_flight_until_they_end() {
    let reporting = RequestReporting::new(&Metrics::new(), None);
    let (pod, other_pod) = (pod(100), pod(100));
    let ends = |pod| RequestEnds::new(&reporting, pod, ends(Reporter::Source));
    let (first, upstream, elsewhere) = (ends(&pod), ends(&pod), ends(&other_pod));
    let mut record = RequestRecord::open(&first, &get());
    let other = RequestRecord::open(&first, &get());
    for (upstream, expected) in [(&upstream, (2, 0)), (&upstream, (2, 0)), (&elsewhere, (1, 1)), (&first, (2, 0))] {
        record.attempt(upstream);
        assert_eq!((pod.requests().in_flight(), other_pod.requests().in_flight()), expected);
    }
    record.response(&ResponseHead { status: 503, ..ResponseHead::default() });
    drop(record);
    assert_eq!((pod.requests().in_flight(), pod.requests().ended(), pod.requests().failed()), (1, 1, 1));
    drop(other);
    assert_eq!((pod.requests().in_flight(), pod.requests().ended(), pod.requests().failed()), (0, 2, 1));
    assert_eq!((other_pod.requests().in_flight(), other_pod.requests().ended()), (0, 0));
}

#[test]
fn the_last_attempt_says_where_a_request_went() {
    let (metrics, first) = reported(strangers(Reporter::Source));
    let upstream = RequestEnds::new(&first.reporting, &first.pod, ends(Reporter::Source));
    let mut record = RequestRecord::open(&first, &get());
    record.attempt(&first);
    record.attempt(&upstream);
    drop(record);
    let text = scraped(&metrics);
    let line = text.lines().find(|line| line.starts_with("istio_requests_total{")).expect("it was counted");
    assert_eq!(label(line, "destination_workload"), "reviews-v1");
}

#[test]
fn the_identity_in_a_line_is_what_the_peer_of_the_last_attempt_has_proven() {
    let another = "spiffe://cluster.local/ns/shop/sa/another";
    type Story = fn(&mut RequestRecord);
    let stories: [(Story, Option<&str>); 4] = [
        (|_| {}, None),
        (|record| record.peer_proved(&"spiffe://cluster.local/ns/shop/sa/another".parse().unwrap()), Some(another)),
        (
            |record| record.peer_proved(&"spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap()),
            Some("spiffe://cluster.local/ns/shop/sa/reviews"),
        ),
        (
            |record| {
                record.peer_proved(&"spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap());
                record.attempt(&record.ends.clone());
            },
            None,
        ),
    ];
    for (story, expected) in stories {
        let line = text_line(ends(Reporter::Source), |record| {
            record.attempt(&record.ends.clone());
            story(record);
        });
        let found = line.split(' ').find_map(|word| word.strip_prefix("dst.identity="));
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn more_outcomes_than_are_at_hand_count_all_the_same() {
    let (metrics, ends) = reported(ends(Reporter::Source));
    for _ in 0..2 {
        for status in 200..240 {
            let mut record = RequestRecord::open(&ends, &get());
            record.response(&response(status));
            record.complete();
        }
    }
    let text = scraped(&metrics);
    let counted: Vec<_> = text.lines().filter(|line| line.starts_with("istio_requests_total{")).collect();
    assert_eq!((counted.len(), counted.iter().filter(|line| line.ends_with(" 2")).count()), (40, 40));
}

/// The line of a request that sent 10 bytes and got 3000, with its durations at zero.
fn line(ends: ConnectionEnds, format: LogFormat, story: impl FnOnce(&mut RequestRecord)) -> String {
    let mut lines = lines("access=info", format, |_| {
        let (_metrics, ends) = reported(ends);
        let mut record = RequestRecord::open(&ends, &get());
        record.request_data(&[0; 10]);
        record.response_data(&[0; 3000]);
        story(&mut record);
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// A line of text behind its time, with durations at zero.
fn text_line(ends: ConnectionEnds, story: impl FnOnce(&mut RequestRecord)) -> String {
    let line = line(ends, LogFormat::Text, story);
    let (_time, line) = line.split_once('\t').expect("the time comes first");
    let at_zero = |word: &str| match word.split_once("duration=") {
        Some((before, millis)) if millis.strip_suffix("ms").is_some_and(|millis| millis.parse::<u64>().is_ok()) => {
            format!("{before}duration=0ms")
        }
        _ => word.to_owned(),
    };
    line.split(' ').map(at_zero).collect::<Vec<_>>().join(" ")
}

fn answered(record: &mut RequestRecord) {
    record.route(&"reviews-v2".into());
    record.attempt(&record.ends.clone());
    if let Some(expected) = record.ends.ends.destination_identity.clone().filter(|_| record.ends.ends.mutual_tls) {
        record.peer_proved(&expected);
    }
    record.response(&response(200));
    record.complete();
}

#[test]
fn the_line_of_a_request_has_the_ends_and_what_was_asked_and_answered() {
    let expected = "info\taccess\trequest complete\tsrc.addr=10.0.0.1:41000 src.workload=\"client-v1-1234\" \
        src.namespace=\"shop\" src.identity=spiffe://cluster.local/ns/shop/sa/client src.cluster=\"Kubernetes\" \
        dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:9080 dst.original_addr=10.96.0.7:80 \
        dst.service=\"reviews.shop.svc.cluster.local\" \
        dst.workload=\"reviews-v1-1234\" dst.namespace=\"shop\" \
        dst.identity=spiffe://cluster.local/ns/shop/sa/reviews dst.cluster=\"Kubernetes\" direction=\"outbound\" \
        protocol=\"HTTP/1.1\" method=\"GET\" path=\"/cart?id=7\" authority=\"reviews:9080\" status=200 response_flags=- \
        details=\"via_upstream\" route=\"reviews-v2\" request_id=\"6f1c\" user_agent=\"curl/8\" attempts=1 \
        bytes_sent=10 bytes_recv=3000 duration=0ms upstream_duration=0ms";
    assert_eq!(text_line(ends(Reporter::Source), answered), expected);
}

#[test]
fn an_inbound_line_counts_as_its_own_workload_does() {
    let line = text_line(ends(Reporter::Destination), answered);
    assert!(line.contains(" direction=\"inbound\" ") && line.contains(" bytes_sent=3000 bytes_recv=10 "), "{line}");
}

#[test]
fn a_failed_line_is_an_error_with_its_flags_and_its_reason() {
    let line = text_line(strangers(Reporter::Source), |record| {
        record.fail(HttpResponseFlag::UpstreamConnectionFailure, &"connection refused");
        record.fail(HttpResponseFlag::UpstreamRetryLimitExceeded, &"too late to matter");
        record.local_response(&response(503), "upstream_reset_before_response_started");
        record.complete();
    });
    assert_eq!(
        line,
        "error\taccess\trequest complete\tsrc.addr=10.0.0.1:41000 dst.addr=10.0.0.2:9080 direction=\"outbound\" \
         protocol=\"HTTP/1.1\" method=\"GET\" path=\"/cart?id=7\" authority=\"reviews:9080\" status=503 response_flags=UF,URX \
         details=\"upstream_reset_before_response_started\" request_id=\"6f1c\" user_agent=\"curl/8\" attempts=0 \
         bytes_sent=10 bytes_recv=3000 duration=0ms error=\"connection refused\""
    );
}

#[test]
fn a_request_that_a_panic_ends_was_not_left_by_its_client() {
    let lines = lines("access=info", LogFormat::Text, |_| {
        let (_metrics, ends) = reported(ends(Reporter::Source));
        let serving = std::panic::AssertUnwindSafe(|| {
            let _record = RequestRecord::open(&ends, &get());
            panic!("a fault");
        });
        assert!(std::panic::catch_unwind(serving).is_err());
    });
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains(" response_flags=LR ") && line.ends_with(" error=\"the agent panicked\""), "{line}");
}

#[test]
fn the_same_in_json() {
    let line = line(strangers(Reporter::Destination), LogFormat::Json, |_| {});
    let mut line: Value = serde_json::from_str(&line).expect("it is JSON");
    for changing in ["time", "duration"] {
        assert!(line.as_object_mut().expect("it is an object").remove(changing).is_some_and(|value| value.is_string()));
    }
    let expected = json!({
        "level": "info", "scope": "access", "message": "request complete",
        "src.addr": "10.0.0.1:41000", "dst.addr": "10.0.0.2:9080", "direction": "inbound", "protocol": "HTTP/1.1",
        "method": "GET", "path": "/cart?id=7", "authority": "reviews:9080", "status": 0, "response_flags": "DC",
        "request_id": "6f1c", "user_agent": "curl/8", "attempts": 0, "bytes_sent": 3000, "bytes_recv": 10,
    });
    assert_eq!(line, expected);
}

#[test]
fn nothing_is_noted_of_a_request_whose_line_nobody_reads() {
    let (_metrics, ends) = reported(ends(Reporter::Source));
    for (filter, expected) in [("access=info", true), ("access=error", true), ("access=off", false), ("off", false)] {
        let mut noted = None;
        lines(filter, LogFormat::Text, |_| noted = Some(RequestRecord::open(&ends, &get()).notes.is_some()));
        assert_eq!(noted, Some(expected), "{filter}");
    }
}

#[test]
fn spans_tell_who_asked_whom_and_what_became_of_it() {
    let (tracing, mut spans) = Tracing::new(Sampling::percent(100.0));
    let reporting = RequestReporting::new(&Metrics::new(), Some(tracing));
    let request_ends = RequestEnds::new(&reporting, &pod(100), ends(Reporter::Source));
    let mut head = get();
    let mut record = RequestRecord::open(&request_ends, &head);
    record.trace(&mut head);
    let told = CallerSpan::of(&head.fields).expect("whoever gets it is told");
    record.request_data(&[0; 10]);
    answered(&mut record);
    drop(record);
    let span = spans.try_recv().expect("it is to be exported");
    assert_eq!((span.context.trace, span.context.span, told.sampled), (told.trace, told.span, Some(true)));
    assert_eq!(span.name(), "reviews.shop.svc.cluster.local:80/*");
    assert!(span.is_of_client() && !span.is_error() && span.context.parent.is_none());
    let shown = |(name, value)| match value {
        TagValue::Text(text) => format!("{name}={text}"),
        TagValue::Number(number) => format!("{name}={number}"),
    };
    let tags: Vec<_> = span.tags().into_iter().map(shown).collect();
    assert_eq!(
        tags.join(" "),
        "component=proxy http.method=GET http.url=http://reviews:9080/cart?id=7 http.protocol=HTTP/1.1 http.status_code=200 \
         response_flags=- request_size=10 response_size=0 peer.address=10.0.0.1:41000 upstream_address=10.0.0.2:9080 \
         user_agent=curl/8 guid:x-request-id=6f1c route_name=reviews-v2 istio.canonical_service=client \
         istio.canonical_revision=v1 istio.namespace=shop istio.cluster_id=Kubernetes"
    );
}

#[test]
fn the_span_of_a_server_is_a_child_of_its_clients_and_the_parent_of_what_the_application_does() {
    let (tracing, mut spans) = Tracing::new(Sampling::percent(0.0));
    let reporting = RequestReporting::new(&Metrics::new(), Some(tracing));
    let [client, server] = [Reporter::Source, Reporter::Destination]
        .map(|reporter| RequestEnds::new(&reporting, &pod(100), ends(reporter)));
    let mut head = get();
    head.fields.append(b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    head.fields.append(b"x-b3-traceid", b"as it comes");
    let mut records = Vec::new();
    let mut told = vec!["00f067aa0ba902b7".to_owned()];
    for ends in [&client, &server] {
        let mut record = RequestRecord::open(ends, &head);
        record.trace(&mut head);
        told.push(CallerSpan::of(&head.fields).expect("whoever gets it is told").span.to_string());
        records.push(record);
    }
    assert_eq!(head.fields.first("x-b3-spanid"), Some(told[2].as_bytes()), "in each form that came");
    assert_eq!(head.fields.first("x-b3-parentspanid"), Some(told[1].as_bytes()));
    let mut record = records.pop().expect("the server's");
    answered(&mut record);
    record.flag(HttpResponseFlag::RateLimited);
    drop((record, records));
    let server = spans.try_recv().expect("the server's is exported");
    let client = spans.try_recv().expect("the client's is exported");
    for (span, at) in [(&client, 0), (&server, 1)] {
        let context = &span.context;
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent.map(|parent| parent.to_string()).as_ref(), Some(&told[at]));
        assert_eq!(context.span.to_string(), told[at + 1]);
        assert_eq!(span.is_of_client(), at == 0);
        // The port of the service, not that of the pod.
        assert_eq!(span.name(), "reviews.shop.svc.cluster.local:80/*");
    }
    let own = |span: &Span| span.own_workload().map(|own| own.canonical_name.clone());
    assert_eq!([own(&client).as_deref(), own(&server).as_deref()], [Some("client"), Some("reviews")]);
    let tags = server.tags();
    let tag = |name: &str| tags.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    for (name, value) in
        [("response_flags", "RL"), ("peer.address", "10.0.0.1:41000"), ("istio.canonical_service", "reviews")]
    {
        assert_eq!(tag(name), Some(TagValue::Text(value.to_owned())), "{name}");
    }
    assert_eq!(tag("http.status_code"), Some(TagValue::Number(200)));
}

#[test]
fn a_caller_that_is_not_recorded_has_no_further_spans_and_a_full_queue_drops_them() {
    let (tracing, mut spans) = Tracing::new(Sampling::percent(100.0));
    let metrics = Metrics::new();
    let reporting = RequestReporting::new(&metrics, Some(tracing));
    let request_ends = RequestEnds::new(&reporting, &pod(100), ends(Reporter::Destination));
    let ask = |traceparent: &str| {
        let mut head = get();
        head.fields.append(b"traceparent", traceparent.as_bytes());
        RequestRecord::open(&request_ends, &head).trace(&mut head);
    };
    ask("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    assert!(spans.try_recv().is_err());
    let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    (0..5000).for_each(|_| ask(sampled));
    let mut waiting = 0;
    while let Ok(span) = spans.try_recv() {
        assert!(span.is_error() && !span.is_of_client(), "its client left");
        assert_eq!(span.context.parent.map(|parent| parent.to_string()).as_deref(), Some("00f067aa0ba902b7"));
        waiting += 1;
    }
    let dropped = format!("\nweir_spans_dropped_total {}\n", 5000 - waiting);
    assert!(waiting < 5000 && scraped(&metrics).contains(&dropped), "{waiting}");
}

#[test]
fn a_pod_that_fills_the_queue_of_spans_leaves_room_for_another() {
    let (tracing, mut spans) = Tracing::new(Sampling::percent(100.0));
    let reporting = RequestReporting::new(&Metrics::new(), Some(tracing));
    let node = NodeLimits::new(|_| 1 << 20);
    let ask = |pod: &PodTelemetry, times: u32| {
        let ends = RequestEnds::new(&reporting, pod, ends(Reporter::Source));
        for _ in 0..times {
            RequestRecord::open(&ends, &get()).trace(&mut get());
        }
    };
    let limits = [(); 2].map(|()| node.for_pod());
    let [flooding, bystander] = limits.each_ref().map(|limits| PodTelemetry::new("shop", Labels::new(), limits));
    ask(&flooding, 10_000);
    ask(&bystander, 1000);
    let held = limits.each_ref().map(|limits| limits.of(LimitKind::WaitingSpans).held());
    assert_eq!(held, [2048, 1000], "one has half, and another all of its own");
    assert_eq!(limits[0].reached().first().map(|reached| &*reached.limit), Some("waiting_spans"));
    assert_eq!(limits[1].reached(), []);
    while spans.try_recv().is_ok() {}
    assert_eq!(
        limits.map(|limits| limits.of(LimitKind::WaitingSpans).held()),
        [0, 0],
        "what was exported is given back"
    );
}

#[test]
fn without_a_collector_the_context_of_a_trace_passes_as_it_comes() {
    let (_metrics, ends) = reported(ends(Reporter::Source));
    let mut head = get();
    let before = head.clone();
    RequestRecord::open(&ends, &head).trace(&mut head);
    assert_eq!(head, before);
}
