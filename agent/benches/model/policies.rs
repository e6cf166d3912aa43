//! What policies about requests cost: in memory, when one of them changes, and for each request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::Criterion;
use prost::Message;
use weir::api::model::authorization::{AccessRequest, Destination, HttpRequest};
use weir::api::model::http::RequestHead;
use weir::api::model::mesh::Mesh;
use weir::api::model::workload::Workload;
use weir::api::proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use weir::api::proto::istio::mcp::v1alpha1 as mcp;
use weir::api::proto::istio::security::v1beta1 as pb;
use weir::api::proto::istio::r#type::v1beta1::WorkloadSelector;

use crate::figures::Figures;
use crate::heap::live_bytes;
use crate::made_up::{self, Wire};
use crate::memory::receiver;
use crate::timings::{median, micros, time_of};

/// All in one namespace.
const POLICIES: usize = 10_000;
/// So many select a pod.
const POLICIES_OF_A_POD: usize = 10;
const RULES: usize = 10;
/// Whether a request may pass, over all rules of all policies of its pod.
const DECISION_BOUND_US: f64 = 2.0;

pub(crate) fn measure(criterion: &mut Criterion, figures: &mut Figures) {
    let (mesh, receiver) = receiver();
    let _ = receiver.handle_response(Wire::new(1, 1).response());
    let live = live_bytes();
    let started = Instant::now();
    let _ = receiver.handle_response(response(0..POLICIES, ""));
    figures.shown(format!("{POLICIES} policies of {RULES} rules, one response"), millis(started.elapsed()), "ms");
    figures.shown("memory: a policy, with its object", (live_bytes() - live) as f64 / POLICIES as f64, "B");
    let mut times: Vec<Duration> = (0..100)
        .map(|turn| {
            let changed = response(turn * 7..turn * 7 + 1, "changed");
            let started = Instant::now();
            let _ = receiver.handle_response(changed);
            started.elapsed()
        })
        .collect();
    figures.shown("one policy of them changed, median", median(&mut times).map(micros), "µs");

    // Of one more pod.
    let _ = receiver.handle_response(response(POLICIES..POLICIES + POLICIES_OF_A_POD, ""));
    let mesh = mesh.read();
    decide(criterion, &mesh, 7, "", figures);
    decide(criterion, &mesh, POLICIES / POLICIES_OF_A_POD, ", rules that name no client", figures);
}

/// Decides about requests to a pod.
fn decide(criterion: &mut Criterion, mesh: &Mesh, pod: usize, of: &str, figures: &mut Figures) {
    let workload = mesh.workload(&made_up::uid(0, 1)).expect("it was sent");
    // As istiod does, whatever of a policy it can send as policy for connections.
    let own = pod * POLICIES_OF_A_POD..(pod + 1) * POLICIES_OF_A_POD;
    let workload =
        Workload { authorization_policies: own.map(|number| name(number).into()).collect(), ..(**workload).clone() };
    let labels = BTreeMap::from([
        ("app".to_owned(), app(pod)),
        ("pod-template-hash".to_owned(), "5d4f6c".to_owned()),
        ("tier".to_owned(), "backend".to_owned()),
        ("version".to_owned(), "v1".to_owned()),
    ]);
    let destination = Destination { labels: &labels, ..Destination::of(&workload) };
    let found = mesh.pod_policies(&destination);
    let access = AccessRequest {
        source: Some("spiffe://cluster.local/ns/team-000/sa/client-9".parse().expect("it is one")),
        source_ip: made_up::vip(1),
        destination: (made_up::vip(2), 8080).into(),
    };
    let fields = [("accept", "*/*"), ("user-agent", "bench"), ("x-request-id", "7"), ("x-tenant", "a")];
    let requests = [("GET", "that the last rule of the last policy allows", true), ("PUT", "that none allows", false)];
    for (method, what, is_allowed) in requests {
        let head = RequestHead {
            method: method.into(),
            target: b"/api/v1/items-9-9/7?page=2".to_vec(),
            authority: b"checkout.team-000.svc.cluster.local".to_vec(),
            fields: fields.into_iter().collect(),
            ..RequestHead::default()
        };
        let http = HttpRequest::of(&head);
        let decide = || mesh.authorize_request_under(&found, &destination, &access, &http).outcome.is_ok();
        assert_eq!(decide(), is_allowed, "{what}{of}");
        let what = format!("decision about a request {what}{of}");
        let value = time_of(criterion, &what, decide).map(micros);
        figures.bounded(format!("{what}, {POLICIES_OF_A_POD} policies"), value, "µs", DECISION_BOUND_US);
        let decide = || mesh.authorize_request(&destination, &access, &http).outcome.is_ok();
        let value = time_of(criterion, &format!("{what}, policies found anew"), decide).map(micros);
        figures.shown("· the first since a change of any policy", value, "µs");
    }
}

fn app(number: usize) -> String {
    format!("checkout-{number:05}")
}

fn name(number: usize) -> String {
    format!("team-000/policy-{number:05}")
}

/// Policies as istiod sends objects. `mark` makes them other policies than without it.
fn response(numbers: std::ops::Range<usize>, mark: &str) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        resources: numbers.map(|number| resource(number, mark)).collect(),
        type_url: "security.istio.io/v1/AuthorizationPolicy".to_owned(),
        nonce: "n".to_owned(),
        ..Default::default()
    }
}

fn resource(number: usize, mark: &str) -> Resource {
    let name = name(number);
    let policy = policy(number, mark);
    let envelope = mcp::Resource {
        metadata: Some(mcp::Metadata { name: name.clone(), ..Default::default() }),
        body: Some(prost_types::Any {
            type_url: "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy".to_owned(),
            value: policy.encode_to_vec(),
        }),
    };
    let type_url = "type.googleapis.com/istio.mcp.v1alpha1.Resource".to_owned();
    let body = prost_types::Any { type_url, value: envelope.encode_to_vec() };
    Resource { name, version: format!("1{mark}"), resource: Some(body), ..Default::default() }
}

/// An ALLOW policy: each rule for another client and another prefix; of the last pod, which is one more, for any client.
fn policy(number: usize, mark: &str) -> pb::AuthorizationPolicy {
    let (pod, place) = (number / POLICIES_OF_A_POD, number % POLICIES_OF_A_POD);
    let rule = |rule: usize| {
        let source = pb::Source {
            principals: vec![format!("cluster.local/ns/team-000/sa/client-{rule}")],
            ..Default::default()
        };
        let operation = pb::Operation {
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            paths: vec![format!("/api/v1/items-{place}-{rule}/*"), format!("/{mark}")],
            ..Default::default()
        };
        let tenant = pb::Condition {
            key: "request.headers[x-tenant]".to_owned(),
            values: vec!["a".to_owned(), "b".to_owned()],
            ..Default::default()
        };
        pb::Rule {
            from: Vec::from_iter((number < POLICIES).then_some(pb::rule::From { source: Some(source) })),
            to: vec![pb::rule::To { operation: Some(operation) }],
            when: vec![tenant],
        }
    };
    pb::AuthorizationPolicy {
        selector: Some(WorkloadSelector { match_labels: [("app".to_owned(), app(pod))].into() }),
        rules: (0..RULES).map(rule).collect(),
        ..Default::default()
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
