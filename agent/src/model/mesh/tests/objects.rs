//! Policies as their authors wrote them: whose word counts, and which of them a pod lists that only its labels are known of.

use crate::model::authorization::{Action, Authorization, Denied, Destination, Group, PolicyScope};
use crate::model::mesh::{Mesh, MeshUpdate};
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
        fail_closed: form.map(Box::new),
        notes: Vec::new(),
    }))
}

fn peer(key: &str, selector: &str, mode: MtlsMode) -> MeshUpdate {
    let spec = PeerAuthentication { selector: labels(selector), mode, ..PeerAuthentication::default() };
    MeshUpdate::PeerObject(Box::new(PeerObject { key: key.into(), age: "".into(), spec }))
}

fn outcome(mesh: &Mesh, pod: &str) -> Result<(), Denied> {
    let request = crate::model::authorization::AccessRequest {
        source: None,
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    };
    let (workload, labels) = (workload("reviews", &["10.0.0.2"]), labels(pod));
    let destination = Destination { labels: &labels, ..Destination::of(&workload) };
    mesh.authorize(&destination, &request).outcome.map(|_| ())
}

#[test]
fn a_fail_closed_form_counts_in_place_of_what_the_control_plane_sent_as_long_as_there_is_one() {
    let sent = || MeshUpdate::from(policy("p", Namespace, Deny, vec![]));
    let form = || object("p", "", Some(policy("p", Namespace, Deny, vec![Group::default()])));
    let denied = || Err(Denied::ByPolicy("bookinfo/p".into()));
    for order in [vec![sent(), form()], vec![form(), sent()], vec![form()]] {
        let mut mesh = mesh(order.clone());
        assert_eq!(outcome(&mesh, ""), denied(), "{order:?}");
        mesh.apply(MeshUpdate::RemoveAuthorization("bookinfo/p".into()));
        assert_eq!(outcome(&mesh, ""), denied(), "the author still says so");
        mesh.apply(object("p", "", None));
        assert_eq!(outcome(&mesh, ""), Ok(()), "it has been written anew, without HTTP");
    }
    let mut mesh = mesh([sent(), form()]);
    mesh.apply(MeshUpdate::RemovePolicyObject("bookinfo/p".into()));
    assert_eq!(outcome(&mesh, ""), Ok(()), "what was sent counts again");
    assert_eq!(mesh.authorizations().count(), 1);
}

#[test]
fn a_fail_closed_form_with_a_selector_finds_pods_by_their_labels() {
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
