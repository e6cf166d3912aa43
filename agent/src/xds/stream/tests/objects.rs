//! Objects as their authors wrote them, as a real istiod sent them.

use super::*;
use crate::model::authorization::{AccessRequest, Denied, Destination};
use crate::model::identity::{Identity, TrustDomain};
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::policy_object::PolicyTarget;
use crate::proto::istio::security::v1beta1 as pb;
use crate::proto::istio::r#type::v1beta1 as selector_pb;
use crate::resources::ObjectKind;

const POLICIES: ResourceType = ResourceType::Object(ObjectKind::AuthorizationPolicy);
const PEERS: ResourceType = ResourceType::Object(ObjectKind::PeerAuthentication);

/// A response of istiod 1.31, whole.
fn recorded(bytes: &[u8]) -> discovery::DeltaDiscoveryResponse {
    discovery::DeltaDiscoveryResponse::decode(bytes).unwrap()
}

fn apply_updates(
    state: &mut SubscriptionState,
    response: discovery::DeltaDiscoveryResponse,
) -> (Processed, Vec<MeshUpdate>) {
    let (outcome, changes) = apply(state, response);
    (outcome, changes.updates)
}

#[test]
fn all_objects_that_a_real_istiod_sent_are_stored_and_recognized_again() {
    macro_rules! recordings {
        ($($file:literal),*) => {
            [$(&include_bytes!(concat!("../../../../testdata/istiod-1.31/node/", $file, ".pb"))[..]),*]
        };
    }
    let recordings = recordings!(
        "security.istio.io_v1_AuthorizationPolicy",
        "security.istio.io_v1_PeerAuthentication",
        "security.istio.io_v1_RequestAuthentication",
        "networking.istio.io_v1_VirtualService",
        "networking.istio.io_v1_DestinationRule",
        "gateway.networking.k8s.io_v1_HTTPRoute",
        "gateway.networking.k8s.io_v1_Gateway",
        "telemetry.istio.io_v1_Telemetry"
    );
    let mut state = empty_state();
    for bytes in recordings {
        let response = recorded(bytes);
        let (url, count) = (response.type_url.clone(), response.resources.len() as u64);
        let (first, _) = apply_updates(&mut state, response.clone());
        assert_eq!((first.rejected, first.repeats), (Vec::new(), 0), "{url}");
        let (again, updates) = apply_updates(&mut state, response);
        assert_eq!((again.changed, again.repeats, updates.len()), (false, count, 0), "{url}: byte for byte the same");
    }
    let shown = crate::xds::object_dump::objects(&state, &Default::default());
    assert!(shown.iter().all(|object| object["spec"].is_object() || object["base64"].is_string()), "{shown:?}");
    let policy = shown.iter().find(|object| object["name"] == "bookinfo/details-l4").unwrap();
    assert_eq!(policy["spec"]["selector"]["matchLabels"]["app"], "details");
}

#[test]
fn only_policies_whose_l4_form_of_istiod_is_not_theirs_get_another() {
    let mut state = empty_state();
    let bytes = include_bytes!("../../../../testdata/istiod-1.31/node/security.istio.io_v1_AuthorizationPolicy.pb");
    let (_, updates) = apply_updates(&mut state, recorded(bytes));
    let mut found: Vec<String> = Vec::new();
    for update in updates {
        let MeshUpdate::PolicyObject(object) = update else { panic!("{update:?}") };
        let groups =
            object.own_form.as_ref().map_or("istiod's".to_owned(), |form| format!("{} groups", form.groups.len()));
        let target = match object.target {
            PolicyTarget::Namespace => "namespace",
            PolicyTarget::Selector(_) => "selector",
            PolicyTarget::Elsewhere => "elsewhere",
        };
        found.push(format!("{}: {target}, {groups}", object.key));
    }
    let expected = [
        "bookinfo/deny-cidr: namespace, 1 groups",
        "bookinfo/details-l4: selector, istiod's",
        "bookinfo/ratings-deny: elsewhere, istiod's",
        "bookinfo/ratings-sel-l7: selector, 2 groups",
        "bookinfo/reviews-l7: elsewhere, istiod's",
    ];
    found.sort();
    assert_eq!(found, expected);
}

