//! One stream, message by message.

mod http_objects;
mod objects;

use prost::Message as _;

use super::*;
use crate::model::identity::TrustDomain;
use crate::model::mesh::{MeshSettings, OutboundTrafficPolicy};
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::mesh::v1alpha1::MeshConfig;
use crate::proto::istio::security as policy_pb;
use crate::proto::istio::workload as pb;
use crate::resources::{ADDRESS_TYPE_URL, AUTHORIZATION_TYPE_URL, ENVELOPE_TYPE_URL, MESH_CONFIG_TYPE_URL};

fn empty_state() -> SubscriptionState {
    SubscriptionState::new(MeshSettings {
        trust_domain: TrustDomain::new(""),
        trust_domain_aliases: Vec::new(),
        outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
        access_log: None,
        root_namespace: "istio-system".into(),
        ca_certificates: Vec::new(),
        network: "net1".into(),
    })
}

fn resource(kind: ResourceType, name: &str, version: &str, body: Vec<u8>) -> discovery::Resource {
    discovery::Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(prost_types::Any { type_url: kind.body_type_url().into(), value: body }),
        ..Default::default()
    }
}

/// A workload; one with `bad` in its network has an address of three bytes.
fn workload(uid: &str, version: &str, network: &str) -> discovery::Resource {
    let addresses = if network == "bad" { vec![vec![1, 2, 3].into()] } else { Vec::new() };
    let wire = pb::Workload { uid: uid.into(), network: network.into(), addresses, ..Default::default() };
    let wire = pb::Address { r#type: Some(pb::address::Type::Workload(wire)) };
    resource(ResourceType::Address, uid, version, wire.encode_to_vec())
}

fn policy(name: &str, version: &str, port: u32) -> discovery::Resource {
    let (namespace, short) = name.split_once('/').unwrap();
    let one = policy_pb::Match { destination_ports: vec![port], ..Default::default() };
    let group = policy_pb::Group { rules: vec![policy_pb::Rules { matches: vec![one] }] };
    let wire = policy_pb::Authorization {
        name: short.into(),
        namespace: namespace.into(),
        scope: 1,
        groups: vec![group],
        ..Default::default()
    };
    resource(ResourceType::Authorization, name, version, wire.encode_to_vec())
}

/// What a whole response changes.
struct Changes {
    updates: Vec<MeshUpdate>,
    records: Vec<Record>,
}

fn apply(state: &mut SubscriptionState, response: discovery::DeltaDiscoveryResponse) -> (Processed, Changes) {
    let mut response = Response::new(response);
    let mut changes = Changes { updates: Vec::new(), records: Vec::new() };
    while let Some(change) = response.apply_next(state) {
        changes.updates.extend(change.updates);
        changes.records.extend(change.record);
    }
    (response.finish(), changes)
}

/// Feeds one response and says what came of it: updates, and the message of a NACK.
fn feed(
    state: &mut SubscriptionState,
    kind: ResourceType,
    resources: Vec<discovery::Resource>,
    removed: &[&str],
) -> (Vec<String>, Option<String>) {
    let (outcome, changes) = apply(
        state,
        discovery::DeltaDiscoveryResponse {
            type_url: kind.type_url().into(),
            nonce: "n".into(),
            resources,
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            ..Default::default()
        },
    );
    assert!(outcome.changed || (changes.updates.is_empty() && changes.records.is_empty()));
    assert_eq!((outcome.reply.type_url.as_str(), outcome.reply.response_nonce.as_str()), (kind.type_url(), "n"));
    assert!(outcome.reply.node.is_none() && outcome.reply.resource_names_subscribe.is_empty());
    assert_eq!(outcome.kind, Some(kind));
    assert_eq!(outcome.rejected.is_empty(), outcome.reply.error_detail.is_none());
    let nack = outcome.reply.error_detail.map(|status| {
        assert_eq!(status.code, INVALID_ARGUMENT);
        status.message
    });
    (changes.updates.iter().map(summary).collect(), nack)
}

fn summary(update: &MeshUpdate) -> String {
    match update {
        MeshUpdate::Workload(workload) => format!("workload {}@{}", workload.uid, workload.network),
        MeshUpdate::Service(service) => format!("service {}", service.key),
        MeshUpdate::RemoveAddress(name) => format!("-address {name}"),
        MeshUpdate::PodLabels(uid, labels) => format!("labels of {uid} {labels:?}"),
        MeshUpdate::Authorization(policy) => match &policy.invalid {
            Some(_) => format!("denying {} {:?}", policy.key, policy.scope),
            None => format!("policy {}", policy.key),
        },
        MeshUpdate::RemoveAuthorization(name) => format!("-policy {name}"),
        MeshUpdate::PolicyObject(object) => format!("object {} {}", object.key, object.own_form.is_some()),
        MeshUpdate::RemovePolicyObject(name) => format!("-object {name}"),
        MeshUpdate::PeerObject(object) => format!("peer object {}", object.key),
        MeshUpdate::RemovePeerObject(name) => format!("-peer object {name}"),
        MeshUpdate::Settings(settings) => format!("settings {}", settings.root_namespace),
        MeshUpdate::SidecarsDecideOutbound(decide) => format!("sidecars decide {decide}"),
    }
}

fn versions(state: &SubscriptionState, kind: ResourceType) -> Vec<(String, String)> {
    state.versions(kind).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

/// A step of a stream: what comes, and what it leads to.
struct Step {
    what: &'static str,
    resources: Vec<discovery::Resource>,
    removed: &'static [&'static str],
    updates: &'static [&'static str],
    nack: Option<&'static str>,
    /// What the next stream would report.
    versions: &'static [(&'static str, &'static str)],
}

