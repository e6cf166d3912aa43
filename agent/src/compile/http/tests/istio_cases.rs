//! The cases in which Istio means something else than one may guess, each by its own description: what is written, what is
//! asked, and what it comes to. Each is decided by the objects alone here; what follows of it for endpoints and answers is
//! in the tests of `model::http`, and end to end in `tests/netns/http` and `tests/k8s/http`. Those of AuthorizationPolicy
//! are in `compile::policy_cases`.

use std::time::{Duration, Instant};

use super::{Client, answer, config, object, service};
use crate::model::http::destination::{Algorithm, HashKey};
use crate::model::http::head::ResponseHead;
use crate::model::http::outlier::{EndpointResult, OutlierState, Population};
use crate::model::http::policies::{Abort, RetryOn};
use crate::model::http::retry::Outcome;
use crate::model::http::route::{Action, Forward, Rule};
use crate::model::telemetry::objects::Metric;
use crate::model::telemetry::setting::MetricsSetting;

/// A VirtualService of a name (`namespace/name`) with this spec.
fn vs(name: &str, spec: &str) -> String {
    object("VirtualService", name, spec)
}

fn http_route(name: &str, parent: &str, rules: &str) -> String {
    object("HTTPRoute", name, &format!("parentRefs: [{{group: \"\", kind: Service, {parent}}}], rules: [{rules}]"))
}

fn dr(name: &str, spec: &str) -> String {
    object("DestinationRule", name, spec)
}

/// A rule for everything that goes to a host.
fn to(host: &str) -> String {
    format!("http: [{{route: [{{destination: {{host: {host}}}}}]}}]")
}

/// A case: its description, the objects, and requests: the client's namespace, the service and port, the request, and
/// what it comes to.
type Row<'a> = (&'a str, String, &'a [(&'static str, &'a str, u16, &'a str, &'a str)]);

