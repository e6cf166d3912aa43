//! Policies as their authors wrote them: whose word counts, and which of them a pod lists that only its labels are known of.

use std::sync::Arc;

use crate::model::authorization::{
    AccessRequest, Action, Authorization, Denied, Destination, Group, HttpRequest, PolicyScope,
};
use crate::model::http::head::RequestHead;
use crate::model::mesh::{Mesh, MeshSettings, MeshUpdate};
use crate::model::peer_authentication::{Labels, MtlsMode, PeerAuthentication};
use crate::model::policy_object::{PeerObject, PolicyObject, PolicyTarget};
use crate::model::sample::{mesh, policy, workload};
use Action::{Allow, Deny};
use PolicyScope::{Namespace, WorkloadSelector};

fn labels(text: &str) -> Labels {
    let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.split(',').filter_map(pair).collect()
}

fn object(name: &str, selector: &str, form: Option<Authorization>) -> MeshUpdate {
    let target = match selector {
        "" => PolicyTarget::Namespace,
        selector => PolicyTarget::Selector(labels(selector)),
    };
    MeshUpdate::PolicyObject(Box::new(PolicyObject {
        key: format!("bookinfo/{name}").into(),
        namespace: "bookinfo".into(),
        target,
        own_form: form.map(Arc::new),
        notes: Vec::new(),
    }))
}

fn peer(key: &str, selector: &str, mode: MtlsMode) -> MeshUpdate {
    let spec = PeerAuthentication { selector: labels(selector), mode, ..PeerAuthentication::default() };
    MeshUpdate::PeerObject(Box::new(PeerObject { key: key.into(), age: "".into(), spec }))
}

fn outcome(mesh: &Mesh, pod: &str) -> Result<(), Denied> {
    let request = AccessRequest {
        source: None,
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    };
    let (workload, labels) = (workload("reviews", &["10.0.0.2"]), labels(pod));
    let destination = Destination { labels: &labels, ..Destination::of(&workload) };
    mesh.authorize(&destination, &request).outcome.map(|_| ())
}

#[test]
fn an_own_form_counts_in_place_of_what_the_control_plane_sent_as_long_as_there_is_one() {
    let sent = || MeshUpdate::from(policy("p", Namespace, Deny, vec![]));
    let form = || object("p", "", Some(policy("p", Namespace, Deny, vec![Group::default()])));
    let denied = || Err(Denied::ByPolicy("bookinfo/p".into()));
    for order in [vec![sent(), form()], vec![form(), sent()], vec![form()]] {
        let mut mesh = mesh(order.clone());
        assert_eq!(outcome(&mesh, ""), denied(), "{order:?}");
        mesh.apply(MeshUpdate::RemoveAuthorization("bookinfo/p".into()));
        assert_eq!(outcome(&mesh, ""), denied(), "the author still says so");
        assert!(mesh.is_enforced_as_written("bookinfo/p") && !mesh.is_enforced_as_written("bookinfo/q"));
        mesh.apply(object("p", "", None));
        assert_eq!(outcome(&mesh, ""), Ok(()), "it has been written anew, without HTTP");
        assert!(!mesh.is_enforced_as_written("bookinfo/p"));
    }
    let mut mesh = mesh([sent(), form()]);
    mesh.apply(MeshUpdate::RemovePolicyObject("bookinfo/p".into()));
    assert_eq!(outcome(&mesh, ""), Ok(()), "what was sent counts again");
    assert_eq!(mesh.authorizations().count(), 1);
}

#[test]
fn an_own_form_with_a_selector_finds_pods_by_their_labels() {
    let form = policy("p", WorkloadSelector, Deny, vec![Group::default()]);
    let mesh = mesh([object("p", "app=reviews", Some(form))]);
    assert_eq!(outcome(&mesh, "app=reviews,version=v1"), Err(Denied::ByPolicy("bookinfo/p".into())));
    assert_eq!(outcome(&mesh, "app=ratings"), Ok(()));
    assert_eq!(outcome(&mesh, ""), Ok(()), "labels that are not known select nothing");
}

#[test]
fn a_pod_that_is_not_known_yet_lists_what_selects_its_labels() {
    let known = mesh([
        policy("reviews", WorkloadSelector, Allow, vec![]).into(),
        object("reviews", "app=reviews", None),
        policy("ratings", WorkloadSelector, Allow, vec![]).into(),
        object("ratings", "app=ratings", None),
        policy("all", Namespace, Allow, vec![]).into(),
        peer("istio-system/default", "", MtlsMode::Strict),
        peer("bookinfo/open", "app=ratings", MtlsMode::Permissive),
    ]);
    let listed = |pod: &str| known.listing("bookinfo", &labels(pod));
    let strict = "istio-system/istio_converted_static_strict";
    assert_eq!(listed("app=reviews").keys, ["bookinfo/reviews".into(), strict.into()]);
    assert_eq!(listed("app=ratings").keys, ["bookinfo/ratings".into()], "an exception from STRICT");
    assert_eq!(listed("app=other").keys, [strict.into()]);
    assert_eq!(listed("app=other").unclear, None);
}

