//! The objects about requests (VirtualService, HTTPRoute and their kin), by a watch of each kind: for clusters whose control
//! plane does not pass them on. A kind that the cluster does not define is looked for again now and then; one that it has in an older
//! version of its group alone is read in that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::object_status::{MeshView, ObjectStatuses, Seen};
use super::parent_entries::{self, ParentEntries};
use super::status::WatchStatus;
use super::watch::{Change, Following, Selection};
use crate::objects::{Kind, protobuf};
use crate::resources::{ObjectBody, ObjectKind, ObjectUpdate};
use crate::telemetry::metrics::Metrics;

/// The API server does not know the kind.
const NOT_FOUND: u16 = 404;
/// How long until a kind that the cluster does not define is looked for again: the first time soon, since an API server that is
/// starting may not know its kinds yet.
const FIRST_LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What takes the changes.
pub type ObjectSink = Arc<dyn Fn(ObjectUpdate) + Send + Sync>;

/// How it is with one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindState {
    /// The API server has not answered yet.
    Unknown,
    /// Every object is known, or was when the API server was last reached.
    Listed,
    /// The cluster does not define it.
    Absent,
}

/// How it is with each kind. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpObjects {
    kinds: Arc<BTreeMap<ObjectKind, Followed>>,
    /// ServiceEntries, to which routes may be attached.
    parents: Arc<(ParentEntries, Followed)>,
    /// Of RateLimits, which nobody but the agents judges.
    statuses: Arc<ObjectStatuses>,
    answered: tokio::sync::watch::Sender<()>,
}

#[derive(Debug)]
struct Followed {
    state: Mutex<KindState>,
    status: WatchStatus,
}

impl HttpObjects {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        let followed = || Followed { state: Mutex::new(KindState::Unknown), status: WatchStatus::new(metrics.clone()) };
        let kinds = ObjectKind::HTTP.map(|kind| (kind, followed()));
        let parents = Arc::new((ParentEntries::default(), followed()));
        let statuses = Arc::new(ObjectStatuses::new(metrics.clone()));
        Self { kinds: Arc::new(kinds.into()), parents, statuses, answered: tokio::sync::watch::Sender::new(()) }
    }

    /// Follows all kinds, and gives every change to the sink; says in the status of RateLimits what is thought of them, by what the mesh
    /// has. Runs until it is dropped.
    pub async fn follow(self, client: Client, sink: ObjectSink, mesh: MeshView) {
        let all = self.kinds.iter().map(|(kind, followed)| self.follow_kind(*kind, followed, client.clone(), &sink));
        let [rate_limits, _] = api_resources(ObjectKind::RateLimit);
        tokio::join!(
            futures_util::future::join_all(all),
            self.follow_parents(client.clone(), &sink),
            self.statuses.write_for_ever(client.clone(), &rate_limits, mesh),
        );
    }

    /// Resolves once the API server has answered for every kind.
    pub async fn first_answers(&self) {
        let mut answered = self.answered.subscribe();
        while self.kinds.values().any(|followed| *followed.state.lock() == KindState::Unknown) {
            if answered.changed().await.is_err() {
                return;
            }
        }
    }

    /// Why kinds are not followed now, for those that the cluster defines.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let all = self.kinds.values().chain([&self.parents.1]);
        let all = all.filter(|followed| *followed.state.lock() != KindState::Absent);
        let states = all.map(|followed| followed.status.state());
        states.filter(|state| state.connected_since.is_none()).filter_map(|state| state.last_error).collect()
    }

    async fn follow_kind(&self, kind: ObjectKind, followed: &Followed, client: Client, sink: &ObjectSink) {
        let statuses = (kind == ObjectKind::RateLimit).then_some(&*self.statuses);
        let mut listing = Listing { kind, listed: None, parents: &self.parents.0, statuses };
        let mut apply = |change| {
            let is_listed = matches!(change, Change::Listed);
            if let Some(update) = listing.take(change) {
                sink(update);
            }
            if is_listed {
                self.set(followed, KindState::Listed);
            }
        };
        let is_absent = || self.is_absent(kind, followed, sink);
        follow_any(&api_resources(kind), &client, &followed.status, &mut apply, is_absent).await;
    }

    /// Follows ServiceEntries. Routes that are attached to one change with it.
    async fn follow_parents(&self, client: Client, sink: &ObjectSink) {
        let (parents, followed) = &*self.parents;
        let mut apply = |change| {
            *followed.state.lock() = KindState::Listed;
            for (kind, route) in parents.apply(change) {
                let put = vec![body_of(kind, route)];
                sink(ObjectUpdate { kind, put, removed: Vec::new(), is_whole: false });
            }
        };
        let is_absent = || {
            *followed.state.lock() = KindState::Absent;
            LOOK_AGAIN
        };
        follow_any(&parent_entries::api_resources(), &client, &followed.status, &mut apply, is_absent).await;
    }

    /// The API server says that it does not know the kind: believed when it says so twice in a row. Objects of a kind that
    /// is not defined do not exist. Returns when to look again.
    fn is_absent(&self, kind: ObjectKind, followed: &Followed, sink: &ObjectSink) -> Duration {
        if *followed.state.lock() == KindState::Absent {
            sink(ObjectUpdate { kind, put: Vec::new(), removed: Vec::new(), is_whole: true });
            return LOOK_AGAIN;
        }
        tracing::info!(kind = kind.label(), "the cluster does not define this kind of object; it is looked for again");
        self.set(followed, KindState::Absent);
        FIRST_LOOK_AGAIN
    }

    fn set(&self, followed: &Followed, state: KindState) {
        *followed.state.lock() = state;
        self.answered.send_replace(());
    }
}