fn play(kind: ResourceType, steps: Vec<Step>) {
    let mut state = empty_state();
    for Step { what, resources, removed, updates, nack, versions: expected } in steps {
        let (found, found_nack) = feed(&mut state, kind, resources, removed);
        assert_eq!(found, updates, "{what}");
        assert_eq!(found_nack.as_deref(), nack, "{what}");
        assert_eq!(versions(&state, kind), pairs(expected), "{what}");
    }
}

#[test]
fn addresses_step_by_step() {
    const BAD: &str = "workload.addresses[0]: an IP address has 4 or 16 bytes, not 3";
    let bad_a: &'static str = Box::leak(format!("a: {BAD}").into_boxed_str());
    let bad_two: &'static str = Box::leak(format!("a: {BAD}; c: {BAD}").into_boxed_str());
    play(
        ResourceType::Address,
        vec![
            Step {
                what: "an empty first answer is acknowledged",
                resources: vec![],
                removed: &[],
                updates: &[],
                nack: None,
                versions: &[],
            },
            Step {
                what: "new resources",
                resources: vec![workload("a", "1", "one"), workload("b", "1", "one")],
                removed: &[],
                updates: &["workload a@one", "workload b@one"],
                nack: None,
                versions: &[("a", "1"), ("b", "1")],
            },
            Step {
                what: "the same bytes again change nothing, whatever the version",
                resources: vec![workload("a", "1", "one"), workload("b", "2", "one")],
                removed: &[],
                updates: &[],
                nack: None,
                versions: &[("a", "1"), ("b", "2")],
            },
            Step {
                what: "a bad one leaves the last good one, the good ones count, all bad ones are named",
                resources: vec![workload("a", "3", "bad"), workload("b", "3", "two"), workload("c", "3", "bad")],
                removed: &[],
                updates: &["workload b@two"],
                nack: Some(bad_two),
                versions: &[("a", "1"), ("b", "3")],
            },
            Step {
                what: "still bad when it is sent again",
                resources: vec![workload("a", "3", "bad")],
                removed: &[],
                updates: &[],
                nack: Some(bad_a),
                versions: &[("a", "1"), ("b", "3")],
            },
            Step {
                what: "a removal of what is unknown is nothing, of what is also sent neither",
                resources: vec![workload("a", "4", "two")],
                removed: &["a", "b", "z"],
                updates: &["workload a@two", "-address b"],
                nack: None,
                versions: &[("a", "4")],
            },
        ],
    );
}

#[test]
fn names_that_come_twice() {
    play(
        ResourceType::Address,
        vec![
            Step {
                what: "the same name twice with one content",
                resources: vec![workload("d", "5", "one"), workload("d", "5", "one")],
                removed: &[],
                updates: &["workload d@one"],
                nack: Some("d: the name comes twice"),
                versions: &[("d", "5")],
            },
            Step {
                what: "the same name twice with two contents",
                resources: vec![workload("d", "6", "two"), workload("d", "6", "three"), workload("e", "6", "one")],
                removed: &[],
                updates: &["workload e@one"],
                nack: Some("d: resource: the name comes with two different contents"),
                versions: &[("d", "5"), ("e", "6")],
            },
        ],
    );
}

