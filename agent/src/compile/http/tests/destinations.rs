//! What DestinationRules say of the endpoints of a host, and what rules do about failures.

use std::time::Duration;

use super::{Client, config, object, service};
use crate::model::http::destination::{
    Algorithm, DestinationPolicy, HashKey, Http2Keepalive, LoadBalancer, RetryBudget, TcpKeepalive,
};
use crate::model::http::field_changes::FieldFormat;
use crate::model::http::policies::{RetryOn, RetryPolicy};
use crate::model::http::route::{Action, Forward};

fn policy(objects: &str, namespace: &'static str, port: u16, subset: Option<&str>) -> Option<DestinationPolicy> {
    let found = config(objects).destination_policy(Client::of(namespace).view(), &service("web.s"), port, subset);
    found.map(|policy| (*policy).clone())
}

fn simple(text: &str) -> String {
    format!("trafficPolicy: {{loadBalancer: {{simple: {text}}}}}")
}

#[test]
fn which_destination_rule_counts() {
    let wild = object("DestinationRule", "c/wild", &format!("host: \"*.local\", {}", simple("RANDOM")));
    let exact = object("DestinationRule", "s/exact", &format!("host: web, {}", simple("ROUND_ROBIN")));
    let cases = [("c", Algorithm::Random), ("s", Algorithm::RoundRobin), ("elsewhere", Algorithm::RoundRobin)];
    for (namespace, expected) in cases {
        let found = policy(&(wild.clone() + &exact), namespace, 80, None).expect("the plain service is always there");
        assert_eq!(found.load_balancer.algorithm, expected, "a client in {namespace}");
    }
    let merged = object(
        "DestinationRule",
        "s/one",
        &format!("host: web, {}, subsets: [{{name: v1, labels: {{v: \"1\"}}}}]", simple("RANDOM")),
    ) + &object(
        "DestinationRule",
        "s/two",
        &format!("host: web, {}, subsets: [{{name: v2, labels: {{v: \"2\"}}}}]", simple("ROUND_ROBIN")),
    );
    for subset in ["v1", "v2"] {
        let found = policy(&merged, "s", 80, Some(subset)).expect("both subsets are there");
        assert_eq!(found.load_balancer.algorithm, Algorithm::Random, "the older policy counts");
    }
    assert_eq!(policy(&merged, "s", 80, Some("v3")), None);
}

#[test]
fn blocks_are_inherited_whole() {
    let objects = object(
        "DestinationRule",
        "s/d",
        "host: web, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}, connectionPool: {tcp: {maxConnections: 7}}, \
         portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]}, subsets: [{name: v1, labels: {a: b}, \
         trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}}]",
    );
    let plain = policy(&objects, "s", 80, None).expect("a policy");
    assert_eq!(plain.outlier_detection.map(|outlier| outlier.consecutive_5xx), Some(3));
    assert_eq!(plain.pool.max_connections, 7);
    assert_eq!(plain.pool.connect_timeout, Duration::from_secs(10));
    let port = policy(&objects, "s", 9080, None).expect("a policy");
    assert_eq!((port.outlier_detection, port.pool.max_connections), (None, u32::MAX), "the port's blocks stand alone");
    let subset = policy(&objects, "s", 80, Some("v1")).expect("a policy");
    assert_eq!(subset.outlier_detection.map(|outlier| outlier.consecutive_5xx), Some(3));
    let hash = Algorithm::ConsistentHash(HashKey::Header("x-user".into()));
    assert_eq!(subset.load_balancer, LoadBalancer { algorithm: hash, ..LoadBalancer::default() });
}

#[test]
fn connections_are_kept_and_probed_as_a_rule_says() {
    let seconds = Duration::from_secs;
    let pool = |fields: &str| {
        let spec = format!("host: web, trafficPolicy: {{connectionPool: {{{fields}}}}}");
        policy(&object("DestinationRule", "s/d", &spec), "s", 80, None).expect("a policy").pool
    };
    for (fields, expected) in [
        ("", Some(seconds(60))),
        ("tcp: {idleTimeout: 300s}", Some(seconds(300))),
        ("tcp: {idleTimeout: 300s}, http: {idleTimeout: 5s}", Some(seconds(5))),
        ("http: {idleTimeout: 0s}", None),
    ] {
        assert_eq!(pool(fields).idle_timeout, expected, "{fields}");
    }
    for (fields, expected) in [
        ("", None),
        ("http: {http2KeepAlive: {}}", None),
        ("http: {http2KeepAlive: {interval: 30s}}", Some((30, 20))),
        ("http: {http2KeepAlive: {interval: 0.1s, timeout: 2s}}", Some((1, 2))),
    ] {
        let expected = expected
            .map(|(interval, timeout)| Http2Keepalive { interval: seconds(interval), timeout: seconds(timeout) });
        assert_eq!(pool(fields).http2_keepalive, expected, "{fields}");
    }
    let keepalive = TcpKeepalive { probes: Some(2), time: Some(seconds(7)), interval: None };
    assert_eq!(pool("tcp: {tcpKeepalive: {probes: 2, time: 7s}}").tcp_keepalive, keepalive);
    assert_eq!(pool("tcp: {tcpKeepalive: {probes: 0}}").tcp_keepalive, TcpKeepalive::default());
    let budget = |fields: &str| {
        let spec = format!("host: web, trafficPolicy: {{retryBudget: {{{fields}}}}}");
        policy(&object("DestinationRule", "s/d", &spec), "s", 80, None).expect("a policy").retry_budget
    };
    let expected = RetryBudget { percent: 5.0, min_concurrency: 3, interval: seconds(10) };
    assert_eq!(budget("percent: 5, budgetInterval: 10s"), Some(expected));
}