fn enveloped(kind: ResourceType, name: &str, type_url: &str, body: Vec<u8>) -> discovery::Resource {
    let envelope = mcp::Resource {
        metadata: Some(mcp::Metadata { name: name.into(), ..Default::default() }),
        body: Some(prost_types::Any { type_url: type_url.into(), value: body }),
    };
    resource(kind, name, "1", envelope.encode_to_vec())
}

fn object(name: &str, policy: &pb::AuthorizationPolicy) -> discovery::Resource {
    let type_url = "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy";
    enveloped(POLICIES, name, type_url, policy.encode_to_vec())
}

/// DENY of DELETE, from a namespace.
fn deny_delete(labels: &[(&str, &str)]) -> pb::AuthorizationPolicy {
    let operation = pb::Operation { methods: vec!["DELETE".into()], ..Default::default() };
    let source = pb::Source { namespaces: vec!["ops".into()], ..Default::default() };
    let match_labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    pb::AuthorizationPolicy {
        selector: (!labels.is_empty()).then_some(selector_pb::WorkloadSelector { match_labels }),
        action: pb::authorization_policy::Action::Deny.into(),
        rules: vec![pb::Rule {
            from: vec![pb::rule::From { source: Some(source) }],
            to: vec![pb::rule::To { operation: Some(operation) }],
            when: Vec::new(),
        }],
        ..Default::default()
    }
}

