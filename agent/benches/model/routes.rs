//! Routes in large numbers: what they take in memory, how long it takes to find the one of a request and the list of a service, and
//! what it costs until a changed object counts.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};
use prost::Message;
use weir::api::control_plane::translate::{Options, VipAllocations, translate};
use weir::api::model::http::{
    Action, Applicability, Cluster, Destination, ExportTo, FieldChanges, Forward, HostPattern, HttpConfig, HttpObjects,
    Origin, OriginKind, PathMatch, RequestHead, RequestMatch, Route, RouteObject, Rule, Semantics, SourceView, Target,
};
use weir::api::model::peer_authentication::Labels;
use weir::api::model::service::ServiceKey;
use weir::api::objects::{Loaded, Objects};
use weir::api::proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use weir::api::xds::ConfigReceiver;

use crate::figures::Figures;
use crate::heap::live_bytes;
use crate::memory::receiver;
use crate::timings::{median, micros, time_of};

/// Routes of a large mesh: of one service, or of one service each.
const ROUTES: usize = 5000;
/// The route of a request among so many.
const PICK_BOUND_NS: f64 = 300.0;
/// All of them, with every index.
const MEMORY_BOUND_MB: f64 = 10.0;
/// Services with a VirtualService and a DestinationRule each.
const SERVICES: usize = 1000;
/// One of these objects, from the response of the control plane to the snapshot that requests are decided with.
const CHANGE_BOUND_US: f64 = 5000.0;
const VIRTUAL_SERVICE: &str = "networking.istio.io/v1/VirtualService";
const DESTINATION_RULE: &str = "networking.istio.io/v1/DestinationRule";
/// In which objects travel.
const ENVELOPE: &str = "type.googleapis.com/istio.mcp.v1alpha1.Resource";

pub(crate) fn measure(criterion: &mut Criterion, figures: &mut Figures) {
    let live = live_bytes();
    let of_one = HttpConfig::new(objects(vec![object(0, (0..ROUTES).map(route).collect())]));
    let labels = Labels::default();
    let source = SourceView { namespace: "client", labels: &labels };
    let routes = of_one.routes(source, &service(0), 80).expect("there are routes");
    figures.bounded(format!("memory: {ROUTES} routes of one service"), megabytes(live), "MB", MEMORY_BOUND_MB);
    for (what, path) in [
        ("the first", format!("/team/0/service/{}", 0)),
        ("the last", format!("/team/{}/service/{}/items?all=yes", (ROUTES - 1) % 50, ROUTES - 1)),
        ("none", "/team/7/other".to_owned()),
    ] {
        let request = request(path);
        let time = time_of(criterion, &format!("pick, {what}"), || routes.pick(&request).is_some()).map(nanos);
        figures.bounded(format!("route of a request among {ROUTES}: {what}"), time, "ns", PICK_BOUND_NS);
    }
    let live = live_bytes();
    let of_each = HttpConfig::new(objects((0..ROUTES).map(|number| object(number, vec![route(number)])).collect()));
    let mut number = 0;
    let time = time_of(criterion, "routes of a service", || {
        number = (number + 7919) % ROUTES;
        of_each.routes(source, &service(number), 80).is_some()
    });
    figures.bounded(format!("memory: {ROUTES} objects with a route each"), megabytes(live), "MB", MEMORY_BOUND_MB);
    figures.shown(format!("routes of a service among {ROUTES} objects"), time.map(nanos), "ns");
    change(criterion, figures);
}

/// Objects of all services come, and then one of them again and again, changed each time.
fn change(criterion: &mut Criterion, figures: &mut Figures) {
    let (mesh, receiver) = receiver();
    let live = live_bytes();
    let all = objects_of(0..SERVICES, 0);
    for response in &all {
        apply(&receiver, response.clone());
    }
    drop(all);
    let labels = Labels::default();
    let source = SourceView { namespace: "client", labels: &labels };
    let is_routed = |number| mesh.routes().current().routes(source, &service(number), 80).is_some();
    assert!((0..SERVICES).all(is_routed), "the objects decide");
    let memory = megabytes(live);
    figures.shown(format!("memory: all that the objects of {SERVICES} services leave behind"), memory, "MB");
    for (what, kind) in [("VirtualService", VIRTUAL_SERVICE), ("DestinationRule", DESTINATION_RULE)] {
        let changed = |seconds| {
            let number = seconds % SERVICES;
            let mut responses = objects_of(number..number + 1, seconds + 1);
            let at = responses.iter().position(|response| response.type_url == kind).expect("both kinds are there");
            responses.swap_remove(at)
        };
        let (mut times, mut seconds) = (Vec::new(), 0);
        criterion.bench_function(&format!("a changed {what}"), |bencher: &mut Bencher<'_>| {
            bencher.iter_custom(|iterations| {
                let mut all = Duration::ZERO;
                for _ in 0..iterations {
                    seconds += 1;
                    let response = changed(seconds);
                    let started = Instant::now();
                    apply(&receiver, response);
                    all += started.elapsed();
                }
                times.push(all.div_f64(iterations as f64));
                all
            });
        });
        let time = median(&mut times).map(micros);
        figures.bounded(format!("a changed {what} among those of {SERVICES} services"), time, "µs", CHANGE_BOUND_US);
    }
}