/// Follows the objects of a kind in whichever version the cluster defines it, for ever. Each time that it defines none, `is_absent` says
/// when to look again.
async fn follow_any(
    versions: &[ApiResource],
    client: &Client,
    status: &WatchStatus,
    apply: &mut impl FnMut(Change<DynamicObject>),
    mut is_absent: impl FnMut() -> Duration,
) {
    let follow = |resource: &ApiResource| {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
        Following::new(api, resource.plural.clone(), Selection::default())
    };
    let (mut version, mut following) = (0, follow(&versions[0]));
    loop {
        let Err((error, mut pause)) = following.advance(status, apply).await else { continue };
        if error.code() == Some(NOT_FOUND) {
            version = (version + 1) % versions.len();
            following = follow(&versions[version]);
            if version > 0 {
                // The older version is asked for at once.
                continue;
            }
            pause = is_absent();
        } else {
            following.report(&error, status);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Where the API may have a kind: in the version that control planes send, or in the one before it, which has the same fields and
/// is all that older definitions serve.
fn api_resources(kind: ObjectKind) -> [ApiResource; 2] {
    let mut parts = kind.type_url().splitn(3, '/');
    let mut part = || parts.next().expect("it is group, version and kind");
    let (group, version, name) = (part(), part(), part());
    let before = match kind {
        ObjectKind::Telemetry | ObjectKind::RateLimit => "v1alpha1",
        ObjectKind::GrpcRoute => "v1alpha2",
        _ => "v1beta1",
    };
    [version, before].map(|version| ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, name)))
}

/// Makes updates of changes: a list is one update, however many pages it has. A change of a status that agents write is none.
#[derive(Debug)]
struct Listing<'a> {
    kind: ObjectKind,
    parents: &'a ParentEntries,
    /// Where the status of objects of this kind is written.
    statuses: Option<&'a ObjectStatuses>,
    /// The objects of the list that is under way.
    listed: Option<Vec<ObjectBody>>,
}

impl Listing<'_> {
    fn take(&mut self, change: Change<DynamicObject>) -> Option<ObjectUpdate> {
        let kind = self.kind;
        let update = |put, removed, is_whole| Some(ObjectUpdate { kind, put, removed, is_whole });
        match change {
            Change::Listing => {
                self.listed = Some(Vec::new());
                self.parents.forget_all(kind);
                self.is_new(|| Change::Listing);
                None
            }
            Change::Put(mut object) => {
                if is_route(kind) {
                    self.parents.annotate(kind, &mut object);
                }
                let seen = self.statuses.map(|_| Seen::from(&object));
                let body = body_of(kind, object);
                let is_new = seen.is_none_or(|seen| {
                    let invalid = body.body.as_ref().err().cloned();
                    self.is_new(|| Change::Put((body.name.clone(), seen.judged(invalid))))
                });
                match &mut self.listed {
                    Some(listed) => {
                        listed.push(body);
                        None
                    }
                    None if is_new => update(vec![body], Vec::new(), false),
                    None => None,
                }
            }
            Change::Removed(object) => {
                self.parents.forget(kind, &object);
                self.is_new(|| Change::Removed((name_of(&object).into(), Seen::from(&object))));
                update(Vec::new(), vec![name_of(&object)], false)
            }
            Change::Listed => {
                self.is_new(|| Change::Listed);
                update(self.listed.take().unwrap_or_default(), Vec::new(), true)
            }
        }
    }

    /// Tells of a change where statuses are written. False where nothing but the status can be different.
    fn is_new(&self, change: impl FnOnce() -> Change<(Arc<str>, Seen)>) -> bool {
        self.statuses.is_none_or(|statuses| statuses.take(change()))
    }
}

/// Whether objects of a kind have parents that they are attached to.
fn is_route(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::HttpRoute | ObjectKind::GrpcRoute)
}

