//! The access line that a record writes at its end.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::model::address::OriginalDst;
use crate::telemetry::ends::Reporter;
use crate::telemetry::fixture::{ends, mesh, outbound_source, pod, strangers};
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::tests::lines;

fn record(ends: ConnectionEnds, failure: Option<&str>) {
    let peer = ends.destination_identity.clone().filter(|_| ends.reporter == Reporter::Source);
    let mut record = ConnectionRecord::open(&Metrics::new(), ends);
    peer.into_iter().for_each(|peer| record.peer_proved(peer));
    record.bytes().to_destination.fetch_add(10, Ordering::Relaxed);
    record.bytes().to_source.fetch_add(3000, Ordering::Relaxed);
    if let Some(error) = failure {
        record.fail(ResponseFlag::ConnectFailure, &error);
    }
}

fn text_line(log: impl FnOnce()) -> String {
    let mut lines = lines("access=info", LogFormat::Text, |_| log());
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines.remove(0);
    let (_time, line) = line.split_once('\t').expect("the time comes first");
    let Some((before, after)) = line.split_once("duration=") else { return line.to_owned() };
    let (millis, after) = after.split_once("ms").expect("durations are in ms");
    assert!(millis.parse::<u64>().is_ok(), "{line}");
    format!("{before}duration=0ms{after}")
}

#[test]
fn an_outbound_line_in_text() {
    assert_eq!(
        text_line(|| record(ends(Reporter::Source), None)),
        "info\taccess\tconnection complete\tsrc.addr=10.0.0.1:41000 src.workload=\"client-v1-1234\" \
         src.namespace=\"shop\" src.identity=spiffe://cluster.local/ns/shop/sa/client src.cluster=\"Kubernetes\" \
         dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:9080 dst.original_addr=10.96.0.7:80 \
         dst.service=\"reviews.shop.svc.cluster.local\" \
         dst.workload=\"reviews-v1-1234\" dst.namespace=\"shop\" \
         dst.identity=spiffe://cluster.local/ns/shop/sa/reviews dst.cluster=\"Kubernetes\" direction=\"outbound\" \
         bytes_sent=10 bytes_recv=3000 duration=0ms"
    );
}

#[test]
fn an_inbound_line_counts_as_its_own_workload_does() {
    let line = text_line(|| record(ends(Reporter::Destination), None));
    assert!(line.ends_with("direction=\"inbound\" bytes_sent=3000 bytes_recv=10 duration=0ms"), "{line}");
}

#[test]
fn a_connection_that_a_panic_ends_is_told_as_one() {
    let line = text_line(|| {
        let serving = || {
            let _record = ConnectionRecord::open(&Metrics::new(), ends(Reporter::Source));
            panic!("a fault");
        };
        assert!(std::panic::catch_unwind(serving).is_err());
    });
    assert!(line.starts_with("error\t") && line.ends_with(" error=\"the agent panicked\""), "{line}");
}

#[test]
fn a_failed_line_is_an_error_with_its_reason() {
    let line = text_line(|| record(ends(Reporter::Source), Some("connection refused")));
    assert!(line.starts_with("error\taccess\tconnection complete\t"), "{line}");
    assert!(line.ends_with(" duration=0ms error=\"connection refused\""), "{line}");
}

#[test]
fn what_is_not_known_or_not_proven_is_left_out() {
    let line = text_line(|| record(strangers(Reporter::Destination), None));
    assert_eq!(
        line,
        "info\taccess\tconnection complete\tsrc.addr=10.0.0.1:41000 dst.addr=10.0.0.2:9080 direction=\"inbound\" \
         bytes_sent=3000 bytes_recv=10 duration=0ms"
    );
    let plaintext = ConnectionEnds { mutual_tls: false, ..ends(Reporter::Source) };
    let line = text_line(|| record(plaintext, None));
    assert!(!line.contains("identity"), "{line}");
}

#[test]
fn the_same_in_json() {
    let lines = lines("info", LogFormat::Json, |_| record(ends(Reporter::Source), Some("connection \"refused\"")));
    let mut line: Value = serde_json::from_str(&lines[0]).unwrap();
    for changing in ["time", "duration"] {
        assert!(line.as_object_mut().unwrap().remove(changing).is_some_and(|value| value.is_string()));
    }
    let expected = json!({
        "level": "error", "scope": "access", "message": "connection complete",
        "src.addr": "10.0.0.1:41000", "src.workload": "client-v1-1234", "src.namespace": "shop",
        "src.identity": "spiffe://cluster.local/ns/shop/sa/client", "src.cluster": "Kubernetes",
        "dst.addr": "10.0.0.2:15008", "dst.hbone_addr": "10.0.0.2:9080", "dst.original_addr": "10.96.0.7:80",
        "dst.service": "reviews.shop.svc.cluster.local", "dst.workload": "reviews-v1-1234", "dst.namespace": "shop",
        "dst.identity": "spiffe://cluster.local/ns/shop/sa/reviews", "dst.cluster": "Kubernetes",
        "direction": "outbound", "bytes_sent": 10, "bytes_recv": 3000,
        "error": "connection \"refused\"",
    });
    assert_eq!(line, expected);
}

