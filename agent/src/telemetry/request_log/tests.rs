//! Istio's forms of access lines.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::*;
use crate::model::http::head::{HttpVersion, RequestHead, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::http::response_flags::ResponseFlags;
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog};
use crate::telemetry::connection::RequestProtocol;
use crate::telemetry::ends::{ConnectionEnds, Reporter};
use crate::telemetry::fixture::{ends, strangers};
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::tests::lines;
use crate::telemetry::request_outcome::RequestOutcome;

fn head() -> RequestHead {
    RequestHead {
        version: HttpVersion::Http2,
        method: b"POST".to_vec(),
        target: b"/cart?id=7".to_vec(),
        authority: b"reviews:9080".to_vec(),
        fields: [("user-agent", "curl/8"), ("x-request-id", "6f1c"), ("x-long", "0123456789")].into_iter().collect(),
        ..RequestHead::default()
    }
}

/// The line of a request between these ends. Only its time is not always the same.
fn line_between(ends: &ConnectionEnds, format: &str, encoding: AccessLogEncoding) -> String {
    let settings = IstioAccessLog { format: format.into(), encoding };
    let written = lines("access=info", LogFormat::Json, |_| {
        let (form, _) = RequestLogForm::of(&settings);
        let mut notes = RequestNotes::of(&head(), std::iter::once((form.into(), None))).expect("somebody reads it");
        let fields = [("x-envoy-upstream-service-time", "4"), ("Server", "nginx")].into_iter().collect();
        notes.take_response(&ResponseHead { status: 200, fields, ..ResponseHead::default() });
        (notes.route, notes.details) = (Some("default".into()), Some("via_upstream".into()));
        notes.first_upstream_byte = Some(Duration::from_millis(5));
        let outcome = RequestOutcome {
            protocol: RequestProtocol::Grpc,
            status: 200,
            grpc_status: Some(5),
            flags: ResponseFlags::from(HttpResponseFlag::DelayInjected),
            is_blocked: false,
        };
        let (attempts, duration) = (2, Duration::from_millis(6));
        let peer = ends.destination_identity.as_ref();
        let request = EndedRequest { ends, peer, outcome, attempts, request_bytes: 10, response_bytes: 3000, duration };
        write(&notes, &notes.first, &request, &EndsFields::default());
    });
    assert_eq!(written.len(), 1, "{written:?}");
    written.into_iter().next().expect("there is one")
}

fn line(format: &str) -> String {
    line_between(&ends(Reporter::Source), format, AccessLogEncoding::Text)
}