fn pb_workload(namespace: &str, name: &str) -> super::pb::Address {
    let workload =
        super::pb::Workload { uid: "uid".into(), namespace: namespace.into(), name: name.into(), ..Default::default() };
    super::pb::Address { r#type: Some(super::pb::address::Type::Workload(workload)) }
}

fn from_namespace(namespace: &str) -> AccessRequest {
    AccessRequest {
        source: Some(Identity::new(TrustDomain::new(""), namespace, "a")),
        source_ip: "10.0.0.9".parse().unwrap(),
        destination: "10.0.0.1:80".parse().unwrap(),
    }
}

#[test]
fn a_policy_with_http_denies_its_l4_remainder_for_the_pods_it_selects() {
    let mut state = empty_state();
    let mut mesh = Mesh::default();
    let response = discovery::DeltaDiscoveryResponse {
        type_url: POLICIES.type_url().into(),
        resources: vec![object("shop/no-delete", &deny_delete(&[("app", "cart")]))],
        ..Default::default()
    };
    for update in apply_updates(&mut state, response).1 {
        mesh.apply(update);
    }
    let wire = pb_workload("shop", "cart");
    let named = resource(ResourceType::Address, "uid", "1", wire.encode_to_vec());
    let response = discovery::DeltaDiscoveryResponse {
        type_url: ResourceType::Address.type_url().into(),
        resources: vec![named],
        ..Default::default()
    };
    for update in apply_updates(&mut state, response).1 {
        mesh.apply(update);
    }
    let pod = mesh.workload("uid").unwrap().clone();
    let labels = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
    let outcome = |mesh: &Mesh, labels: &Labels, namespace: &str| {
        let destination = Destination { labels, ..Destination::of(&pod) };
        mesh.authorize(&destination, &from_namespace(namespace)).outcome.map(|_| ())
    };
    let denied = Err(Denied::ByPolicy("shop/no-delete".into()));
    assert_eq!(outcome(&mesh, &labels("cart"), "ops"), denied);
    assert_eq!(outcome(&mesh, &labels("cart"), "shop"), Ok(()));
    assert_eq!(outcome(&mesh, &labels("web"), "ops"), Ok(()), "another pod");

    let gone = discovery::DeltaDiscoveryResponse {
        type_url: POLICIES.type_url().into(),
        removed_resources: vec!["shop/no-delete".into()],
        ..Default::default()
    };
    for update in apply_updates(&mut state, gone).1 {
        mesh.apply(update);
    }
    assert_eq!(outcome(&mesh, &labels("cart"), "ops"), Ok(()));
}

#[test]
fn a_policy_that_says_more_than_this_version_knows_denies_its_namespace() {
    let mut state = empty_state();
    let type_url = "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy";
    let mut body = deny_delete(&[("app", "cart")]).encode_to_vec();
    // Field 99, a text.
    body.extend_from_slice(&[0x9a, 0x06, 1, b'x']);
    for (body, type_url) in [(body, type_url), (vec![0xff], type_url), (Vec::new(), "type.googleapis.com/other")] {
        let (updates, nack) = feed(&mut state, POLICIES, vec![enveloped(POLICIES, "shop/p", type_url, body)], &[]);
        assert_eq!(updates, ["object shop/p true"]);
        assert!(nack.is_some());
    }
    let (updates, nack) =
        feed(&mut state, PEERS, vec![enveloped(PEERS, "shop/p", "type.googleapis.com/x", vec![])], &[]);
    assert_eq!((updates.as_slice(), nack.is_some()), (&["peer object shop/p".to_owned()][..], true));
}

#[test]
fn what_of_policies_and_of_the_mesh_configuration_has_no_effect_is_shown_and_counted() {
    let mut state = empty_state();
    let shown = |state: &SubscriptionState, at: usize| {
        crate::xds::object_dump::objects(state, &Default::default()).into_iter().nth(at).unwrap_or_default()
    };
    let count = |state: &SubscriptionState, kind: &str| {
        state.fields_without_effect().into_iter().find(|(known, _)| *known == kind).map(|(_, count)| count)
    };
    assert_eq!((shown(&state, 0), count(&state, "mesh_config")), (serde_json::Value::Null, Some(0)));
    // Field 7, `ingressClass`, is one of those that are not read.
    let config = |class: &str| {
        let text = [&[0x3a, u8::try_from(class.len()).unwrap()][..], class.as_bytes()].concat();
        let known = MeshConfig { root_namespace: "root".into(), ..Default::default() }.encode_to_vec();
        resource(ResourceType::MeshConfig, "", "", [known, text].concat())
    };
    let notes = serde_json::json!(["ingressClass: has no effect here"]);
    let unreadable = resource(ResourceType::MeshConfig, "", "", vec![0xff]);
    for (config, without_effect, is_rejected) in [
        (config("other"), &notes, false),
        (unreadable.clone(), &notes, true),
        (config("other"), &notes, false),
        (unreadable, &notes, true),
        (config("istio"), &serde_json::Value::Null, false),
    ] {
        feed(&mut state, ResourceType::MeshConfig, vec![config], &[]);
        let object = shown(&state, 0);
        assert_eq!(
            (&object["withoutEffect"], object["rejected"].is_string()),
            (without_effect, is_rejected),
            "{object}"
        );
        let expected = without_effect.as_array().map_or(0, |notes| notes.len() as u64);
        assert_eq!(count(&state, "mesh_config"), Some(expected));
    }
    let mut policy = deny_delete(&[]);
    policy.rules[0].from.clear();
    for _ in 0..2 {
        feed(&mut state, POLICIES, vec![object("shop/no-delete", &policy)], &[]);
        let object = shown(&state, 1);
        let told = object["withoutEffect"].as_array().expect("something has no effect").len() as u64;
        assert!(object["withoutEffect"][0].as_str().is_some_and(|note| note.starts_with("spec.rules: ")), "{object}");
        assert_eq!(count(&state, "authorization_policy"), Some(told));
    }
    feed(&mut state, POLICIES, vec![], &["shop/no-delete"]);
    assert_eq!(count(&state, "authorization_policy"), Some(0));
}