fn apply(receiver: &ConfigReceiver, response: DeltaDiscoveryResponse) {
    let outcome = black_box(receiver.handle_response(response));
    assert!(outcome.changed && outcome.rejected.is_empty(), "{:?}", outcome.rejected);
}

/// A VirtualService and a DestinationRule of each of these services, as a control plane sends them; `seconds` is in a timeout of
/// both, so that objects with other ones differ.
fn objects_of(services: impl Iterator<Item = usize>, seconds: usize) -> Vec<DeltaDiscoveryResponse> {
    let mut text = String::new();
    for number in services {
        let (namespace, host) = (format!("team-{}", number % 50), hostname(number));
        let metadata = format!("{{name: service-{number}, namespace: {namespace}}}");
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {metadata}\nspec:\n  hosts: [{host}]\n  \
             http:\n  - match: [{{uri: {{prefix: /api/v1}}}}]\n    timeout: {seconds}s\n    route:\n    - destination: {{host: \
             {host}, subset: v1}}\n      weight: 90\n    - destination: {{host: {host}, subset: v2}}\n      weight: 10\n  - \
             route: [{{destination: {{host: {host}}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: \
             DestinationRule\nmetadata: {metadata}\nspec:\n  host: {host}\n  trafficPolicy:\n    outlierDetection: \
             {{consecutive5xxErrors: 5, interval: {}s}}\n  subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n  - {{name: \
             v2, labels: {{version: v2}}}}\n",
            seconds + 1
        );
    }
    let (mut loaded, mut objects) = (Loaded::default(), Objects::default());
    loaded.read_text(Path::new("objects.yaml"), &text);
    assert!(objects.update(loaded).is_empty(), "what was made up is valid");
    let sent = translate(&objects, &Options::default(), &mut VipAllocations::default()).objects;
    let response = |type_url: &str| {
        let of_kind = sent.iter().filter(|((kind, _), _)| kind.type_url() == type_url);
        let resources = of_kind.map(|((_, name), envelope)| Resource {
            name: name.clone(),
            version: seconds.to_string(),
            resource: Some(prost_types::Any { type_url: ENVELOPE.to_owned(), value: envelope.encode_to_vec() }),
            ..Default::default()
        });
        let resources = resources.collect();
        DeltaDiscoveryResponse { resources, type_url: type_url.to_owned(), nonce: "n".to_owned(), ..Default::default() }
    };
    vec![response(VIRTUAL_SERVICE), response(DESTINATION_RULE)]
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn megabytes(before: usize) -> f64 {
    (live_bytes() - before) as f64 / 1e6
}

fn request(target: String) -> RequestHead {
    RequestHead {
        method: b"GET".into(),
        target: target.into(),
        authority: b"service.team.svc.cluster.local".into(),
        ..RequestHead::default()
    }
}

fn hostname(number: usize) -> String {
    format!("service-{number}.team-{}.svc.cluster.local", number % 50)
}

fn service(number: usize) -> ServiceKey {
    ServiceKey::new(&format!("team-{}", number % 50), &hostname(number))
}

fn objects(routes: Vec<Arc<RouteObject>>) -> HttpObjects {
    HttpObjects { routes, ..HttpObjects::default() }
}

fn object(number: usize, routes: Vec<Arc<Route>>) -> Arc<RouteObject> {
    Arc::new(RouteObject {
        origin: origin(number),
        semantics: Semantics::VirtualService,
        hosts: vec![HostPattern::parse(&hostname(number))],
        parent_namespace: None,
        parent_port: None,
        exported_to: ExportTo::Everyone,
        routes,
    })
}

fn origin(number: usize) -> Origin {
    Origin {
        kind: OriginKind::VirtualService,
        namespace: format!("team-{}", number % 50).into(),
        name: format!("service-{number}").into(),
        rule: 0,
    }
}

/// A route by a prefix of its own, to a service of its own.
fn route(number: usize) -> Arc<Route> {
    let target = Target::Cluster(Cluster { hostname: hostname(number).into(), port: Some(80), subset: None });
    let (request, response) = (FieldChanges::default(), FieldChanges::default());
    let destinations = vec![Destination { target, weight: 1, request, response, authority: None }];
    let forward = Forward {
        destinations,
        has_several: false,
        path: None,
        authority: None,
        timeout: Some(Duration::from_secs(5)),
        retry: None,
        mirrors: Vec::new(),
    };
    let rule = Rule {
        origin: origin(number),
        semantics: Semantics::VirtualService,
        action: Action::Forward(Box::new(forward)),
        request: FieldChanges::default(),
        response: FieldChanges::default(),
        fault: None,
        cors: None,
    };
    let path = PathMatch::Prefix(format!("/team/{}/service/{number}", number % 50).into());
    Arc::new(Route {
        name: format!("route-{number}").into(),
        matches: RequestMatch { path, ..RequestMatch::default() },
        applies: Applicability::default(),
        rule: Arc::new(rule),
    })
}