#[test]
fn policies_step_by_step() {
    const BAD: &str = "n/a: groups[0].rules[0].matches[0].destination_ports: 99999 is no port";
    play(
        ResourceType::Authorization,
        vec![
            Step {
                what: "a new policy",
                resources: vec![policy("n/a", "1", 80)],
                removed: &[],
                updates: &["policy n/a"],
                nack: None,
                versions: &[("n/a", "1")],
            },
            Step {
                what: "a bad policy denies instead of the one before, and its version counts as never seen",
                resources: vec![policy("n/a", "2", 99_999), policy("n/b", "2", 80)],
                removed: &[],
                updates: &["denying n/a Namespace", "policy n/b"],
                nack: Some(BAD),
                versions: &[("n/a", ""), ("n/b", "2")],
            },
            Step {
                what: "sent again it is refused again, but nothing changes",
                resources: vec![policy("n/a", "2", 99_999)],
                removed: &[],
                updates: &[],
                nack: Some(BAD),
                versions: &[("n/a", ""), ("n/b", "2")],
            },
            Step {
                what: "a good one ends the denial",
                resources: vec![policy("n/a", "3", 80)],
                removed: &[],
                updates: &["policy n/a"],
                nack: None,
                versions: &[("n/a", "3"), ("n/b", "2")],
            },
            Step {
                what: "two contents under one name deny",
                resources: vec![policy("n/a", "4", 81), policy("n/a", "4", 82)],
                removed: &[],
                updates: &["denying n/a Namespace"],
                nack: Some("n/a: resource: the name comes with two different contents"),
                versions: &[("n/a", ""), ("n/b", "2")],
            },
            Step {
                what: "a denying policy can be removed",
                resources: vec![],
                removed: &["n/a"],
                updates: &["-policy n/a"],
                nack: None,
                versions: &[("n/b", "2")],
            },
            Step {
                what: "a policy of another type denies the namespace of its name, whatever its bytes seem to say",
                resources: vec![discovery::Resource {
                    name: "n/b".into(),
                    resource: Some(prost_types::Any { type_url: "type.googleapis.com/x".into(), value: vec![24, 2] }),
                    ..Default::default()
                }],
                removed: &[],
                updates: &["denying n/b Namespace"],
                nack: Some(
                    r#"n/b: resource: type "type.googleapis.com/x", expected "type.googleapis.com/istio.security.Authorization""#,
                ),
                versions: &[("n/b", "")],
            },
        ],
    );
}

#[test]
fn a_heartbeat_changes_nothing_and_a_missing_body_is_an_error() {
    let mut state = empty_state();
    feed(&mut state, ResourceType::Address, vec![workload("a", "1", "one")], &[]);
    let alive = discovery::Resource { ttl: Some(prost_types::Duration::default()), ..workload("a", "1", "") };
    let (updates, nack) =
        feed(&mut state, ResourceType::Address, vec![discovery::Resource { resource: None, ..alive }], &[]);
    assert_eq!((updates.len(), nack), (0, None));
    let empty = discovery::Resource { resource: None, ..workload("a", "1", "") };
    let (updates, nack) = feed(&mut state, ResourceType::Address, vec![empty], &[]);
    assert_eq!((updates.len(), nack.as_deref()), (0, Some("a: resource: not set")));
}

#[test]
fn a_stream_opens_with_the_versions_that_are_known() {
    let mut state = empty_state();
    feed(&mut state, ResourceType::Address, vec![workload("a", "1", "one")], &[]);
    feed(&mut state, ResourceType::Authorization, vec![policy("n/a", "2", 80), policy("n/b", "2", 99_999)], &[]);
    let requests = subscriptions(Node { id: "me".into(), ..Default::default() }, &state, WantedObjects::None);
    let urls: Vec<&str> = requests.iter().map(|request| request.type_url.as_str()).collect();
    assert_eq!(urls, [MESH_CONFIG_TYPE_URL, AUTHORIZATION_TYPE_URL, ADDRESS_TYPE_URL]);
    assert_eq!(requests[0].node.as_ref().map(|node| node.id.as_str()), Some("me"));
    assert!(requests[1..].iter().all(|request| request.node.is_none()), "only the first says who asks");
    assert!(requests.iter().all(|request| request.resource_names_subscribe == ["*"]));
    assert!(requests.iter().all(|request| request.response_nonce.is_empty()), "nonces are of one stream");
    let policies = &requests[1].initial_resource_versions;
    assert_eq!((policies["n/a"].as_str(), policies["n/b"].as_str()), ("2", ""));
    assert_eq!(requests[2].initial_resource_versions["a"], "1");

    let requests = subscriptions(Node::default(), &state, WantedObjects::All);
    let urls: Vec<&str> = requests.iter().map(|request| request.type_url.as_str()).collect();
    let at = |url| urls.iter().position(|found| *found == url).unwrap();
    assert_eq!(urls.len(), ResourceType::COUNT);
    assert!(at("security.istio.io/v1/AuthorizationPolicy") < at(ADDRESS_TYPE_URL), "policies come first");
    assert!(!urls.iter().any(|url| url.ends_with("Entry")), "istiod does not survive that");
}