fn name_of(object: &DynamicObject) -> String {
    let metadata = &object.metadata;
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// An object as an agent is sent it by a control plane.
fn body_of(kind: ObjectKind, mut object: DynamicObject) -> ObjectBody {
    let version = object.metadata.resource_version.clone().unwrap_or_default();
    // Who wrote which field is long and says nothing.
    object.metadata.managed_fields = None;
    let spec = object.data.get_mut("spec").map(Json::take).unwrap_or_default();
    let whole = json!({"metadata": object.metadata, "spec": spec});
    let kind = Kind::of_http(kind).expect("only kinds about requests are followed");
    let body = protobuf::http_envelope_of_json(kind, &whole);
    let body = body.map(Into::into).map_err(|invalid| invalid.to_string().into());
    ObjectBody { name: name_of(&object).into(), version, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, spec: Json) -> DynamicObject {
        let metadata = json!({
            "name": name, "namespace": "shop", "resourceVersion": "7", "creationTimestamp": "2026-01-31T12:00:00Z",
            "managedFields": [{"manager": "kubectl"}], "generation": 1, "uid": "u",
        });
        let whole = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec});
        serde_json::from_value(whole).unwrap()
    }

    fn good(name: &str) -> DynamicObject {
        object(name, json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": "v1"}}]}]}))
    }

    #[test]
    fn a_list_is_one_update_and_each_later_change_is_another() {
        let parents = ParentEntries::default();
        let mut listing = Listing { kind: ObjectKind::VirtualService, listed: None, parents: &parents, statuses: None };
        assert!(listing.take(Change::Listing).is_none());
        assert!(listing.take(Change::Put(good("one"))).is_none());
        assert!(listing.take(Change::Put(good("two"))).is_none());
        let whole = listing.take(Change::Listed).unwrap();
        let names = |update: &ObjectUpdate| update.put.iter().map(|body| body.name.to_string()).collect::<Vec<_>>();
        assert_eq!((names(&whole), whole.is_whole), (vec!["shop/one".to_owned(), "shop/two".to_owned()], true));
        let changed = listing.take(Change::Put(good("one"))).unwrap();
        assert_eq!((names(&changed), changed.is_whole), (vec!["shop/one".to_owned()], false));
        let removed = listing.take(Change::Removed(good("one"))).unwrap();
        assert_eq!((removed.removed, removed.is_whole), (vec!["shop/one".to_owned()], false));
    }

    #[test]
    fn a_change_of_nothing_but_the_status_is_no_update() {
        let (parents, statuses) = (ParentEntries::default(), ObjectStatuses::new(Metrics::new()));
        let kind = ObjectKind::RateLimit;
        let mut listing = Listing { kind, listed: None, parents: &parents, statuses: Some(&statuses) };
        let limits = |uid: &str, generation: i64, status: &str| {
            let metadata = json!({"name": "few", "namespace": "shop", "uid": uid, "generation": generation});
            let spec = json!({"limits": [{"name": "few", "local": {"requests": 1, "per": "hour"}}]});
            let status = json!({"conditions": [{"type": "Accepted", "status": status}]});
            let whole = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "RateLimit", "metadata": metadata, "spec": spec, "status": status});
            Change::Put(serde_json::from_value(whole).unwrap())
        };
        for (change, is_update, what) in [
            (limits("one", 1, ""), true, "it is created"),
            (limits("one", 1, "True"), false, "its status is written"),
            (limits("one", 2, "True"), true, "it is changed"),
            (limits("two", 2, ""), true, "another of its name"),
            (Change::Listing, false, "all are listed"),
            (limits("two", 2, "True"), false, "one of them"),
            (Change::Listed, true, "the whole list"),
            (limits("two", 2, "False"), false, "its status is written again"),
        ] {
            assert_eq!(listing.take(change).is_some(), is_update, "{what}");
        }
    }

    #[test]
    fn an_object_that_is_not_valid_names_its_field() {
        let body =
            body_of(ObjectKind::VirtualService, object("bad", json!({"hosts": ["web"], "http": [{"timeout": "-1s"}]})));
        assert_eq!((&*body.name, &*body.version), ("shop/bad", "7"));
        let reason = body.body.unwrap_err();
        assert!(reason.contains("spec.http[0]"), "{reason}");
    }

    #[test]
    fn every_kind_has_its_place_in_the_api() {
        let places = ObjectKind::HTTP.map(|kind| {
            let [found, before] = api_resources(kind);
            assert_eq!(found.plural, before.plural);
            format!("{}/{} {}", found.api_version, found.plural, before.version)
        });
        let expected = [
            "security.istio.io/v1/requestauthentications v1beta1",
            "networking.istio.io/v1/virtualservices v1beta1",
            "networking.istio.io/v1/destinationrules v1beta1",
            "networking.istio.io/v1/sidecars v1beta1",
            "telemetry.istio.io/v1/telemetries v1alpha1",
            "gateway.networking.k8s.io/v1/httproutes v1beta1",
            "gateway.networking.k8s.io/v1/grpcroutes v1alpha2",
            "weir.dev/v1alpha1/ratelimits v1alpha1",
        ];
        assert_eq!(places, expected);
    }
}