/// What the one rule of a VirtualService with these fields does with a request.
fn forward(fields: &str) -> Forward {
    let objects = object(
        "VirtualService",
        "s/v",
        &format!("hosts: [web], http: [{{route: [{{destination: {{host: web}}}}], {fields}}}]"),
    );
    forwarded(&objects)
}

fn forwarded(objects: &str) -> Forward {
    let routes = config(objects).routes(Client::of("s").view(), &service("web.s"), 80).expect("there are routes");
    let Action::Forward(forward) = &routes.routes()[0].rule.action else { panic!("the rule forwards") };
    (**forward).clone()
}

#[test]
fn what_is_tried_again() {
    let built_in = RetryOn::CONNECT_FAILURE
        .and(RetryOn::REFUSED_STREAM)
        .and(RetryOn::UNAVAILABLE)
        .and(RetryOn::CANCELLED)
        .and(RetryOn::RETRIABLE_STATUS_CODES);
    let policy = |attempts, on, codes: &[u16]| {
        let common = RetryPolicy {
            attempts,
            per_try_timeout: None,
            on,
            codes: codes.into(),
            back_off: Default::default(),
            avoids_tried_endpoints: true,
        };
        Some(common)
    };
    let codes = RetryOn::CONNECT_FAILURE.and(RetryOn::RETRIABLE_STATUS_CODES);
    let cases = [
        ("", policy(2, built_in, &[])),
        ("retries: {}", None),
        ("retries: {attempts: 0}", None),
        ("retries: {attempts: 3}", policy(3, built_in, &[])),
        ("retries: {attempts: 3, retryOn: \"503,connect-failure\"}", policy(3, codes, &[503])),
    ];
    for (fields, expected) in cases {
        assert_eq!(forward(fields).retry, expected, "{fields}");
    }
}

#[test]
fn time_limits_of_a_rule() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(forward("").timeout, None);
    assert_eq!(forward("timeout: 0s").timeout, None);
    assert_eq!(forward("timeout: 3s").timeout, seconds(3));
    let route = |fields: &str| {
        let parent = "parentRefs: [{group: \"\", kind: Service, name: web}]";
        let rule = format!(
            "{{backendRefs: [{{name: web, port: 80}}], timeouts: {{request: 5s, backendRequest: 1s}}{fields}}}"
        );
        let forward = forwarded(&object("HTTPRoute", "s/r", &format!("{parent}, rules: [{rule}]")));
        (forward.timeout, forward.retry.and_then(|retry| retry.per_try_timeout))
    };
    assert_eq!(route(""), (seconds(1), None), "without retries, the limit of a try is the limit of all");
    assert_eq!(route(", retry: {attempts: 1}"), (seconds(5), seconds(1)));
}

#[test]
fn setting_the_host_is_to_rewrite_the_authority() {
    let authority = |fields: &str| forward(fields).authority.map(String::from);
    assert_eq!(authority("headers: {request: {set: {Host: a.example}}}").as_deref(), Some("a.example"));
    assert_eq!(authority("headers: {request: {add: {\":authority\": b.example}}}").as_deref(), Some("b.example"));
    let both = "rewrite: {authority: c.example}, headers: {request: {set: {host: a.example}}}";
    assert_eq!(authority(both).as_deref(), Some("c.example"));
    assert_eq!(authority("headers: {request: {set: {x: y}}}"), None);
}

#[test]
fn a_field_whose_value_cannot_be_filled_in_is_removed_and_not_set() {
    let fields = "headers: {request: {set: {x-flags: '%RESPONSE_FLAGS%', x-set: a, host: h}, add: {x-flags: b, x-none: '%NONE%'}, remove: [x-gone]}}";
    let spec = format!("hosts: [web], http: [{{route: [{{destination: {{host: web}}}}], {fields}}}]");
    let config = config(&object("VirtualService", "s/v", &spec));
    let routes = config.routes(Client::of("s").view(), &service("web.s"), 80).expect("there are routes");
    let changes = &routes.routes()[0].rule.request;
    let names =
        |fields: &[(Box<str>, FieldFormat)]| fields.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(changes.remove.iter().map(|name| &**name).collect::<Vec<_>>(), ["x-gone", "x-flags"]);
    assert_eq!((names(&changes.set), names(&changes.add)), (vec!["x-set".to_owned()], vec!["x-flags".to_owned()]));
}

#[test]
fn a_rule_has_several_destinations_also_where_only_one_has_a_weight() {
    for (route, several, kept) in [
        ("{destination: {host: web}}", false, 1),
        ("{destination: {host: web}, weight: 0}", false, 1),
        ("{destination: {host: web}, weight: 100}, {destination: {host: b}, weight: 0}", true, 1),
        ("{destination: {host: web}, weight: 1}, {destination: {host: b}, weight: 1}", true, 2),
    ] {
        let forward =
            forwarded(&object("VirtualService", "s/v", &format!("hosts: [web], http: [{{route: [{route}]}}]")));
        assert_eq!((forward.has_several, forward.destinations.len()), (several, kept), "{route}");
    }
}
