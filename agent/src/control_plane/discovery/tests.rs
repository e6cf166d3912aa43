//! What an agent is sent, request by request and snapshot by snapshot.

use std::sync::Arc;

use super::stream::{DiscoveryStream, RequestKind};
use crate::control_plane::snapshot::Snapshot;
use crate::control_plane::translate::Resources;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::proto::google::rpc::Status;
use crate::proto::istio::security::Authorization;
use crate::proto::istio::workload::{Address, Workload, address};
use crate::resources::ResourceType;

/// Snapshots that follow each other, from lists of `uid@network` and of `namespace/name=action`.
struct Source(Arc<Snapshot>);

impl Source {
    fn new(addresses: &[&str], policies: &[&str]) -> Self {
        let mut source = Self(Arc::default());
        source.publish(addresses, policies);
        source
    }

    fn publish(&mut self, addresses: &[&str], policies: &[&str]) {
        let address = |text: &&str| {
            let (uid, network) = text.split_once('@').unwrap();
            let workload = Workload { uid: uid.into(), network: network.into(), ..Default::default() };
            (uid.to_owned(), Address { r#type: Some(address::Type::Workload(workload)) })
        };
        let policy = |text: &&str| {
            let (name, action) = text.split_once('=').unwrap();
            (name.to_owned(), Authorization { action: action.parse().unwrap(), ..Default::default() })
        };
        let translated = Resources {
            addresses: addresses.iter().map(address).collect(),
            authorizations: policies.iter().map(policy).collect(),
            ..Default::default()
        };
        self.0 = Arc::new(Snapshot::following(&self.0, &translated).expect("every snapshot of these tests differs"));
    }

    fn version(&self, kind: ResourceType, name: &str) -> String {
        self.0.resources.of(kind)[name].version.to_string()
    }
}

fn subscribe(kind: ResourceType, names: &[&str], held: &[(&str, &str)]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        initial_resource_versions: held.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect(),
        ..Default::default()
    }
}

fn acknowledge(stream: &mut DiscoveryStream, response: &DeltaDiscoveryResponse) {
    let request = DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    };
    assert_eq!(stream.receive(&request), RequestKind::Ack);
}

/// Responses as `type: +name … -name …`.
fn summary(responses: &[DeltaDiscoveryResponse]) -> Vec<String> {
    let line = |response: &DeltaDiscoveryResponse| {
        let kind = ResourceType::from_type_url(&response.type_url).unwrap();
        let sent = response.resources.iter().map(|resource| format!(" +{}", resource.name));
        let removed = response.removed_resources.iter().map(|name| format!(" -{name}"));
        format!("{kind}:{}", sent.chain(removed).collect::<String>())
    };
    responses.iter().map(line).collect()
}

/// Sends all there is, acknowledges it, and says what it was.
fn settle(stream: &mut DiscoveryStream, source: &Source) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let responses = stream.responses(&source.0);
        if responses.is_empty() {
            return lines;
        }
        lines.extend(summary(&responses));
        responses.iter().for_each(|response| acknowledge(stream, response));
    }
}

#[test]
fn only_what_differs_is_sent() {
    let mut source = Source::new(&["a@1", "b@1"], &[]);
    let mut stream = DiscoveryStream::default();
    assert_eq!(stream.receive(&subscribe(ResourceType::Address, &["*"], &[])), RequestKind::Subscription);
    assert_eq!(settle(&mut stream, &source), ["address: +a +b"]);
    source.publish(&["a@1", "b@2", "c@1"], &[]);
    assert_eq!(settle(&mut stream, &source), ["address: +b +c"]);
    source.publish(&["b@2", "c@1"], &[]);
    assert_eq!(settle(&mut stream, &source), ["address: -a"]);
    source.publish(&["b@2", "c@1"], &["n/p=0"]);
    assert!(settle(&mut stream, &source).is_empty(), "another type changed");
    // Two snapshots at once, as for an agent that was busy.
    source.publish(&["b@3", "c@1", "d@1"], &[]);
    source.publish(&["b@3", "e@1"], &[]);
    assert_eq!(settle(&mut stream, &source), ["address: +b +e -c"]);
}

