//! Which rules count for whom, and what they do: the cases of Istio's own tests that compilation decides about.

use super::{Client, action, answer, config, object, request, store};
use crate::model::service::ServiceKey;
use crate::objects::Kind;

/// A VirtualService with one rule, which sends everything to a host.
fn all_to(metadata: &str, more: &str, host: &str, to: &str) -> String {
    object(
        "VirtualService",
        metadata,
        &format!("hosts: [{host}], {more} http: [{{route: [{{destination: {{host: {to}}}}}]}}]"),
    )
}

/// An HTTPRoute with one rule for every request to a service.
fn route_to(metadata: &str, parent: &str, to: &str) -> String {
    object(
        "HTTPRoute",
        metadata,
        &format!("parentRefs: [{{group: \"\", kind: Service, {parent}}}], rules: [{{backendRefs: [{{{to}}}]}}]"),
    )
}

#[test]
fn which_object_counts_for_a_client() {
    const SERVICE: &str = "web.s";
    let full = "web.s.svc.cluster.local";
    let older = all_to("a/old", "", full, "old.a");
    let cases = [
        (
            "the older of two that everybody sees",
            older.clone() + &all_to("b/new", "", full, "new.b"),
            [("b", "old.a=1"), ("s", "old.a=1")],
        ),
        (
            "one of the client's own namespace that only it sees",
            older.clone() + &all_to("b/new", "exportTo: [\".\"],", full, "new.b"),
            [("b", "new.b=1"), ("s", "old.a=1")],
        ),
        (
            "a consumer's route before the producer's",
            route_to("s/producer", "name: web", "name: made, port: 80")
                + &route_to("b/consumer", "name: web, namespace: s", "name: wanted, port: 80"),
            [("b", "wanted.b:80=1"), ("c", "made.s:80=1")],
        ),
        (
            "no route of a third namespace",
            route_to("x/third", "name: web, namespace: s", "name: third, port: 80"),
            [("b", "default"), ("s", "default")],
        ),
        (
            "the exact host, also where the wildcard is older",
            all_to("a/wild", "", "\"*.svc.cluster.local\"", "wild.a") + &all_to("b/exact", "", full, "exact.b"),
            [("b", "exact.b=1"), ("s", "exact.b=1")],
        ),
        (
            "none that is for gateways only",
            all_to("a/gateway", "gateways: [ns/gw],", full, "old.a"),
            [("b", "default"), ("s", "default")],
        ),
        (
            "one for gateways and the mesh",
            all_to("a/both", "gateways: [ns/gw, mesh],", full, "old.a"),
            [("b", "old.a=1"), ("s", "old.a=1")],
        ),
        (
            "nothing that nobody sees",
            all_to("a/hidden", "exportTo: [\"~\"],", full, "old.a"),
            [("b", "default"), ("s", "default")],
        ),
    ];
    for (case, objects, clients) in cases {
        let config = config(&objects);
        for (namespace, expected) in clients {
            let found = answer(&config, &Client::of(namespace), SERVICE, 80, "GET /");
            assert_eq!(found, expected, "{case}: a client in {namespace}");
        }
    }
}

#[test]
fn short_names_are_those_of_the_objects_namespace() {
    let objects = object(
        "VirtualService",
        "x/v",
        "hosts: [reviews], http: [{route: [{destination: {host: Reviews, subset: v1, port: {number: 90}}}], mirrors: [{destination: {host: shadow}}]}]",
    );
    let config = config(&objects);
    let client = Client::of("elsewhere");
    assert_eq!(answer(&config, &client, "reviews.x", 80, "GET /"), "reviews.x:90/v1=1");
    assert_eq!(answer(&config, &client, "reviews.y", 80, "GET /"), "default");
    let routes = config.routes(client.view(), &super::service("reviews.x"), 80).expect("a route");
    let crate::model::http::route::Action::Forward(forward) = &routes.routes()[0].rule.action else {
        panic!("it forwards")
    };
    assert_eq!(&*forward.mirrors[0].target.hostname, "shadow.x.svc.cluster.local");
}

