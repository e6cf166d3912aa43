//! Which objects count for whom: Istio's rules of visibility, precedence and inheritance.

use std::sync::Arc;
use std::time::Duration;

use super::config::HttpConfig;
use super::destination::{
    Algorithm, ConnectionPool, DestinationPolicy, LoadBalancer, LocalitySetting, OutlierDetection,
};
use super::objects::{DestinationRuleObject, HttpObjects, PortPolicies, RouteObject, SubsetObject, TrafficPolicy};
use super::pattern::{Pattern, TextMatch};
use super::route::{FieldMatch, OriginKind, PathMatch, RequestMatch, Route, Semantics};
use super::sample::{get, origin, route};
use super::scope::{Import, ImportedNamespace, SidecarScope};
use super::standing::Standing;
use super::visibility::SourceView;
use super::visibility::{ExportTo, HostPattern};
use crate::model::balance::{Distribution, LocalityPattern, LocalityRule};
use crate::model::peer_authentication::Labels;
use crate::model::service::ServiceKey;

const REVIEWS: &str = "reviews.s.svc.cluster.local";

/// A VirtualService `<namespace>/<name>` for hosts, with a route that is named after it.
fn virtual_service(name: &str, hosts: &[&str]) -> RouteObject {
    let (namespace, own_name) = name.split_once('/').expect("a namespace");
    RouteObject {
        origin: origin(OriginKind::VirtualService, namespace, own_name),
        semantics: Semantics::VirtualService,
        hosts: hosts.iter().map(|host| HostPattern::parse(host)).collect(),
        parent_namespace: None,
        parent_port: None,
        exported_to: ExportTo::Everyone,
        routes: vec![Arc::new(route(name, RequestMatch::default()))],
    }
}

fn http_route(name: &str, parent_port: Option<u16>) -> RouteObject {
    RouteObject {
        semantics: Semantics::GatewayApi,
        parent_namespace: Some("s".into()),
        parent_port,
        ..virtual_service(name, &[REVIEWS])
    }
}

fn exported(namespaces: &[&str], object: RouteObject) -> RouteObject {
    let namespaces = namespaces.iter().map(|name| Arc::from(*name)).collect();
    RouteObject { exported_to: ExportTo::Namespaces(namespaces), ..object }
}

fn on(path: PathMatch, name: &str) -> Route {
    route(name, RequestMatch { path, ..RequestMatch::default() })
}