#[test]
fn of_policies_that_do_not_say_whom_they_select_a_deny_counts_and_an_allow_closes() {
    let unknown = mesh([policy("deny", WorkloadSelector, Deny, vec![]).into()]);
    let listing = unknown.listing("bookinfo", &labels("app=reviews"));
    assert_eq!((listing.keys, listing.unclear), (vec!["bookinfo/deny".into()], None));
    let unknown = mesh([policy("allow", WorkloadSelector, Allow, vec![]).into()]);
    assert_eq!(unknown.listing("bookinfo", &labels("app=reviews")).unclear, Some("bookinfo/allow".into()));
    assert_eq!(unknown.listing("elsewhere", &labels("app=reviews")).unclear, None, "it is of another namespace");
}

/// What pods of these namespaces and labels list.
fn listings(mesh: &Mesh) -> Vec<Vec<Arc<str>>> {
    let pods =
        ["istio-system", "a", "b"].into_iter().flat_map(|namespace| ["", "app=x", "app=y"].map(|pod| (namespace, pod)));
    pods.map(|(namespace, pod)| mesh.listing(namespace, &labels(pod)).keys).collect()
}

#[test]
fn peer_authentications_that_came_and_went_leave_what_those_alone_make_that_are_there() {
    use std::collections::BTreeMap;
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let (mut changed, mut there) = (Mesh::default(), BTreeMap::new());
    for step in 0..2000 {
        let key = format!("{}/{}", ["istio-system", "a", "b"][random(3)], ["p", "q", "r"][random(3)]);
        let update = if random(3) == 0 {
            there.remove(&key);
            MeshUpdate::RemovePeerObject(key.as_str().into())
        } else {
            let mode = [MtlsMode::Unset, MtlsMode::Permissive, MtlsMode::Strict][random(3)];
            let ports = [(80, MtlsMode::Strict)].into_iter().filter(|_| random(2) == 0).collect();
            let selector = labels(["", "app=x", "app=y"][random(3)]);
            let spec = PeerAuthentication { selector, mode, ports };
            let age = ["1", "2"][random(2)].into();
            let object = MeshUpdate::PeerObject(Box::new(PeerObject { key: key.as_str().into(), age, spec }));
            there.insert(key, object.clone());
            object
        };
        changed.apply(update);
        let fresh = mesh(there.values().cloned());
        assert_eq!(listings(&changed), listings(&fresh), "after {step} changes: {there:#?}");
    }
}

#[test]
fn ten_thousand_peer_authentications_of_one_namespace_come_one_by_one() {
    let of = |number: usize| peer(&format!("bookinfo/{number:05}"), &format!("app=app-{number}"), MtlsMode::Strict);
    let mut known = mesh((0..10_000).map(of));
    let strict = ["istio-system/istio_converted_static_strict".into()];
    assert_eq!(known.listing("bookinfo", &labels("app=app-9999")).keys, strict);
    for number in 0..10_000 {
        known.apply(MeshUpdate::RemovePeerObject(format!("bookinfo/{number:05}").into()));
    }
    assert_eq!(known.listing("bookinfo", &labels("app=app-9999")).keys, []);
}

#[test]
fn policies_of_a_pod_count_until_any_policy_changes() {
    let (pod, head) = (workload("reviews", &["10.0.0.2"]), RequestHead::default());
    let destination = Destination::of(&pod);
    let access = AccessRequest {
        source: None,
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    };
    let deny = || policy("deny", Namespace, Deny, vec![Group::default()]);
    let settings = || MeshSettings { root_namespace: "bookinfo".into(), ..MeshSettings::default() };
    // What there is when they are found, what changes then, whether they still count, and whether a request is allowed.
    let rows: Vec<(Vec<MeshUpdate>, MeshUpdate, bool, bool)> = vec![
        (vec![], workload("ratings", &["10.0.0.3"]).into(), true, true),
        (vec![], deny().into(), false, false),
        (vec![], object("deny", "", Some(deny())), false, false),
        (vec![deny().into()], MeshUpdate::RemoveAuthorization("bookinfo/deny".into()), false, true),
        (vec![object("deny", "", Some(deny()))], MeshUpdate::RemovePolicyObject("bookinfo/deny".into()), false, true),
        (vec![deny().into()], MeshUpdate::Settings(settings()), false, false),
    ];
    for (row, (before, change, count, is_allowed)) in rows.into_iter().enumerate() {
        let mut mesh = mesh(before);
        let found = mesh.pod_policies(&destination);
        assert!(mesh.has_policies(&found), "row {row}");
        mesh.apply(change);
        let verdict = mesh.authorize_request_under(&found, &destination, &access, &HttpRequest::of(&head));
        assert_eq!((mesh.has_policies(&found), verdict.outcome.is_ok()), (count, is_allowed), "row {row}");
    }
}