#[test]
fn what_a_match_asks_for() {
    let rule = |matching: &str| {
        let rules = format!("http: [{{match: [{{{matching}}}], route: [{{destination: {{host: hit}}}}]}}]");
        config(&object("VirtualService", "s/v", &format!("hosts: [web], {rules}")))
    };
    let client = Client::of("s").with("app", "shop");
    let (hit, miss) = ("hit.s=1", "404");
    let cases = [
        ("uri: {prefix: /api}", "GET /apix", hit),
        ("uri: {prefix: /api}", "GET /ap", miss),
        ("uri: {exact: /a}", "GET /a?x=1", hit),
        ("uri: {exact: /a}, ignoreUriCase: true", "GET /A", hit),
        ("uri: {regex: \"/v[0-9]+\"}", "GET /v12", hit),
        ("uri: {regex: \"/v[0-9]+\"}", "GET /v12/", miss),
        ("method: {exact: PUT}", "GET /", miss),
        ("headers: {x: {regex: \"*\"}}", "GET / | x: 1", hit),
        ("headers: {x: {regex: \"*\"}}", "GET /", miss),
        ("headers: {X-Y: {exact: a}}", "GET / | x-y: a", hit),
        ("headers: {x: {}}", "GET / | x: 1", hit),
        ("withoutHeaders: {x: {exact: a}}", "GET /", hit),
        ("withoutHeaders: {x: {exact: a}}", "GET / | x: a", miss),
        ("queryParams: {q: {exact: \"1\"}}", "GET /?q=1", hit),
        ("queryParams: {q: {exact: \"1\"}}", "GET /?q=2", miss),
        ("authority: {exact: web}", "GET / | host: web", hit),
        ("authority: {exact: web}", "GET / | host: web:9999", miss),
        // What is known before the request is decided with the object: where nothing is left, it does not count.
        ("sourceLabels: {app: shop}", "GET /", hit),
        ("sourceLabels: {app: other}", "GET /", "default"),
        ("sourceNamespace: s", "GET /", hit),
        ("sourceNamespace: t", "GET /", "default"),
        ("gateways: [mesh], sourceLabels: {app: other}", "GET /", hit),
        ("gateways: [ns/gw]", "GET /", "default"),
        ("port: 80", "GET /", hit),
        ("port: 81", "GET /", "default"),
        ("headers: {\"@request.auth.claims.sub\": {exact: a}}", "GET /", "default"),
    ];
    for (matching, request, expected) in cases {
        assert_eq!(answer(&rule(matching), &client, "web.s", 80, request), expected, "{matching}: {request}");
    }
}

#[test]
fn the_gateway_api_has_segments_and_an_order_of_its_own() {
    let rules = |text: &str| {
        let parent = "parentRefs: [{group: \"\", kind: Service, name: web}]";
        config(&object("HTTPRoute", "s/r", &format!("{parent}, rules: [{text}]")))
    };
    let to =
        |path: &str, name: &str| format!("{{matches: [{{path: {path}}}], backendRefs: [{{name: {name}, port: 80}}]}}");
    let cases = [
        (to("{value: /api}", "a"), "GET /apix", "404"),
        (to("{value: /api/}", "a"), "GET /api", "a.s:80=1"),
        (to("{value: /}", "any") + "," + &to("{type: Exact, value: /x}", "exact"), "GET /x", "exact.s:80=1"),
        (to("{value: /a}", "short") + "," + &to("{value: /a/b}", "long"), "GET /a/b/c", "long.s:80=1"),
        ("{backendRefs: [{name: a, port: 80, weight: 0}, {name: b, port: 80}]}".to_owned(), "GET /", "b.s:80=1"),
        (
            "{backendRefs: [{name: a, port: 80, weight: 3}, {name: b, port: 80}]}".to_owned(),
            "GET /",
            "a.s:80=3 b.s:80=1",
        ),
        ("{backendRefs: [{name: a, port: 80, weight: 0}]}".to_owned(), "GET /", "respond 503"),
        (
            "{backendRefs: [{name: a, port: 80, weight: 0}, {name: b, port: 80, weight: 0}]}".to_owned(),
            "GET /",
            "respond 503",
        ),
        ("{backendRefs: [{kind: Pod, group: x, name: a, weight: 1}]}".to_owned(), "GET /", "500=1"),
        ("{}".to_owned(), "GET /", "respond 500"),
        (
            "{backendRefs: [{name: a, port: 80}, {name: b, kind: Bucket, group: x.y}]}".to_owned(),
            "GET /",
            "a.s:80=1 500=1",
        ),
        (
            "{backendRefs: [{group: networking.istio.io, kind: Hostname, name: a.example.com, port: 80}]}".to_owned(),
            "GET /",
            "a.example.com:80=1",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]}".to_owned(),
            "GET /",
            "redirect 302",
        ),
        (
            "{filters: [{type: ExtensionRef, extensionRef: {name: x}}], backendRefs: [{name: a, port: 80}]}".to_owned(),
            "GET /",
            "respond 500",
        ),
        (
            "{filters: [{type: ExternalAuth}, {type: RequestRedirect, requestRedirect: {hostname: x}}]}".to_owned(),
            "GET /",
            "respond 500",
        ),
        (
            "{backendRefs: [{name: a, port: 80, filters: [{type: ExtensionRef}]}, {name: b, port: 80}]}".to_owned(),
            "GET /",
            "500=1 b.s:80=1",
        ),
    ];
    for (text, request, expected) in cases {
        assert_eq!(answer(&rules(&text), &Client::of("s"), "web.s", 80, request), expected, "{text}: {request}");
    }
}

