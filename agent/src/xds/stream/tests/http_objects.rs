//! Objects about requests: what a real istiod sent for a file comes to the same as the file itself.

use std::path::Path;

use super::*;
use crate::model::http::objects::{DestinationRuleObject, RouteObject};
use crate::objects::{Loaded, Objects, protobuf};
use crate::resources::{ObjectKind, ResourceType};

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