#[test]
fn a_connection_refused_at_once_has_a_short_line() {
    let line = text_line(|| {
        let refused = RefusedConnection {
            reporter: Reporter::Destination,
            source_addr: "10.0.0.1:1".parse().unwrap(),
            listener: "10.0.0.2:15008".parse().unwrap(),
            flag: ResponseFlag::TlsFailure,
        };
        refused.record(&Metrics::new(), &pod(100), &"no\ncertificate");
    });
    assert_eq!(
        line,
        "warn\taccess\tconnection failed\tsrc.addr=10.0.0.1:1 dst.addr=10.0.0.2:15008 direction=\"inbound\" \
         error=no\\ncertificate"
    );
}

#[test]
fn an_outbound_line_in_plaintext_names_the_endpoint() {
    let original_dst = OriginalDst("10.96.0.8:80".parse().unwrap());
    let (mesh, source) = (mesh(), outbound_source());
    let upstream = mesh.resolve(&source.workload, original_dst, || 0).unwrap();
    let line = text_line(|| record(ConnectionEnds::outbound(source, original_dst, Some(&upstream)), None));
    let expected = "dst.addr=10.0.0.3:9080 dst.original_addr=10.96.0.8:80 dst.service=\"legacy.shop.svc.cluster.local\" \
                    dst.workload=\"legacy-v1-1234\" dst.namespace=\"shop\" dst.cluster=\"Kubernetes\"";
    assert!(line.contains(expected), "{line}");
}

#[test]
fn the_identity_that_was_proven_is_shown_rather_than_the_expected_one() {
    let line = text_line(|| {
        let record = ConnectionRecord::open(&Metrics::new(), ends(Reporter::Source));
        record.peer_proved("spiffe://cluster.local/ns/shop/sa/another".parse().unwrap());
    });
    assert!(line.contains(" dst.identity=spiffe://cluster.local/ns/shop/sa/another "), "{line}");
    let line = text_line(|| drop(ConnectionRecord::open(&Metrics::new(), ends(Reporter::Source))));
    assert!(!line.contains("dst.identity"), "nobody has proven anything: {line}");
}

#[test]
fn a_provisional_record_is_logged_with_the_ends_it_settles_on() {
    for (settled, expected) in
        [(None, "dst.addr=10.0.0.2:15008"), (Some(strangers(Reporter::Source)), "dst.addr=10.0.0.2:9080")]
    {
        let line = text_line(|| {
            let record = ConnectionRecord::open_provisional(&Metrics::new(), ends(Reporter::Source));
            record.settle(settled);
            record.settle(Some(ends(Reporter::Destination)));
        });
        assert!(line.contains(&format!(" {expected} ")), "{line}");
    }
}

#[test]
fn a_connection_that_carries_requests_has_a_line_only_where_it_fails() {
    for (failure, expected) in [(None, 0), (Some("the pod is gone"), 1)] {
        let lines = lines("access=info", LogFormat::Text, |_| {
            let mut record = ConnectionRecord::open_provisional(&Metrics::new(), ends(Reporter::Source));
            record.settle_for_requests(None);
            if let Some(error) = failure {
                record.fail(ResponseFlag::None, &error);
            }
        });
        assert_eq!(lines.len(), expected, "{lines:?}");
    }
}

#[test]
fn a_record_of_which_nobody_knows_what_it_carries_is_settled_once_that_is_known() {
    let undecided = || {
        let record = ConnectionRecord::open_undecided(&Metrics::new(), ends(Reporter::Source));
        record.settle(Some(strangers(Reporter::Source)));
        record.settle(None);
        record
    };
    let told = |decide: &dyn Fn(ConnectionRecord)| lines("access=info", LogFormat::Text, |_| decide(undecided()));
    assert_eq!(told(&ConnectionRecord::carries_requests), Vec::<String>::new());
    let by_word = |mut record: ConnectionRecord| record.carries_bytes();
    let by_its_end = |record: ConnectionRecord| drop(record);
    for decide in [&by_word as &dyn Fn(ConnectionRecord), &by_its_end] {
        let lines = told(decide);
        assert!(matches!(&lines[..], [line] if line.contains(" dst.addr=10.0.0.2:9080 ")), "{lines:?}");
    }
    let record = undecided();
    assert!(!record.connection.carries_requests(), "not yet");
    let connection = record.connection.clone();
    record.carries_requests();
    assert!(connection.carries_requests());
}