#[test]
fn operators_stand_for_what_the_request_was() {
    for (format, expected) in [
        ("plain", "plain"),
        ("%PROTOCOL% 100%", "HTTP/2 100%"),
        ("100%% %%PROTOCOL%", "100% %PROTOCOL%"),
        ("%REQ(:METHOD)% %REQ(:path)% %REQ(:Authority)% %REQ(:SCHEME)%", "POST /cart?id=7 reviews:9080 http"),
        ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/cart"),
        ("%REQ(X-ABSENT?USER-AGENT)% %REQ(USER-AGENT?X-ABSENT)% %REQ(X-ABSENT)%", "curl/8 curl/8 -"),
        ("%REQ(X-LONG):4% %REQ(X-LONG):10% %REQ(X-LONG):99%", "0123 0123456789 0123456789"),
        ("%RESP(SERVER)% %RESP(X-ABSENT?server)% %RESP(USER-AGENT)%", "nginx nginx -"),
        ("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%", "200 DI via_upstream"),
        ("%GRPC_STATUS% %GRPC_STATUS_NUMBER% %GRPC_STATUS(NUMBER)%", "NotFound 5 5"),
        ("%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESPONSE_DURATION%", "10 3000 6 5"),
        ("%UPSTREAM_HOST% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME%", "10.0.0.2:9080 2 default"),
        ("%UPSTREAM_CLUSTER%", "outbound|80||reviews.shop.svc.cluster.local"),
        ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.96.0.7:80 10.0.0.1"),
        ("%UPSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_URI_SAN%", "spiffe://cluster.local/ns/shop/sa/reviews -"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON% %REQUESTED_SERVER_NAME%", "- -"),
        // What is not known is not there; what is no operator is text.
        ("%CEL(request.host)% %BYTES_TEA% %START_TIME(%s)% %lower% 5%", "- - - %lower% 5%"),
    ] {
        assert_eq!(line(format), expected, "{format}");
    }
}

#[test]
fn clusters_have_envoys_names() {
    let of_pod = |reporter| ConnectionEnds { service: None, ..ends(reporter) };
    for (ends, expected) in [
        (ends(Reporter::Destination), "inbound|9080|| spiffe://cluster.local/ns/shop/sa/client"),
        (of_pod(Reporter::Destination), "InboundPassthroughCluster spiffe://cluster.local/ns/shop/sa/client"),
        (of_pod(Reporter::Source), "PassthroughCluster -"),
        (strangers(Reporter::Destination), "InboundPassthroughCluster -"),
    ] {
        let format = "%UPSTREAM_CLUSTER_RAW% %DOWNSTREAM_PEER_URI_SAN%";
        assert_eq!(line_between(&ends, format, AccessLogEncoding::Text), expected);
    }
}

#[test]
fn istios_default_line_of_text() {
    let written = line("");
    let (time, rest) = written.split_once("] ").expect("the time comes first");
    assert!(
        time.starts_with("[20") && time.ends_with('Z') && time.len() == "[2026-11-21T14:03:00.060Z".len(),
        "{time}"
    );
    assert_eq!(
        rest,
        "\"POST /cart?id=7 HTTP/2\" 200 DI via_upstream - \"-\" 10 3000 6 4 \"-\" \"curl/8\" \"6f1c\" \"reviews:9080\" \
         \"10.0.0.2:9080\" outbound|80||reviews.shop.svc.cluster.local - 10.96.0.7:80 10.0.0.1:41000 - default"
    );
}

#[test]
fn istios_default_line_of_json() {
    let written = line_between(&ends(Reporter::Source), "", AccessLogEncoding::Json);
    let mut written: Json = serde_json::from_str(&written).expect("it is JSON");
    let time = written.as_object_mut().expect("it is an object").remove("start_time");
    assert!(time.is_some_and(|time| time.is_string()));
    let expected = json!({
        "route_name": "default", "method": "POST", "path": "/cart?id=7", "protocol": "HTTP/2", "response_code": 200,
        "response_flags": "DI", "response_code_details": "via_upstream", "connection_termination_details": null,
        "bytes_received": 10, "bytes_sent": 3000, "duration": 6, "upstream_service_time": "4", "x_forwarded_for": null,
        "user_agent": "curl/8", "request_id": "6f1c", "authority": "reviews:9080", "upstream_host": "10.0.0.2:9080",
        "upstream_cluster": "outbound|80||reviews.shop.svc.cluster.local", "upstream_local_address": null,
        "downstream_local_address": "10.96.0.7:80", "downstream_remote_address": "10.0.0.1:41000",
        "requested_server_name": null, "upstream_transport_failure_reason": null,
    });
    assert_eq!(written, expected);
}

#[test]
fn a_json_format_is_any_object_of_such_texts() {
    let format =
        r#"{"a": "%REQ(:METHOD)% %RESPONSE_CODE%", "b": {"c": ["%DURATION%", 7, true]}, "d": "%REQ(X-ABSENT)%"}"#;
    let written = line_between(&ends(Reporter::Source), format, AccessLogEncoding::Json);
    let expected = json!({"a": "POST 200", "b": {"c": [6, 7, true]}, "d": null});
    assert_eq!(serde_json::from_str::<Json>(&written).expect("it is JSON"), expected);
}

#[test]
fn what_is_not_understood_is_told() {
    for (format, encoding, expected) in [
        ("%PROTOCOL%\n", AccessLogEncoding::Text, &[][..]),
        (
            "%CEL(a)% %PROTOCOL% %START_TIME(%s)%",
            AccessLogEncoding::Text,
            &["accessLogFormat: not known here, and shown as -: %CEL(a)%, %START_TIME(%s)%"],
        ),
        (
            "%PROTOCOL%",
            AccessLogEncoding::Json,
            &[
                "accessLogFormat is no JSON object, as accessLogEncoding JSON wants it, and Istio's own is used: expected value at \
               line 1 column 1",
            ],
        ),
        (r#"{"a": "%NO%"}"#, AccessLogEncoding::Json, &["accessLogFormat: not known here, and shown as -: %NO%"]),
    ] {
        let (_, problems) = RequestLogForm::of(&IstioAccessLog { format: format.into(), encoding });
        assert_eq!(problems, expected, "{format}");
    }
    for encoding in [AccessLogEncoding::Text, AccessLogEncoding::Json] {
        let (_, problems) = RequestLogForm::of(&IstioAccessLog { format: "".into(), encoding });
        assert_eq!(problems, [] as [String; 0], "Istio's own formats are understood");
    }
}

#[test]
fn no_value_can_start_a_line_of_its_own() {
    let settings = IstioAccessLog { format: "%REQ(:PATH)%\tend".into(), encoding: AccessLogEncoding::Text };
    let written = lines("access=info", LogFormat::Text, |_| {
        let head = RequestHead { target: b"/a\nb".to_vec(), ..head() };
        let form = std::iter::once((RequestLogForm::of(&settings).0.into(), None));
        let notes = RequestNotes::of(&head, form).expect("somebody reads it");
        let outcome = RequestOutcome {
            protocol: RequestProtocol::Http,
            status: 0,
            grpc_status: None,
            flags: ResponseFlags::default(),
            is_blocked: false,
        };
        let (ends, duration) = (ends(Reporter::Source), Duration::ZERO);
        let (peer, attempts, request_bytes, response_bytes) = (None, 0, 0, 0);
        let request = EndedRequest { ends: &ends, peer, outcome, attempts, request_bytes, response_bytes, duration };
        write(&notes, &notes.first, &request, &EndsFields::default());
    });
    assert_eq!(written, ["/a\\nb\tend"]);
}