#[test]
fn mesh_configuration_comes_with_or_without_an_envelope() {
    let config = MeshConfig { root_namespace: "root".into(), ..Default::default() };
    let bare = resource(ResourceType::MeshConfig, "", "", config.encode_to_vec());
    let envelope = mcp::Resource { body: bare.resource.clone(), ..Default::default() }.encode_to_vec();
    let enveloped = discovery::Resource {
        name: "istio-system/mesh".into(),
        resource: Some(prost_types::Any { type_url: ENVELOPE_TYPE_URL.into(), value: envelope }),
        ..Default::default()
    };
    for form in [bare, enveloped] {
        let mut state = empty_state();
        let (updates, nack) = feed(&mut state, ResourceType::MeshConfig, vec![form], &[]);
        assert_eq!((updates, nack), (vec!["settings root".to_owned()], None));
        let (updates, _) = feed(&mut state, ResourceType::MeshConfig, vec![], &["", "istio-system/mesh"]);
        assert!(updates.is_empty(), "a mesh is never without its configuration");
    }
}

#[test]
fn an_unreadable_policy_of_the_root_namespace_denies_the_mesh_once_that_is_known() {
    let mut state = empty_state();
    let broken = discovery::Resource { name: "root/a".into(), ..policy("n/a", "1", 80) };
    let unreadable = discovery::Resource {
        resource: broken.resource.map(|any| prost_types::Any { value: vec![0xff], ..any }),
        name: broken.name,
        ..Default::default()
    };
    let (updates, _) = feed(&mut state, ResourceType::Authorization, vec![unreadable], &[]);
    assert_eq!(updates, ["denying root/a Namespace"]);
    let config = MeshConfig { root_namespace: "root".into(), ..Default::default() };
    let config = resource(ResourceType::MeshConfig, "", "", config.encode_to_vec());
    let (updates, _) = feed(&mut state, ResourceType::MeshConfig, vec![config], &[]);
    assert_eq!(updates, ["settings root", "denying root/a Global"]);
}

#[test]
fn a_type_nobody_asked_for_is_refused() {
    let response = discovery::DeltaDiscoveryResponse { type_url: "x".into(), nonce: "n".into(), ..Default::default() };
    let (outcome, changes) = apply(&mut empty_state(), response);
    assert_eq!(outcome.reply.error_detail.expect("a NACK").message, "x: not subscribed to");
    assert!(changes.updates.is_empty() && !outcome.changed);
}

#[test]
fn a_nack_stays_within_bounds() {
    let reasons: Vec<String> = (0..10_000).map(|i| format!("workload-{i}: {}", "x".repeat(50))).collect();
    let message = nack_message(&reasons);
    assert!(message.len() < MAX_NACK_BYTES + 100);
    assert!(message.starts_with("workload-0: ") && message.ends_with(" more"), "{}", &message[message.len() - 40..]);
}

#[test]
fn names_of_any_length_make_short_reasons() {
    let long = "é".repeat(1_000_000);
    let body = pb::Address { r#type: None }.encode_to_vec();
    let (_, nack) =
        feed(&mut empty_state(), ResourceType::Address, vec![resource(ResourceType::Address, &long, "1", body)], &[]);
    let nack = nack.expect("it is rejected");
    assert!(nack.len() <= MAX_REASON_BYTES && nack.ends_with("…: type: not set"), "{} bytes", nack.len());
}

#[test]
fn a_response_that_holds_the_whole_removes_what_it_does_not_name() {
    let mut state = empty_state();
    feed(
        &mut state,
        ResourceType::Address,
        vec![workload("a", "1", "n"), workload("b", "1", "n"), workload("c", "1", "n")],
        &[],
    );
    feed(&mut state, ResourceType::Authorization, vec![policy("ns/p", "1", 80)], &[]);
    let mut response = discovery::DeltaDiscoveryResponse {
        type_url: ADDRESS_TYPE_URL.into(),
        // One that is as it was, one that changed and is bad, one that is new.
        resources: vec![workload("a", "1", "n"), workload("b", "2", "bad"), workload("d", "1", "n")],
        ..Default::default()
    };
    remove_what_is_not_named(&mut response, &state);
    let (outcome, changes) = apply(&mut state, response);
    assert_eq!(changes.updates.iter().map(summary).collect::<Vec<_>>(), ["workload d@n", "-address c"]);
    assert_eq!((outcome.repeats, outcome.rejected.len()), (1, 1));
    let known: Vec<&str> = state.of(ResourceType::Address).keys().map(|name| &**name).collect();
    assert_eq!(known, ["a", "b", "d"]);
    assert_eq!(state.of(ResourceType::Authorization).len(), 1, "other types are not concerned");
}
