//! Objects about requests: what a real istiod sent for a file comes to the same as the file itself.

use std::path::Path;

use super::*;
use crate::model::http::objects::{DestinationRuleObject, RouteObject};
use crate::objects::{Kind, Loaded, Objects, protobuf};
use crate::resources::{ObjectBody, ObjectKind, ObjectUpdate, ResourceType};

const FILE: &str = include_str!("../../../../testdata/istiod-1.31/objects.yaml");

/// What a state has, by the objects' names: their ages differ, for those of a file have none.
fn compiled(state: &SubscriptionState) -> (Vec<RouteObject>, Vec<DestinationRuleObject>) {
    let objects = state.http_objects();
    let mut routes: Vec<RouteObject> = objects.routes.iter().map(|object| (**object).clone()).collect();
    let mut rules: Vec<DestinationRuleObject> = objects.destination_rules.iter().map(|rule| (**rule).clone()).collect();
    routes.sort_by(|one, other| one.origin.name.cmp(&other.origin.name));
    rules.sort_by(|one, other| one.origin.name.cmp(&other.origin.name));
    (routes, rules)
}

fn of_istiod() -> SubscriptionState {
    let mut state = empty_state();
    let recordings = [
        &include_bytes!("../../../../testdata/istiod-1.31/node/networking.istio.io_v1_VirtualService.pb")[..],
        include_bytes!("../../../../testdata/istiod-1.31/node/networking.istio.io_v1_DestinationRule.pb"),
        include_bytes!("../../../../testdata/istiod-1.31/node/gateway.networking.k8s.io_v1_HTTPRoute.pb"),
        include_bytes!("../../../../testdata/istiod-1.31/node/telemetry.istio.io_v1_Telemetry.pb"),
    ];
    for bytes in recordings {
        let (outcome, _) = apply(&mut state, discovery::DeltaDiscoveryResponse::decode(bytes).unwrap());
        assert_eq!(outcome.rejected, Vec::<String>::new());
    }
    state
}

fn of_file() -> SubscriptionState {
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("objects.yaml"), FILE);
    let mut objects = Objects::default();
    assert_eq!(objects.update(loaded), []);
    let mut state = empty_state();
    for (kind, object) in objects.http_objects() {
        let name = format!("{}/{}", object.metadata.namespace, object.metadata.name);
        let body = protobuf::http_envelope(kind, object).encode_to_vec().into();
        let received = ReceivedResource { name: name.as_str().into(), version: "1".into(), body, flaw: None };
        let kind = ResourceType::Object(kind.object_kind().expect("it travels as it was written"));
        assert_eq!(state.update(kind, &received).rejected, None, "{name}");
    }
    state
}

#[test]
fn what_istiod_sends_for_a_file_comes_to_what_the_file_does() {
    let (istiod, file) = (compiled(&of_istiod()), compiled(&of_file()));
    assert_eq!(istiod.0.len(), 3, "a route of the Gateway API counts once, though istiod sends it twice");
    for (one, other) in istiod.0.iter().zip(&file.0) {
        assert_eq!(one, other);
    }
    assert_eq!(istiod, file);
    let [istiod, file] = [of_istiod(), of_file()].map(|state| state.http_objects().telemetry.objects.clone());
    assert_eq!(istiod.len(), 1);
    assert_eq!(istiod, file, "a Telemetry object");
}

#[test]
fn a_bad_object_leaves_its_last_good_version_and_all_others() {
    let mut state = of_file();
    let before = compiled(&state);
    let kind = ResourceType::Object(ObjectKind::VirtualService);
    let received = ReceivedResource {
        name: "bookinfo/reviews".into(),
        version: "bad".into(),
        body: prost_types::Any { type_url: "x".to_owned(), value: b"y".into() }.encode_to_vec().into(),
        flaw: None,
    };
    assert!(state.update(kind, &received).rejected.is_some());
    assert_eq!(compiled(&state), before);
    assert!(state.remove(kind, "bookinfo/reviews").is_some_and(|updates| updates.is_empty()));
    assert_eq!(compiled(&state).0.len(), before.0.len() - 1);
}

/// An object as an API server tells it, with the version of its name.
fn told(name: &str, spec: serde_json::Value) -> ObjectBody {
    let metadata = serde_json::json!({
        "name": name, "namespace": "shop", "creationTimestamp": "2026-01-31T12:00:00Z", "resourceVersion": "7",
    });
    let whole = serde_json::json!({"metadata": metadata, "spec": spec});
    let body = protobuf::http_envelope_of_json(Kind::VirtualService, &whole);
    let body = body.map(Into::into).map_err(|invalid| invalid.to_string().into());
    ObjectBody { name: format!("shop/{name}").as_str().into(), version: "7".to_owned(), body }
}

fn takes(state: &mut SubscriptionState, put: Vec<ObjectBody>, removed: &[&str], is_whole: bool) -> Vec<String> {
    let removed = removed.iter().map(|name| (*name).to_owned()).collect();
    let update = ObjectUpdate { kind: ObjectKind::VirtualService, put, removed, is_whole };
    let mut response = Response::of_objects(update, state);
    while response.apply_next(state).is_some() {}
    response.finish().rejected
}

#[test]
fn objects_of_the_api_server_count_as_those_of_a_stream_do() {
    let good = |to: &str| serde_json::json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": to}}]}]});
    let names = |state: &SubscriptionState| -> Vec<String> {
        compiled(state).0.iter().map(|route| route.origin.name.to_string()).collect()
    };
    let mut state = empty_state();
    let none = Vec::<String>::new();
    assert_eq!(takes(&mut state, vec![told("a", good("v1")), told("b", good("v1"))], &[], true), none);
    assert_eq!(names(&state), ["a", "b"]);
    // A bad one leaves its last good version and the others.
    let before = compiled(&state);
    let bad = told("a", serde_json::json!({"hosts": ["web"], "http": [{"timeout": "-1s"}]}));
    let rejected = takes(&mut state, vec![bad], &[], false);
    assert!(rejected[0].starts_with("shop/a: spec.http[0]"), "{rejected:?}");
    assert_eq!(compiled(&state), before);
    // A list says what there is; a bad object in it is there.
    let bad = told("b", serde_json::json!({"hosts": 1}));
    assert_eq!(takes(&mut state, vec![bad, told("c", good("v2"))], &[], true).len(), 1);
    assert_eq!(names(&state), ["b", "c"]);
    assert_eq!(takes(&mut state, Vec::new(), &["shop/b", "shop/never"], false), none);
    assert_eq!(names(&state), ["c"]);
    assert_eq!(takes(&mut state, Vec::new(), &[], true), none);
    assert_eq!(names(&state), none);
}
