//! Objects over ADS read as the same objects do in files: the same structs, the same findings.

use prost::Message;

use super::{load_text, object};
use crate::objects::Loaded;
use crate::objects::protobuf::{Checked, authorization_policy, peer_authentication};
use crate::objects::store::Body;
use crate::proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::security::v1beta1 as pb;
use crate::proto::istio::r#type::v1beta1 as selector_pb;

const FILES: &str = include_str!("../../../testdata/istiod-1.31/objects.yaml");
const POLICIES: &[u8] =
    include_bytes!("../../../testdata/istiod-1.31/node/security.istio.io_v1_AuthorizationPolicy.pb");
const PEERS: &[u8] = include_bytes!("../../../testdata/istiod-1.31/node/security.istio.io_v1_PeerAuthentication.pb");

/// The objects that a real istiod 1.31 made of [`FILES`].
fn recorded<T: Message + Default>(response: &[u8]) -> Vec<(mcp::Metadata, T)> {
    let response = DeltaDiscoveryResponse::decode(response).expect("a recorded response");
    let object = |resource: crate::proto::envoy::service::discovery::v3::Resource| {
        let body = resource.resource.expect("a resource has a body");
        let envelope = mcp::Resource::decode(body.value.as_slice()).expect("an envelope");
        let spec = T::decode(envelope.body.expect("an object").value.as_slice()).expect("an object of this kind");
        (envelope.metadata.expect("metadata"), spec)
    };
    response.resources.into_iter().map(object).collect()
}

#[test]
fn what_a_real_istiod_passes_on_is_what_its_author_wrote() {
    let files = load_text(FILES).objects;
    let policies = recorded::<pb::AuthorizationPolicy>(POLICIES);
    assert_eq!(policies.len(), files.authorization_policies().count());
    for (envelope, spec) in policies {
        let (metadata, Checked::Valid(policy), _) =
            authorization_policy(&envelope, &spec).expect("all values are known")
        else {
            panic!("{} is rejected", envelope.name)
        };
        let mut same = files.authorization_policies().filter(|file| file.metadata.name == metadata.name);
        assert_eq!(same.next().map(|file| &file.spec.policy), Some(&policy), "{}", envelope.name);
    }
    let peers = recorded::<pb::PeerAuthentication>(PEERS);
    assert_eq!(peers.len(), files.peer_authentications().count());
    for (envelope, spec) in peers {
        let name = |file: &crate::objects::Metadata| format!("{}/{}", file.namespace, file.name);
        let mut same = files.peer_authentications().filter(|file| name(file.metadata) == envelope.name);
        let (read, notices) = peer_authentication(&envelope, &spec).expect("all values are known");
        assert_eq!(same.next().map(|file| Checked::Valid(file.spec.clone())), Some(read), "{}", envelope.name);
        assert_eq!(notices, [] as [String; 0], "{}", envelope.name);
    }
}

fn envelope() -> mcp::Metadata {
    mcp::Metadata { name: "n/o".into(), ..Default::default() }
}