#[test]
fn a_route_of_a_service_entry_counts_for_its_hosts_and_for_those_of_no_other_namespace() {
    const PARENT: &str = "parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api, namespace: s}]";
    const HOSTS: &str = "annotations: {weir.dev/parent-hosts: \"s/api=api.example.com,*.api.example.com\"}";
    let rules = |to: &str| format!("{PARENT}, rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]");
    let producer = object("HTTPRoute", &format!("s/producer, {HOSTS}"), &rules("made"));
    let consumer = object("GRPCRoute", &format!("c/consumer, {HOSTS}"), &rules("wanted"));
    let config = config(&(producer + &consumer));
    for (client, namespace, host, expected) in [
        ("s", "s", "api.example.com", "made.s:80=1"),
        ("x", "s", "*.api.example.com", "made.s:80=1"),
        ("c", "s", "api.example.com", "wanted.c:80=1"),
        ("s", "s", "www.api.example.com", "default"),
        // Another namespace's service of the same host.
        ("s", "c", "api.example.com", "default"),
        ("c", "c", "api.example.com", "default"),
    ] {
        let routes = config.routes(Client::of(client).view(), &ServiceKey::new(namespace, host), 80);
        let found = routes.and_then(|routes| routes.pick(&request("GET /")).map(|route| action(route)));
        assert_eq!(found.as_deref().unwrap_or("default"), expected, "{client}: {namespace}/{host}");
    }
    let mut unknown = store(&object("HTTPRoute", "s/r", &rules("made")));
    assert!(unknown.take_changed().is_some());
    let notes = unknown.notes(Kind::HttpRoute, &"s/r".into(), &[].into());
    assert_eq!(notes, ["spec.parentRefs[0]: there is no ServiceEntry s/api"]);
}

#[test]
fn methods_of_grpc_are_paths() {
    let config = config(&object(
        "GRPCRoute",
        "s/r",
        "parentRefs: [{group: \"\", kind: Service, name: web, port: 80}], rules: [\
         {matches: [{method: {service: a.B, method: C}}], backendRefs: [{name: exact, port: 80}]}, \
         {matches: [{method: {service: a.B}}], backendRefs: [{name: service, port: 80}]}, \
         {matches: [{method: {method: Z}}], backendRefs: [{name: method, port: 80}]}, \
         {matches: [{method: {type: RegularExpression, service: \"x.*\"}}], backendRefs: [{name: regex, port: 80}]}]",
    ));
    let cases = [
        (80, "POST /a.B/C", "exact.s:80=1"),
        (80, "POST /a.B/D", "service.s:80=1"),
        (80, "POST /q/Z", "method.s:80=1"),
        (80, "POST /xy/D", "regex.s:80=1"),
        (80, "POST /y/D", "404"),
        (81, "POST /a.B/C", "default"),
    ];
    for (port, request, expected) in cases {
        assert_eq!(answer(&config, &Client::of("c"), "web.s", port, request), expected, "{port} {request}");
    }
}