fn with_routes(routes: Vec<Route>, object: RouteObject) -> RouteObject {
    RouteObject { routes: routes.into_iter().map(Arc::new).collect(), ..object }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config(routes: Vec<RouteObject>) -> HttpConfig {
    let routes = routes.into_iter().map(Arc::new).collect();
    HttpConfig::new(HttpObjects { routes, root_namespace: "root".into(), ..HttpObjects::default() })
}

/// The name of the route of a request for `/`, from a pod without labels, to the service with a host at a port.
fn picked(config: &HttpConfig, namespace: &str, host: &str, port: u16) -> String {
    let labels = Labels::default();
    let routes = config.routes(SourceView { namespace, labels: &labels }, &ServiceKey::new("s", host), port);
    let Some(routes) = routes else { return "default".into() };
    routes.pick(&get("/")).map_or("404".into(), |route| route.name.to_string())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_most_specific_host_then_the_nearest_then_the_oldest_object_counts() {
    let of_a = || virtual_service("a/older", &[REVIEWS]);
    let of_b = || virtual_service("b/newer", &[REVIEWS]);
    let wildcard = || virtual_service("a/wildcard", &["*.svc.cluster.local"]);
    let with_source_labels = || {
        let mut object = of_b();
        let mut of_labels = route("b/newer", RequestMatch::default());
        of_labels.applies.source_labels = vec![("x".into(), "y".into())];
        object.routes = vec![Arc::new(of_labels)];
        object
    };
    /// What it is about, the objects, the source's namespace, the host, and the route that counts.
    type Row = (&'static str, Vec<RouteObject>, &'static str, &'static str, &'static str);
    let other = "other.s.svc.cluster.local";
    let rows: Vec<Row> = vec![
        ("nothing", vec![], "b", REVIEWS, "default"),
        ("the oldest public one, also of another namespace", vec![of_a(), of_b()], "b", REVIEWS, "a/older"),
        ("a private one", vec![of_a(), exported(&["b"], of_b())], "b", REVIEWS, "b/newer"),
        ("one exported by name", vec![of_b(), exported(&["b", "c"], of_a())], "b", REVIEWS, "a/older"),
        (
            "a private one before one by name",
            vec![exported(&["b"], of_a()), exported(&["b"], of_b())],
            "b",
            REVIEWS,
            "b/newer",
        ),
        ("one exported elsewhere", vec![exported(&["b"], of_b())], "c", REVIEWS, "default"),
        ("one exported to nobody", vec![exported(&[], of_b())], "b", REVIEWS, "default"),
        ("an exact host before an older wildcard", vec![wildcard(), of_b()], "b", REVIEWS, "b/newer"),
        ("a wildcard for other hosts", vec![wildcard(), of_b()], "b", other, "a/wildcard"),
        (
            "the longest wildcard",
            vec![wildcard(), virtual_service("a/long", &["*.s.svc.cluster.local"])],
            "b",
            other,
            "a/long",
        ),
        (
            "a wildcard where the exact one is not seen",
            vec![wildcard(), exported(&["c"], of_b())],
            "b",
            REVIEWS,
            "a/wildcard",
        ),
        (
            "no wildcard where no route of the exact one applies",
            vec![wildcard(), with_source_labels()],
            "b",
            REVIEWS,
            "default",
        ),
        ("the next of one host where no route applies", vec![with_source_labels(), of_a()], "b", REVIEWS, "a/older"),
        ("several hosts", vec![virtual_service("a/two", &["x", REVIEWS])], "b", REVIEWS, "a/two"),
        ("producer routes for everyone", vec![http_route("s/producer", None)], "b", REVIEWS, "s/producer"),
        (
            "consumer routes for their namespace",
            vec![http_route("s/producer", None), http_route("b/consumer", None)],
            "b",
            REVIEWS,
            "b/consumer",
        ),
        (
            "and for no other",
            vec![http_route("s/producer", None), http_route("b/consumer", None)],
            "c",
            REVIEWS,
            "s/producer",
        ),
        ("a third namespace's for nobody", vec![http_route("c/third", None)], "b", REVIEWS, "default"),
        (
            "consumer routes before a private object",
            vec![exported(&["b"], of_b()), http_route("b/consumer", None)],
            "b",
            REVIEWS,
            "b/consumer",
        ),
        (
            "of producer and VirtualService the older",
            vec![http_route("s/producer", None), of_b()],
            "b",
            REVIEWS,
            "s/producer",
        ),
        (
            "a host of the Gateway API is no wildcard",
            vec![RouteObject { hosts: vec![HostPattern::parse("*.local")], ..http_route("s/p", None) }],
            "b",
            REVIEWS,
            "default",
        ),
        (
            "a service with a wildcard itself",
            vec![virtual_service("a/wide", &["*.org"])],
            "b",
            "*.example.org",
            "a/wide",
        ),
    ];
    for (what, objects, namespace, host, expected) in rows {
        let config = config(objects);
        assert_eq!(picked(&config, namespace, host, 9080), expected, "{what}");
        let (labels, key) = (Labels::default(), ServiceKey::new("s", host));
        let about = config.route_objects(SourceView { namespace, labels: &labels }, &key, 9080);
        let counting = about.iter().filter(|object| object.standing == Standing::Counts).count();
        assert_eq!(counting, usize::from(expected != "default"), "{what}: {about:?}");
    }
}

#[test]
fn why_an_object_counts_or_does_not_is_told() {
    let mut for_port = virtual_service("a/port", &[REVIEWS]);
    let mut route = route("port", RequestMatch::default());
    route.applies.port = Some(81);
    for_port.routes = vec![Arc::new(route)];
    let hidden = exported(&["c"], virtual_service("a/hidden", &[REVIEWS]));
    let objects =
        vec![hidden, for_port, virtual_service("a/counts", &[REVIEWS]), virtual_service("a/wildcard", &["*.local"])];
    let (labels, key) = (Labels::default(), ServiceKey::new("s", REVIEWS));
    let source = SourceView { namespace: "b", labels: &labels };
    let told = |config: &HttpConfig| -> Vec<(String, Standing, usize)> {
        let about = config.route_objects(source, &key, 80);
        about.into_iter().map(|object| (object.host.to_string(), object.standing, object.left_out.len())).collect()
    };
    let text = |host: &str, standing, left_out| (host.to_owned(), standing, left_out);
    let expected = [
        text(REVIEWS, Standing::NoRouteApplies, 1),
        text(REVIEWS, Standing::Counts, 0),
        text(REVIEWS, Standing::NotExported, 0),
        text("*.local", Standing::Overridden, 0),
    ];
    let objects: Vec<Arc<RouteObject>> = objects.into_iter().map(Arc::new).collect();
    let all = HttpObjects { routes: objects, root_namespace: "root".into(), ..HttpObjects::default() };
    assert_eq!(told(&HttpConfig::new(all.clone())), expected);
    let import = Import {
        namespace: ImportedNamespace::Named("x".into()),
        host: HostPattern::parse("*"),
        port: None,
        excludes: false,
    };
    let scope = SidecarScope {
        namespace: "b".into(),
        name: "narrow".into(),
        selector: Labels::default(),
        imports: vec![import],
        outbound_traffic_policy: None,
    };
    let narrow = HttpConfig::new(HttpObjects { scopes: vec![scope], ..all });
    let standings: Vec<Standing> = told(&narrow).into_iter().map(|(_, standing, _)| standing).collect();
    let not_imported = Standing::NotImported;
    assert_eq!(standings, [not_imported, not_imported, Standing::NotExported, not_imported]);
    assert_eq!(narrow.sidecar(source).as_deref(), Some("b/narrow"));
}

#[test]
fn a_route_applies_by_port_namespace_and_labels_of_the_source() {
    let mut routes = ["port", "namespace", "labels", "rest"].map(|name| route(name, RequestMatch::default()));
    routes[0].applies.port = Some(80);
    routes[1].applies.source_namespace = Some("b".into());
    routes[2].applies.source_labels = vec![("app".into(), "x".into()), ("v".into(), "1".into())];
    let config = config(vec![with_routes(routes.to_vec(), virtual_service("s/v", &[REVIEWS]))]);
    for (namespace, own, port, expected) in [
        ("b", labels(&[]), 80, "port"),
        ("b", labels(&[]), 81, "namespace"),
        ("c", labels(&[("app", "x"), ("v", "1"), ("z", "z")]), 81, "labels"),
        ("c", labels(&[("app", "x"), ("v", "2")]), 81, "rest"),
        ("c", labels(&[("v", "1")]), 81, "rest"),
    ] {
        // Twice: a list that is kept answers like a new one.
        for _ in 0..2 {
            let source = SourceView { namespace, labels: &own };
            let routes = config.routes(source, &ServiceKey::new("s", REVIEWS), port).expect("one applies");
            assert_eq!(routes.pick(&get("/")).map(|route| &*route.name), Some(expected));
        }
    }
}

#[test]
fn routes_of_the_gateway_api_for_one_service_are_one_list_in_order_of_their_matches() {
    let exact = |name| on(PathMatch::Exact("/x".into()), name);
    let root = |name| on(PathMatch::segments("/"), name);
    let with_field = |name| {
        let field = FieldMatch { name: "a".into(), value: TextMatch::Present, is_inverted: false };
        let mut route = root(name);
        route.matches.fields.push(field);
        route
    };
    let posted = |name| {
        let mut route = root(name);
        route.matches.method = Some(TextMatch::Exact("POST".into()));
        route
    };
    let regex = |name| on(PathMatch::Regex(Pattern::new("/long/expression/.*").expect("valid")), name);
    let older = with_routes(vec![root("1"), regex("2"), with_field("3")], http_route("s/older", None));
    let newer = with_routes(
        vec![
            route("4", RequestMatch::default()),
            on(PathMatch::segments("/xyz"), "5"),
            posted("6"),
            exact("7"),
            root("8"),
        ],
        http_route("s/newer", None),
    );
    let at_80 = with_routes(vec![root("9")], http_route("s/at80", Some(80)));
    let names = |objects: Vec<RouteObject>, port| {
        let config = config(objects);
        let none = Labels::default();
        let source = SourceView { namespace: "c", labels: &none };
        let routes = config.routes(source, &ServiceKey::new("s", REVIEWS), port).expect("routes");
        routes.routes().iter().map(|route| route.name.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(vec![older.clone(), newer.clone()], 81), "7 5 6 3 1 8 2 4");
    assert_eq!(names(vec![at_80.clone(), older.clone(), newer.clone()], 80), "9", "the older list has the port");
    assert_eq!(names(vec![at_80.clone(), older.clone(), newer], 81), "7 5 6 3 1 8 2 4");
    assert_eq!(names(vec![older.clone(), at_80], 80), "3 1 2", "the older list, though without a port");

    let object = with_routes(vec![root("all"), exact("x")], virtual_service("s/v", &[REVIEWS]));
    assert_eq!(names(vec![object], 80), "all x", "rules of a VirtualService keep their order");
    let first_takes_all = vec![route("all", RequestMatch::default()), exact("x")];
    assert_eq!(names(vec![with_routes(first_takes_all, virtual_service("s/v", &[REVIEWS]))], 80), "all");
}

#[test]
fn a_sidecar_object_bounds_what_its_pods_see() {
    let import = |text: &str| {
        let (excludes, text) = text.strip_prefix('~').map_or((false, text), |rest| (true, rest));
        let (namespace, host) = text.split_once('/').expect("a namespace");
        let (host, port) = host.split_once(' ').map_or((host, None), |(host, port)| (host, port.parse().ok()));
        let namespace = match namespace {
            "*" => ImportedNamespace::Any,
            "." => ImportedNamespace::Own,
            name => ImportedNamespace::Named(name.into()),
        };
        Import { namespace, host: HostPattern::parse(host), port, excludes }
    };
    let scope = |namespace: &str, selector: &[(&str, &str)], imports: &[&str]| SidecarScope {
        namespace: namespace.into(),
        name: "x".into(),
        selector: labels(selector),
        imports: imports.iter().map(|text| import(text)).collect(),
        outbound_traffic_policy: None,
    };
    let both = || virtual_service("s/v", &[REVIEWS, "alt.example"]);
    let app = || labels(&[("app", "x")]);
    let rows = vec![
        ("no object", vec![], app(), "s/v"),
        ("everything", vec![scope("b", &[], &["*/*"])], app(), "s/v"),
        ("no hosts", vec![scope("b", &[], &[])], app(), "s/v"),
        ("the service's namespace", vec![scope("b", &[], &["s/*"])], app(), "s/v"),
        ("its own namespace alone", vec![scope("b", &[], &["./*"])], app(), "default"),
        ("another host", vec![scope("b", &[], &["s/other"])], app(), "default"),
        ("an exclusion", vec![scope("b", &[], &["*/*", "~s/reviews.s.svc.cluster.local"])], app(), "default"),
        ("a listener of the port", vec![scope("b", &[], &["./*", "s/* 9080"])], app(), "s/v"),
        ("a listener of the port alone counts", vec![scope("b", &[], &["*/*", "./* 9080"])], app(), "default"),
        ("a listener of another port", vec![scope("b", &[], &["*/* 80"])], app(), "default"),
        ("of the root namespace", vec![scope("root", &[], &["./*"])], app(), "default"),
        (
            "its own before that of the root",
            vec![scope("root", &[], &["./*"]), scope("b", &[], &["*/*"])],
            app(),
            "s/v",
        ),
        (
            "one that selects it",
            vec![scope("b", &[], &["*/*"]), scope("b", &[("app", "x")], &["./*"])],
            app(),
            "default",
        ),
        (
            "one that selects others",
            vec![scope("b", &[], &["*/*"]), scope("b", &[("app", "y")], &["./*"])],
            app(),
            "s/v",
        ),
        ("of another namespace", vec![scope("c", &[], &["./*"])], app(), "s/v"),
    ];
    for (what, scopes, labels, expected) in rows {
        let objects = HttpObjects {
            routes: vec![Arc::new(both())],
            scopes,
            root_namespace: "root".into(),
            ..HttpObjects::default()
        };
        let config = HttpConfig::new(objects);
        let source = SourceView { namespace: "b", labels: &labels };
        let key = ServiceKey::new("s", REVIEWS);
        let routes = config.routes(source, &key, 9080);
        let name = routes.map_or("default".into(), |routes| routes.routes()[0].name.to_string());
        assert_eq!(name, expected, "{what}");
        assert_eq!(config.is_imported(source, &key, 9080), expected == "s/v", "{what}");
    }
    // A VirtualService is imported whole by any of its hosts.
    let objects = HttpObjects {
        routes: vec![Arc::new(virtual_service("s/v", &[REVIEWS, "alt.s.svc.cluster.local"]))],
        scopes: vec![scope("b", &[], &["s/alt.s.svc.cluster.local", "other/reviews.s.svc.cluster.local"])],
        ..HttpObjects::default()
    };
    let none = Labels::default();
    let source = SourceView { namespace: "b", labels: &none };
    let elsewhere = ServiceKey::new("other", REVIEWS);
    let config = HttpConfig::new(objects);
    assert!(config.routes(source, &elsewhere, 80).is_some());
    // For a service that is not imported its rules count as for a host that no service has: on port 80.
    let unseen = ServiceKey::new("s", REVIEWS);
    assert!(!config.is_imported(source, &unseen, 80));
    assert!(config.routes(source, &unseen, 80).is_some());
    assert!(config.routes(source, &unseen, 9080).is_none());
}

#[test]
fn hosts_that_no_service_has_count_on_port_80_alone() {
    let config = config(vec![virtual_service("a/v", &["Example.org"]), virtual_service("a/w", &["*.example.com"])]);
    let none = Labels::default();
    let source = SourceView { namespace: "b", labels: &none };
    let picked = |host, port| {
        let routes = config.routes_by_authority(source, host, port)?;
        routes.pick(&get("/")).map(|route| route.name.to_string())
    };
    for (host, port, expected) in [
        ("example.org", 80, Some("a/v")),
        ("EXAMPLE.org", 80, Some("a/v")),
        ("example.org", 8080, None),
        ("x.example.com", 80, Some("a/w")),
        ("example.com", 80, None),
    ] {
        assert_eq!(picked(host, port).as_deref(), expected, "{host}:{port}");
    }
}

/// A DestinationRule whose top policy connects within some milliseconds.
fn destination_rule(name: &str, host: &str, milliseconds: u64) -> DestinationRuleObject {
    let (namespace, own_name) = name.split_once('/').expect("a namespace");
    DestinationRuleObject {
        origin: origin(OriginKind::DestinationRule, namespace, own_name),
        host: HostPattern::parse(host),
        exported_to: ExportTo::Everyone,
        selector: None,
        policy: Some(PortPolicies { policy: connecting_within(milliseconds), ports: Vec::new() }),
        subsets: Vec::new(),
    }
}

fn connecting_within(milliseconds: u64) -> TrafficPolicy {
    let connect_timeout = Duration::from_millis(milliseconds);
    let pool = Some(ConnectionPool { connect_timeout, ..ConnectionPool::default() });
    TrafficPolicy { pool, ..TrafficPolicy::default() }
}

fn subset(name: &str, policy: Option<PortPolicies>) -> SubsetObject {
    SubsetObject { name: name.into(), labels: labels(&[("version", name)]), policy }
}

fn of(
    rules: Vec<DestinationRuleObject>,
    namespace: &str,
    port: u16,
    name: Option<&str>,
) -> Option<Arc<DestinationPolicy>> {
    let objects = HttpObjects {
        destination_rules: rules.into_iter().map(Arc::new).collect(),
        root_namespace: "root".into(),
        default_policy: connecting_within(77),
        ..HttpObjects::default()
    };
    let own = labels(&[("app", "x")]);
    let source = SourceView { namespace, labels: &own };
    HttpConfig::new(objects).destination_policy(source, &ServiceKey::new("s", REVIEWS), port, name)
}

#[test]
fn the_clients_rule_then_the_services_then_the_roots_counts_alone() {
    let exact = |name, milliseconds| destination_rule(name, REVIEWS, milliseconds);
    let exported = |namespaces: &[&str], rule: DestinationRuleObject| {
        let namespaces = namespaces.iter().map(|name| Arc::from(*name)).collect();
        DestinationRuleObject { exported_to: ExportTo::Namespaces(namespaces), ..rule }
    };
    let selecting = |app: &str, rule: DestinationRuleObject| DestinationRuleObject {
        selector: Some(labels(&[("app", app)])),
        ..rule
    };
    let rows: Vec<(&str, Vec<DestinationRuleObject>, &str, u64)> = vec![
        ("none", vec![], "b", 77),
        ("the client's wildcard", vec![exact("s/d", 1), destination_rule("b/w", "*.local", 2)], "b", 2),
        ("the service's for others", vec![exact("s/d", 1), destination_rule("b/w", "*.local", 2)], "c", 1),
        ("the root's last", vec![exact("root/r", 1), exact("s/d", 2)], "b", 2),
        ("the root's", vec![exact("root/r", 1)], "b", 1),
        ("a third namespace's never", vec![exact("c/d", 1)], "b", 77),
        ("the most specific", vec![destination_rule("s/w", "*.local", 1), exact("s/d", 2)], "b", 2),
        (
            "a hidden exact one hides",
            vec![destination_rule("s/w", "*.local", 1), exported(&["c"], exact("s/d", 2))],
            "b",
            77,
        ),
        (
            "a private one does not",
            vec![destination_rule("s/w", "*.local", 1), exported(&["s"], exact("s/d", 2))],
            "b",
            1,
        ),
        ("a client's that is not for itself", vec![exported(&["c"], exact("b/d", 1)), exact("s/d", 2)], "b", 2),
        ("one that selects the client", vec![exact("b/d", 1), selecting("x", exact("b/e", 2))], "b", 2),
        ("one that selects others", vec![exact("b/d", 1), selecting("y", exact("b/e", 2))], "b", 1),
        ("a selecting one for its namespace alone", vec![selecting("x", exact("s/e", 2))], "b", 77),
        ("the older of two", vec![exact("s/d", 1), exact("s/e", 2)], "b", 1),
        ("the root's own", vec![exact("root/r", 1), exact("s/d", 2)], "root", 2),
        ("the root's own private one", vec![exported(&["root"], exact("root/r", 1)), exact("s/d", 2)], "root", 1),
    ];
    for (what, rules, namespace, expected) in rows {
        let policy = of(rules, namespace, 80, None).expect("without a subset there is always one");
        assert_eq!(policy.pool.connect_timeout, Duration::from_millis(expected), "{what}");
    }
}

#[test]
fn rules_for_one_host_are_merged_and_a_port_takes_the_place_of_all_above() {
    let older = DestinationRuleObject {
        subsets: vec![subset("v1", None)],
        policy: None,
        ..destination_rule("s/older", REVIEWS, 0)
    };
    let newer = DestinationRuleObject {
        subsets: vec![subset("v1", Some(PortPolicies::default())), subset("v2", None)],
        ..destination_rule("s/newer", REVIEWS, 5)
    };
    let rules = || vec![older.clone(), newer.clone(), destination_rule("s/newest", REVIEWS, 9)];
    for (name, expected) in [(None, Some(5)), (Some("v1"), Some(5)), (Some("v2"), Some(5)), (Some("v3"), None)] {
        let policy = of(rules(), "b", 80, name);
        let time = policy.as_ref().map(|policy| policy.pool.connect_timeout);
        assert_eq!(time, expected.map(Duration::from_millis), "{name:?}");
        let labels = policy.and_then(|policy| policy.subset.clone());
        assert_eq!(labels, name.filter(|_| expected.is_some()).map(labels_of), "{name:?}");
    }
    assert_eq!(of(vec![], "b", 80, Some("v1")), None, "a subset without a rule");

    let outlier = OutlierDetection { consecutive_5xx: 3, ..OutlierDetection::default() };
    let random = LoadBalancer { algorithm: Algorithm::Random, ..LoadBalancer::default() };
    let with_balancer =
        |balancer: &LoadBalancer| TrafficPolicy { load_balancer: Some(balancer.clone()), ..TrafficPolicy::default() };
    let mut rule = destination_rule("s/d", REVIEWS, 5);
    let policies = rule.policy.as_mut().expect("it has one");
    policies.policy.outlier_detection = Some(outlier);
    policies.ports.push((9080, with_balancer(&random)));
    let robin = LoadBalancer { algorithm: Algorithm::RoundRobin, ..LoadBalancer::default() };
    let at_90 = PortPolicies { policy: with_balancer(&robin), ports: vec![(90, TrafficPolicy::default())] };
    rule.subsets = vec![subset("plain", None), subset("own", Some(at_90))];
    let rows = [
        (80, None, Algorithm::LeastRequest, true, 5),
        (9080, None, Algorithm::Random, false, 77),
        (9080, Some("plain"), Algorithm::Random, false, 77),
        (80, Some("own"), Algorithm::RoundRobin, true, 5),
        (9080, Some("own"), Algorithm::RoundRobin, false, 77),
        (90, Some("own"), Algorithm::LeastRequest, false, 10_000),
    ];
    for (port, name, algorithm, has_outlier_detection, milliseconds) in rows {
        let policy = of(vec![rule.clone()], "b", port, name).expect("the subset exists");
        let seen = (policy.load_balancer.algorithm.clone(), policy.outlier_detection, policy.pool.connect_timeout);
        let expected = (algorithm, has_outlier_detection.then_some(outlier), Duration::from_millis(milliseconds));
        assert_eq!(seen, expected, "{port} {name:?}");
    }
}

fn labels_of(name: &str) -> Labels {
    labels(&[("version", name)])
}

#[test]
fn the_rule_then_the_service_then_the_mesh_say_where_endpoints_should_be() {
    let setting = |failover: &[(&str, &str)]| LocalitySetting {
        failover: failover.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect(),
        ..LocalitySetting::default()
    };
    let off = || LocalitySetting { enabled: false, ..LocalitySetting::default() };
    let shares = Distribution { from: LocalityPattern::parse("eu"), to: vec![(LocalityPattern::parse("us"), 100)] };
    let distribute = || LocalitySetting { distribute: vec![shares.clone()], ..LocalitySetting::default() };
    let failover = |regions: &[(&str, &str)]| LocalityRule::Failover(setting(regions).failover);
    let eu_us: &[(&str, &str)] = &[("eu", "us")];
    /// Of the rule, of the mesh, whether endpoints are ejected, what counts, and whether the service's word comes first.
    type Row = (Option<LocalitySetting>, Option<LocalitySetting>, bool, Option<(LocalityRule, bool)>);
    let rows: [Row; 9] = [
        (None, None, false, None),
        (None, None, true, Some((failover(&[]), true))),
        (None, Some(off()), true, None),
        (None, Some(setting(eu_us)), true, Some((failover(eu_us), true))),
        (None, Some(distribute()), false, Some((LocalityRule::Distribute(vec![shares.clone()]), true))),
        (Some(setting(eu_us)), Some(off()), true, Some((failover(eu_us), false))),
        (Some(setting(eu_us)), None, false, Some((LocalityRule::Anywhere, false))),
        (Some(off()), Some(setting(eu_us)), true, Some((LocalityRule::Anywhere, false))),
        (Some(distribute()), None, false, Some((LocalityRule::Distribute(vec![shares.clone()]), false))),
    ];
    for (own, mesh, ejects, expected) in rows {
        let balancer = |locality| Some(LoadBalancer { locality, ..LoadBalancer::default() });
        let mut rule = destination_rule("s/d", REVIEWS, 5);
        let policies = rule.policy.as_mut().expect("it has one");
        policies.policy.load_balancer = own.clone().and_then(|own| balancer(Some(own)));
        policies.policy.outlier_detection = ejects.then(OutlierDetection::default);
        let objects = HttpObjects {
            destination_rules: vec![Arc::new(rule)],
            default_policy: TrafficPolicy { load_balancer: balancer(mesh.clone()), ..TrafficPolicy::default() },
            ..HttpObjects::default()
        };
        let client = SourceView { namespace: "b", labels: &Labels::new() };
        let policy = HttpConfig::new(objects)
            .destination_policy(client, &ServiceKey::new("s", REVIEWS), 80, None)
            .expect("there is one");
        let seen = policy.locality.as_ref().map(|found| (found.rule.clone(), found.yields_to_service));
        assert_eq!(seen, expected, "{own:?} {mesh:?} {ejects}");
    }
}