#[test]
fn an_agent_that_returns_gets_what_it_missed() {
    let source = Source::new(&["a@1", "b@1"], &[]);
    let current = source.version(ResourceType::Address, "a");
    for (held, expected) in [
        (vec![], "address: +a +b"),
        (vec![("a", current.as_str())], "address: +b"),
        (vec![("a", "old"), ("gone", "1")], "address: +a +b -gone"),
        (vec![("a", current.as_str()), ("b", "")], "address: +b"),
    ] {
        // An empty subscription means everything, as `*` does.
        for names in [&["*"][..], &[]] {
            let mut stream = DiscoveryStream::default();
            stream.receive(&subscribe(ResourceType::Address, names, &held));
            assert_eq!(settle(&mut stream, &source), [expected], "{held:?} {names:?}");
        }
    }
    let mut stream = DiscoveryStream::default();
    let all = [("a", current.as_str()), ("b", &source.version(ResourceType::Address, "b"))];
    stream.receive(&subscribe(ResourceType::Address, &["*"], &all));
    assert_eq!(settle(&mut stream, &source), ["address:"], "an empty answer says that nothing is missing");
}

#[test]
fn names_can_be_asked_for_one_by_one() {
    let mut source = Source::new(&["a@1", "b@1"], &[]);
    let mut stream = DiscoveryStream::default();
    stream.receive(&subscribe(ResourceType::Address, &["a", "x"], &[]));
    assert_eq!(settle(&mut stream, &source), ["address: +a -x"], "what does not exist is said to be gone");
    source.publish(&["a@1", "b@2", "x@1"], &[]);
    assert_eq!(settle(&mut stream, &source), ["address: +x"]);
    stream.receive(&subscribe(ResourceType::Address, &["a"], &[]));
    assert_eq!(settle(&mut stream, &source), ["address: +a"], "asked for again, sent again");
    let leave = DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["a".into()],
        ..subscribe(ResourceType::Address, &["b"], &[])
    };
    stream.receive(&leave);
    assert_eq!(settle(&mut stream, &source), ["address: +b"]);
    source.publish(&["a@2", "b@2", "x@1"], &[]);
    assert!(settle(&mut stream, &source).is_empty(), "nobody listens to a");
    stream.receive(&subscribe(ResourceType::Address, &["*"], &[]));
    assert_eq!(settle(&mut stream, &source), ["address: +a"]);
}

#[test]
fn a_slow_agent_gets_the_newest_state_once() {
    let mut source = Source::new(&["a@1"], &[]);
    let mut stream = DiscoveryStream::default();
    stream.receive(&subscribe(ResourceType::Address, &["*"], &[]));
    let first = stream.responses(&source.0);
    source.publish(&["a@2"], &[]);
    assert!(stream.responses(&source.0).is_empty(), "the first is not answered");
    source.publish(&["a@3", "b@1"], &[]);
    acknowledge(&mut stream, &first[0]);
    assert_eq!(settle(&mut stream, &source), ["address: +a +b"]);
}

#[test]
fn policies_come_before_and_go_after_the_workloads_that_list_them() {
    let mut source = Source::new(&["a@1"], &["n/old=0"]);
    let mut stream = DiscoveryStream::default();
    for kind in ResourceType::MESH {
        stream.receive(&subscribe(kind, &["*"], &[]));
    }
    assert_eq!(settle(&mut stream, &source), ["mesh_config: +", "authorization: +n/old", "address: +a"]);
    source.publish(&["a@2"], &["n/new=0"]);
    assert_eq!(settle(&mut stream, &source), ["authorization: +n/new", "address: +a", "authorization: -n/old"]);
    source.publish(&["a@2"], &["n/newer=0"]);
    assert_eq!(settle(&mut stream, &source), ["authorization: +n/newer -n/new"], "no workload is concerned");
    source.publish(&["a@2"], &["n/newer=1"]);
    let unanswered = stream.responses(&source.0);
    source.publish(&["a@3"], &["n/newer=0"]);
    assert!(stream.responses(&source.0).is_empty(), "the workload waits for the policy");
    acknowledge(&mut stream, &unanswered[0]);
    assert_eq!(settle(&mut stream, &source), ["authorization: +n/newer", "address: +a"]);
}

#[test]
fn a_refusal_is_noted_and_not_answered_with_the_same_again() {
    let mut source = Source::new(&["a@1"], &[]);
    let mut stream = DiscoveryStream::default();
    stream.receive(&subscribe(ResourceType::Address, &["*"], &[]));
    let response = stream.responses(&source.0).remove(0);
    let refusal = DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        error_detail: Some(Status { message: "a: no good".into(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(stream.receive(&refusal), RequestKind::Nack(ResourceType::Address, "a: no good".into()));
    assert!(settle(&mut stream, &source).is_empty());
    assert_eq!(stream.receive(&refusal), RequestKind::StaleNonce);
    source.publish(&["a@2"], &[]);
    assert_eq!(settle(&mut stream, &source), ["address: +a"]);
    let unknown = DeltaDiscoveryRequest { type_url: "x".into(), ..Default::default() };
    assert_eq!(stream.receive(&unknown), RequestKind::UnknownType("x".into()));
}