#[test]
fn a_delegate_stands_in_the_place_of_its_rule() {
    let root = |rule: &str| object("VirtualService", "s/root", &format!("hosts: [web], http: [{{{rule}}}]"));
    let delegate = |more: &str, rule: &str| {
        object(
            "VirtualService",
            "d/inner",
            &format!("{more} http: [{{{rule}, route: [{{destination: {{host: in}}}}]}}]"),
        )
    };
    let to = "match: [{uri: {prefix: /a}}], delegate: {name: inner, namespace: d}";
    let cases = [
        ("", "match: [{uri: {prefix: /b}}]", "GET /b", "default"),
        ("", "match: [{uri: {prefix: /a/b}}]", "GET /a/b/c", "in.s=1"),
        ("", "match: [{uri: {prefix: /a/b}}]", "GET /a/c", "404"),
        ("", "name: x", "GET /a/c", "in.s=1"),
        ("exportTo: [s],", "name: x", "GET /a", "in.s=1"),
        ("exportTo: [\".\"],", "name: x", "GET /a", "default"),
        ("", "match: [{uri: {regex: \"/a.*\"}}]", "GET /a", "default"),
        ("", "match: [{headers: {h: {exact: \"1\"}}}]", "GET /a | h: 1", "in.s=1"),
        ("", "match: [{headers: {h: {exact: \"1\"}}}]", "GET /b | h: 1", "404"),
    ];
    for (more, rule, request, expected) in cases {
        let config = config(&(root(to) + &delegate(more, rule)));
        assert_eq!(answer(&config, &Client::of("s"), "web.s", 80, request), expected, "{more} {rule}: {request}");
    }
}

#[test]
fn an_object_changes_and_goes_alone() {
    let both = all_to("s/one", "", "one", "first") + &all_to("s/two", "", "two", "second");
    let mut kept = store(&both);
    assert!(kept.take_changed().is_some());
    assert!(kept.take_changed().is_none(), "nothing has changed since");
    kept.remove(Kind::VirtualService, &"s/one".into());
    let config = kept.take_changed().expect("one is gone");
    let client = Client::of("s");
    assert_eq!(answer(&config, &client, "one.s", 80, "GET /"), "default");
    assert_eq!(answer(&config, &client, "two.s", 80, "GET /"), "second.s=1");
    kept.remove(Kind::VirtualService, &"s/never".into());
    assert!(kept.take_changed().is_none());
}

#[test]
fn people_are_told_what_has_no_effect() {
    let known = ["web.s.svc.cluster.local".into()].into();
    let to = |more: &str| format!("http: [{{route: [{{destination: {{host: web{more}}}}}]}}]");
    let subset = object("DestinationRule", "s/d", "host: web, subsets: [{name: v1, labels: {version: v1}}]");
    let cases = [
        (format!("hosts: [web], {}", to("")), Vec::new()),
        (format!("hosts: [web], {}", to(", subset: v1")), Vec::new()),
        (
            format!("hosts: [web], {}", to(", subset: v2")),
            vec!["spec.http[0]: no DestinationRule for web.s.svc.cluster.local has a subset v2: requests to it fail"],
        ),
        (
            "hosts: [web], http: [{route: [{destination: {host: other}}]}]".to_owned(),
            vec!["spec.http[0]: there is no service other.s.svc.cluster.local: requests to it fail"],
        ),
        (
            format!("hosts: [other], {}", to("")),
            vec!["spec.hosts: there is no service other.s.svc.cluster.local: the rules have no effect for it"],
        ),
        (
            format!("hosts: [web], gateways: [g], {}", to("")),
            vec!["spec.gateways: the object has no effect: it is for gateways only, and mesh is not among them"],
        ),
        (
            "hosts: [web], http: [{match: [{uri: {prefix: /}}], route: [{destination: {host: web}}]}, {route: [{destination: {host: web}}]}]"
                .to_owned(),
            vec!["spec.http[0]: no request reaches the rules behind it: it matches every one"],
        ),
        (
            "hosts: [web], http: [{delegate: {name: inner}}]".to_owned(),
            vec!["spec.http[0].delegate: the rule has no effect: there is no VirtualService s/inner without hosts that is exported to s"],
        ),
    ];
    for (spec, expected) in cases {
        let store = store(&(object("VirtualService", "s/v", &spec) + &subset));
        assert_eq!(store.notes(Kind::VirtualService, &"s/v".into(), &known), expected, "{spec}");
        assert_eq!(store.notes(Kind::DestinationRule, &"s/d".into(), &known), [""; 0]);
    }
    let lone = store(&object("DestinationRule", "s/d", "host: gone"));
    let expected = ["spec.host: there is no service gone.s.svc.cluster.local"];
    assert_eq!(lone.notes(Kind::DestinationRule, &"s/d".into(), &known), expected);
}