fn hold(rows: &[Row<'_>]) {
    for (case, objects, requests) in rows {
        let config = config(objects);
        for (namespace, to, port, request, expected) in *requests {
            let client = Client::of(namespace).with("app", "client");
            let found = answer(&config, &client, to, *port, request);
            assert_eq!(found, *expected, "{case}: {request} to {to}:{port} from {namespace}");
        }
    }
}

#[test]
fn which_object_counts() {
    let web = "hosts: [web.s.svc.cluster.local],";
    hold(&[
        (
            "of two public VirtualServices of one host, the older one counts, also for the younger one's own namespace",
            vs("a/older", &format!("{web} {}", to("old"))) + &vs("b/newer", &format!("{web} {}", to("new"))),
            &[("b", "web.s", 80, "GET /", "old.a=1")],
        ),
        (
            "the same, but the younger one is exported to its own namespace alone: there it counts",
            vs("a/older", &format!("{web} {}", to("old")))
                + &vs("b/newer", &format!("{web} exportTo: [\".\"], {}", to("new"))),
            &[("b", "web.s", 80, "GET /", "new.b=1"), ("c", "web.s", 80, "GET /", "old.a=1")],
        ),
        (
            "HTTPRoutes of the service's and of the client's namespace: the client's counts alone, and for it alone",
            http_route(
                "s/producer",
                "name: web",
                "{matches: [{path: {value: /a}}], backendRefs: [{name: p, port: 80}]}",
            ) + &http_route(
                "n/consumer",
                "name: web, namespace: s",
                "{matches: [{path: {value: /b}}], backendRefs: [{name: c, port: 80}]}",
            ),
            &[
                ("n", "web.s", 80, "GET /b", "c.n:80=1"),
                ("n", "web.s", 80, "GET /a", "404"),
                ("m", "web.s", 80, "GET /a", "p.s:80=1"),
                ("m", "web.s", 80, "GET /b", "404"),
            ],
        ),
        (
            "an HTTPRoute of a third namespace: nobody's",
            http_route("x/third", "name: web, namespace: s", "{backendRefs: [{name: t, port: 80}]}"),
            &[("n", "web.s", 80, "GET /", "default"), ("s", "web.s", 80, "GET /", "default")],
        ),
        (
            "an older wildcard and an exact host: the exact one for its host, the wildcard for the others",
            vs("a/wild", &format!("hosts: [\"*.svc.cluster.local\"], {}", to("w")))
                + &vs("b/exact", &format!("{web} {}", to("e"))),
            &[("n", "web.s", 80, "GET /", "e.b=1"), ("n", "other.s", 80, "GET /", "w.a=1")],
        ),
        (
            "the exact host's only rule is for other sources: the default route, not the wildcard",
            vs("a/wild", &format!("hosts: [\"*.svc.cluster.local\"], {}", to("w")))
                + &vs(
                    "b/exact",
                    &format!(
                        "{web} http: [{{match: [{{sourceLabels: {{a: b}}}}], route: [{{destination: {{host: e}}}}]}}]"
                    ),
                ),
            &[("n", "web.s", 80, "GET /", "default"), ("n", "other.s", 80, "GET /", "w.a=1")],
        ),
    ]);
}

#[test]
fn what_of_an_object_counts_for_a_client() {
    hold(&[
        (
            "a match that names gateways does not ask for labels of the source",
            vs(
                "s/v",
                "hosts: [web], http: [{match: [{gateways: [mesh], sourceLabels: {a: b}}], route: [{destination: {host: m}}]}]",
            ),
            &[("n", "web.s", 80, "GET /", "m.s=1")],
        ),
        (
            "gateways without mesh: none of a pod's",
            vs("s/v", &format!("hosts: [web], gateways: [ns/gw], {}", to("g"))),
            &[("n", "web.s", 80, "GET /", "default")],
        ),
        (
            "a short host is one of the object's namespace, also as a destination",
            vs("x/v", &format!("hosts: [reviews], {}", to("other"))),
            &[("n", "reviews.x", 80, "GET /", "other.x=1"), ("n", "reviews.n", 80, "GET /", "default")],
        ),
        (
            "two hosts of which a Sidecar imports one: both are routed, on port 80",
            object("Sidecar", "n/sidecar", "egress: [{hosts: [s/known.s.svc.cluster.local]}]")
                + &vs("s/v", &format!("hosts: [known.s.svc.cluster.local, also.s.svc.cluster.local], {}", to("v")))
                + &vs("s/unseen", &format!("hosts: [unseen], {}", to("u"))),
            &[
                ("n", "known.s", 80, "GET /", "v.s=1"),
                ("n", "also.s", 80, "GET /", "v.s=1"),
                ("n", "also.s", 8080, "GET /", "default"),
                ("n", "unseen.s", 80, "GET /", "default"),
                ("m", "unseen.s", 80, "GET /", "u.s=1"),
            ],
        ),
    ]);
}

#[test]
fn a_host_that_no_service_has_counts_on_port_80_alone() {
    let config = config(&vs("n/v", &format!("hosts: [example.org], {}", to("e"))));
    let by_authority = |port| config.routes_by_authority(Client::of("n").view(), "example.org", port).is_some();
    assert!(by_authority(80));
    assert!(!by_authority(8080));
}

#[test]
fn the_service_is_the_one_that_was_dialled() {
    // Istio's sidecars take that of Host on a port that declares HTTP; here the address decides on every port.
    let objects =
        vs("s/a", &format!("hosts: [a], {}", to("of-a"))) + &vs("s/b", &format!("hosts: [b], {}", to("of-b")));
    hold(&[("Host names another service", objects, &[("s", "a.s", 80, "GET / | host: b.s", "of-a.s=1")])]);
    let ports = "hosts: [reviews], http: [{match: [{authority: {exact: reviews}}], route: [{destination: {host: short}}]}, \
                 {route: [{destination: {host: rest}}]}]";
    hold(&[(
        "a port in Host: it is the service's all the same, and no exact authority",
        vs("s/v", ports),
        &[
            ("s", "reviews.s", 9080, "GET / | host: reviews:9999", "rest.s=1"),
            ("s", "reviews.s", 9080, "GET / | host: reviews", "short.s=1"),
        ],
    )]);
}

#[test]
fn which_rule_is_for_a_request() {
    let rule = |condition: &str| {
        vs(
            "s/v",
            &format!("hosts: [web], http: [{{match: [{{{condition}}}], route: [{{destination: {{host: hit}}}}]}}]"),
        )
    };
    let slash_then_x = "http: [{match: [{uri: {prefix: /}}], route: [{destination: {host: first}}]}, \
                        {match: [{uri: {exact: /x}}], route: [{destination: {host: second}}]}]";
    hold(&[
        (
            "a prefix of a VirtualService is one of text",
            rule("uri: {prefix: /api}"),
            &[("s", "web.s", 80, "GET /apix", "hit.s=1")],
        ),
        (
            "a prefix of an HTTPRoute is one of segments",
            http_route("s/r", "name: web", "{matches: [{path: {value: /api}}], backendRefs: [{name: b, port: 80}]}"),
            &[("s", "web.s", 80, "GET /apix", "404"), ("s", "web.s", 80, "GET /api/x", "b.s:80=1")],
        ),
        (
            "a header that must not have a value may be missing",
            rule("withoutHeaders: {x: {exact: a}}"),
            &[("s", "web.s", 80, "GET /", "hit.s=1"), ("s", "web.s", 80, "GET / | x: a", "404")],
        ),
        (
            "the expression * asks for presence",
            rule("headers: {x: {regex: \"*\"}}"),
            &[("s", "web.s", 80, "GET / | x: 1", "hit.s=1"), ("s", "web.s", 80, "GET /", "404")],
        ),
        (
            "a VirtualService's rules in their order: no request reaches the second",
            vs("s/v", &format!("hosts: [web], {slash_then_x}")),
            &[("s", "web.s", 80, "GET /x", "first.s=1")],
        ),
        (
            "the same rules of an HTTPRoute: exact goes first",
            http_route(
                "s/r",
                "name: web",
                "{matches: [{path: {value: /}}], backendRefs: [{name: first, port: 80}]}, \
                 {matches: [{path: {type: Exact, value: /x}}], backendRefs: [{name: second, port: 80}]}",
            ),
            &[("s", "web.s", 80, "GET /x", "second.s:80=1"), ("s", "web.s", 80, "GET /y", "first.s:80=1")],
        ),
    ]);
}

#[test]
fn which_destinations_a_rule_has() {
    let rule = |destinations: &str| vs("s/v", &format!("hosts: [web], http: [{{route: [{destinations}]}}]"));
    hold(&[
        (
            "a weight of 0 among others gets nothing",
            rule("{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 100}"),
            &[("s", "web.s", 80, "GET /", "b.s=100")],
        ),
        (
            "a single destination's weight does not count",
            rule("{destination: {host: a}, weight: 0}"),
            &[("s", "web.s", 80, "GET /", "a.s=1")],
        ),
    ]);
    let objects = rule("{destination: {host: web, subset: gone}}")
        + &dr("s/d", "host: web, subsets: [{name: empty, labels: {version: v9}}]");
    let config = config(&objects);
    let policy = |subset| config.destination_policy(Client::of("s").view(), &service("web.s"), 80, Some(subset));
    assert!(policy("gone").is_none(), "a subset that no DestinationRule has is no cluster");
    assert!(policy("empty").is_some(), "a subset without pods is one without endpoints");
}

/// The one rule of a VirtualService for web.s.
fn rule_of(objects: &str) -> Rule {
    let routes = config(objects).routes(Client::of("s").view(), &service("web.s"), 80).expect("there are routes");
    (*routes.routes()[0].rule).clone()
}

fn forward_of(fields: &str) -> Forward {
    let spec = format!("hosts: [web], http: [{{route: [{{destination: {{host: web}}}}], {fields}}}]");
    let Action::Forward(forward) = rule_of(&vs("s/v", &spec)).action else { panic!("the rule forwards") };
    *forward
}

#[test]
fn what_is_tried_again_and_how_long_it_may_take() {
    let retry = |fields| forward_of(fields).retry;
    let named = retry("retries: {attempts: 3, retryOn: \"503,connect-failure\"}").expect("a policy");
    assert_eq!(named.codes, [503], "a status among the conditions is a status to retry");
    assert!(named.on.has(RetryOn::RETRIABLE_STATUS_CODES) && named.on.has(RetryOn::CONNECT_FAILURE));
    assert_eq!(retry("retries: {}"), None, "a block without attempts");
    assert_eq!(retry("retries: {attempts: 0}"), None);
    let default = retry("name: x").expect("without a block there is a policy");
    assert_eq!(default.attempts, 2);
    let unavailable = ResponseHead { status: 503, ..ResponseHead::default() };
    assert!(!default.wants_retry(Outcome::Response(&unavailable)), "a 503 of the application is its answer");
    assert!(named.wants_retry(Outcome::Response(&unavailable)));
    assert_eq!(forward_of("name: x").timeout, None, "without a time-out an answer may take any time");
    let both = http_route(
        "s/r",
        "name: web",
        "{timeouts: {request: 5s, backendRequest: 1s}, backendRefs: [{name: web, port: 80}]}",
    );
    let Action::Forward(forward) = rule_of(&both).action else { panic!("the rule forwards") };
    assert_eq!(forward.timeout, Some(Duration::from_secs(1)), "an HTTPRoute's time-out of a try, without retries");
}

#[test]
fn faults_without_a_share_are_none() {
    let fault = |text: &str| {
        let spec = format!("hosts: [web], http: [{{route: [{{destination: {{host: web}}}}], fault: {{{text}}}}}]");
        rule_of(&vs("s/v", &spec)).fault.map(|fault| *fault).unwrap_or_default()
    };
    let draws = || (0..1000).map(|draw| u64::MAX / 1000 * draw + u64::MAX / 2000);
    let none = fault("delay: {fixedDelay: 5s}");
    assert!(draws().all(|random| none.delay(random).is_none()), "a delay without a percentage");
    let some = fault("abort: {httpStatus: 503, percentage: {value: 5}}");
    let aborted = draws().filter_map(|random| some.abort(random)).collect::<Vec<_>>();
    assert_eq!((aborted.len(), aborted[0]), (50, Abort::Http(503)), "5 % of all draws");
}

#[test]
fn delegates_take_the_place_of_what_delegates() {
    let root = vs("s/root", "hosts: [web], http: [{name: root, match: [{uri: {prefix: /a}}], delegate: {name: part}}]");
    let part = |path: &str| {
        vs(
            "s/part",
            &format!(
                "http: [{{name: part, match: [{{uri: {{prefix: {path}}}}}], route: [{{destination: {{host: d}}}}]}}]"
            ),
        )
    };
    hold(&[
        (
            "a delegate's match beside the root's: it is dropped",
            root.clone() + &part("/b"),
            &[("s", "web.s", 80, "GET /b", "default")],
        ),
        (
            "a delegate's match within the root's: it is kept",
            root.clone() + &part("/a/b"),
            &[("s", "web.s", 80, "GET /a/b", "d.s=1"), ("s", "web.s", 80, "GET /a", "404")],
        ),
    ]);
    let config = config(&(root + &part("/a/b")));
    let routes = config.routes(Client::of("s").view(), &service("web.s"), 80).expect("there are routes");
    assert_eq!(&*routes.routes()[0].name, "root-part", "both names are the rule's");
}

#[test]
fn which_destination_rule_counts_and_what_it_passes_on() {
    let policy = |objects: &str, namespace, port, subset: Option<&str>| {
        let found = config(objects).destination_policy(Client::of(namespace).view(), &service("web.s"), port, subset);
        found.map(|policy| (*policy).clone())
    };
    let connections = |number: u32| format!("trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {number}}}}}}}");
    let wild = dr("n/wild", &format!("host: \"*.local\", {}", connections(1)));
    let exact = dr("s/exact", &format!("host: web, {}", connections(2)));
    let limit =
        |namespace| policy(&(wild.clone() + &exact), namespace, 80, None).map(|policy| policy.pool.max_connections);
    assert_eq!(limit("n"), Some(1), "the client's wildcard hides the service's exact host");
    assert_eq!(limit("m"), Some(2));
    let ports = dr(
        "s/d",
        "host: web, trafficPolicy: {outlierDetection: {}, portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]}",
    );
    let detects = |port| policy(&ports, "s", port, None).is_some_and(|policy| policy.outlier_detection.is_some());
    assert_eq!((detects(80), detects(9080)), (true, false), "a port's settings take the place of all blocks");
    let two = dr("s/one", &format!("host: web, {}, subsets: [{{name: v1, labels: {{v: \"1\"}}}}]", connections(3)))
        + &dr("s/two", &format!("host: web, {}, subsets: [{{name: v2, labels: {{v: \"2\"}}}}]", connections(4)));
    for subset in ["v1", "v2"] {
        let found = policy(&two, "s", 80, Some(subset)).map(|policy| policy.pool.max_connections);
        assert_eq!(found, Some(3), "of two for one host, the older one's policy and the subsets of both: {subset}");
    }
}

/// Istio leaves the tried endpoints in where requests are hashed. Here only `retryIgnorePreviousHosts` decides that: an endpoint that
/// has just failed is the worst one to ask again.
#[test]
fn a_second_attempt_leaves_the_endpoint_of_a_consistent_hash() {
    let hashed = dr(
        "s/d",
        "host: web, subsets: [{name: v1, labels: {v: \"1\"}, \
         trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}]",
    );
    for (fields, expected) in [
        ("name: x", true),
        ("retries: {attempts: 3}", true),
        ("retries: {attempts: 3, retryIgnorePreviousHosts: true}", true),
        ("retries: {attempts: 3, retryIgnorePreviousHosts: false}", false),
    ] {
        let to_subset = "destination: {host: web, subset: v1}";
        let route = vs("s/v", &format!("hosts: [web], http: [{{route: [{{{to_subset}}}], {fields}}}]"));
        let policy = config(&hashed).destination_policy(Client::of("s").view(), &service("web.s"), 80, Some("v1"));
        let algorithm = policy.map(|policy| policy.load_balancer.algorithm.clone());
        assert_eq!(algorithm, Some(Algorithm::ConsistentHash(HashKey::Header("x-user".into()))));
        let Action::Forward(forward) = rule_of(&(route + &hashed)).action else { panic!("the rule forwards") };
        let avoids = forward.retry.map(|retry| retry.avoids_tried_endpoints);
        assert_eq!(avoids, Some(expected), "{fields}");
    }
}

#[test]
fn a_tenth_of_three_endpoints_is_none() {
    let ejected = |spec: &str| {
        let objects = dr("s/d", &format!("host: web, trafficPolicy: {{outlierDetection: {{{spec}}}}}"));
        let policy = config(&objects).destination_policy(Client::of("s").view(), &service("web.s"), 80, None);
        let detection = policy.and_then(|policy| policy.outlier_detection).expect("the block is there");
        let (mut state, population) = (OutlierState::default(), Population { endpoints: 3, ejected: 0 });
        let mut record = || state.record(EndpointResult::Status(500), &detection, population, Instant::now());
        (1..=10).find(|_| record())
    };
    assert_eq!(ejected(""), None, "the default share ejects nobody of three");
    assert_eq!(ejected("maxEjectionPercent: 100"), Some(5), "after five errors in a row");
}

#[test]
fn what_a_namespace_counts_again_that_the_mesh_does_not_count() {
    let metrics = |name, overrides| object("Telemetry", name, &format!("metrics: [{{overrides: [{overrides}]}}]"));
    let objects = metrics("istio-system/off", "{match: {metric: ALL_METRICS}, disabled: true}")
        + &metrics("shop/on", "{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: false}");
    let setting = config(&objects).telemetry().setting("shop", Client::of("shop").view().labels);
    let counts = |metrics: &Option<_>, metric| match metrics {
        Some(setting) => !MetricsSetting::of(setting, metric).is_disabled,
        None => true,
    };
    for metric in Metric::ALL {
        assert!(counts(&setting.server.metrics, metric), "at the server {metric:?} is back with the one that is named");
        assert!(!counts(&setting.client.metrics, metric), "at the client there is no {metric:?}");
    }
}