/// The first error in a file's one policy, and the labels that it still is about.
fn rejected(loaded: &Loaded) -> (String, Vec<String>) {
    let Some((_, Body::Rejected(policy))) = loaded.objects.iter().map(|(key, stored)| (key, &stored.body)).next()
    else {
        panic!("{:?} is not rejected", loaded.objects)
    };
    (policy.reason.clone(), policy.selector.keys().cloned().collect())
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn selector(labels: &[(&str, &str)]) -> Option<selector_pb::WorkloadSelector> {
    let match_labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Some(selector_pb::WorkloadSelector { match_labels })
}

fn from(source: pb::Source) -> pb::AuthorizationPolicy {
    let rule = pb::Rule { from: vec![pb::rule::From { source: Some(source) }], ..Default::default() };
    pb::AuthorizationPolicy { rules: vec![rule], ..Default::default() }
}

fn when(key: &str, values: &[&str]) -> pb::AuthorizationPolicy {
    let condition = pb::Condition { key: key.into(), values: texts(values), not_values: Vec::new() };
    let rule = pb::Rule { when: vec![condition], ..Default::default() };
    pb::AuthorizationPolicy { selector: selector(&[("app", "a")]), rules: vec![rule], ..Default::default() }
}

#[test]
fn a_policy_is_rejected_for_the_same_reason_however_it_comes() {
    let none = pb::Source::default;
    let rows: Vec<(&str, pb::AuthorizationPolicy)> = vec![
        (
            "rules: [{from: [{source: {ipBlocks: [1.1.1.1, x]}}]}]",
            from(pb::Source { ip_blocks: texts(&["1.1.1.1", "x"]), ..none() }),
        ),
        (
            "rules: [{from: [{source: {notTrustDomains: ['*b']}}]}]",
            from(pb::Source { not_trust_domains: texts(&["*b"]), ..none() }),
        ),
        (
            "rules: [{from: [{source: {serviceAccounts: [a], principals: ['*/sa/b']}}]}]",
            from(pb::Source { service_accounts: texts(&["a"]), principals: texts(&["*/sa/b"]), ..none() }),
        ),
        (
            "rules: [{from: [{source: {remoteIpBlocks: ['']}}]}]",
            from(pb::Source { remote_ip_blocks: texts(&[""]), ..none() }),
        ),
        ("rules: [{from: [{source: {}}]}]", from(none())),
        (
            "selector: {matchLabels: {app: a}}, rules: [{when: [{key: source.port, values: ['1']}]}]",
            when("source.port", &["1"]),
        ),
        ("selector: {matchLabels: {app: a}}, rules: [{when: [{key: source.ip}]}]", when("source.ip", &[])),
        (
            "selector: {matchLabels: {app: a}}, rules: [{when: [{key: destination.port, values: [http]}]}]",
            when("destination.port", &["http"]),
        ),
        (
            "selector: {matchLabels: {'*': b}}, rules: [{}]",
            pb::AuthorizationPolicy {
                selector: selector(&[("*", "b")]),
                rules: vec![pb::Rule::default()],
                ..Default::default()
            },
        ),
        ("action: DENY", pb::AuthorizationPolicy { action: 1, ..Default::default() }),
        (
            "action: CUSTOM, rules: [{}]",
            pb::AuthorizationPolicy { action: 3, rules: vec![pb::Rule::default()], ..Default::default() },
        ),
    ];
    for (yaml, message) in rows {
        let expected = rejected(&load_text(&object("AuthorizationPolicy", "", yaml)));
        let Ok((_, Checked::Rejected(policy), _)) = authorization_policy(&envelope(), &message) else {
            panic!("{yaml} is accepted")
        };
        assert_eq!((policy.reason, policy.selector.into_keys().collect()), expected, "{yaml}");
    }
}

#[test]
fn a_peer_authentication_is_rejected_for_the_same_reason_however_it_comes() {
    let strict = || pb::peer_authentication::MutualTls { mode: 3 };
    let rows = [
        (
            "portLevelMtls: {80: {mode: STRICT}}",
            pb::PeerAuthentication { port_level_mtls: [(80, strict())].into(), ..Default::default() },
        ),
        (
            "selector: {matchLabels: {app: a}}, portLevelMtls: {65536: {mode: STRICT}}",
            pb::PeerAuthentication {
                selector: selector(&[("app", "a")]),
                port_level_mtls: [(65536, strict())].into(),
                ..Default::default()
            },
        ),
        (
            "selector: {matchLabels: {app: '*'}}",
            pb::PeerAuthentication { selector: selector(&[("app", "*")]), ..Default::default() },
        ),
    ];
    for (yaml, message) in rows {
        let expected = rejected(&load_text(&object("PeerAuthentication", "", yaml)));
        let Ok((Checked::Rejected(policy), _)) = peer_authentication(&envelope(), &message) else {
            panic!("{yaml} is accepted")
        };
        assert_eq!((policy.reason, policy.selector.into_keys().collect()), expected, "{yaml}");
    }
}

#[test]
fn a_value_that_this_version_does_not_know_is_no_policy_at_all() {
    let policy = pb::AuthorizationPolicy { action: 9, ..from(pb::Source::default()) };
    let unknown = authorization_policy(&envelope(), &policy).expect_err("no such action");
    assert_eq!(unknown.to_string(), "spec.action: value 9 is not known");
    let mtls = Some(pb::peer_authentication::MutualTls { mode: 7 });
    let unknown = peer_authentication(&envelope(), &pb::PeerAuthentication { mtls, ..Default::default() });
    assert_eq!(unknown.expect_err("no such mode").to_string(), "spec.mtls.mode: value 7 is not known");
}

#[test]
fn the_name_and_the_annotations_of_the_envelope_are_checked_too() {
    let policy = || pb::AuthorizationPolicy { rules: vec![pb::Rule::default()], ..Default::default() };
    let dry_run = |value: &str| mcp::Metadata {
        annotations: [("istio.io/dry-run".to_owned(), value.to_owned())].into(),
        ..envelope()
    };
    let Ok((_, Checked::Valid(read), _)) = authorization_policy(&dry_run("true"), &policy()) else {
        panic!("it is valid")
    };
    assert!(read.dry_run);
    for envelope in [dry_run("yes"), mcp::Metadata { name: "n/O".into(), ..envelope() }] {
        let read = authorization_policy(&envelope, &policy()).expect("all values are known").1;
        assert!(matches!(read, Checked::Rejected(_)), "{envelope:?}");
    }
}
