//! The objects about requests (VirtualService, HTTPRoute and their kin), by a watch of each kind: for clusters whose control
//! plane does not pass them on. A kind that the cluster does not define is looked for again now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

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
        Self { kinds: Arc::new(kinds.into()), answered: tokio::sync::watch::Sender::new(()) }
    }

    /// Follows all kinds, and gives every change to the sink. Runs until it is dropped.
    pub async fn follow(self, client: Client, sink: ObjectSink) {
        let all = self.kinds.iter().map(|(kind, followed)| self.follow_kind(*kind, followed, client.clone(), &sink));
        futures_util::future::join_all(all).await;
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
        let all = self.kinds.values().filter(|followed| *followed.state.lock() != KindState::Absent);
        let states = all.map(|followed| followed.status.state());
        states.filter(|state| state.connected_since.is_none()).filter_map(|state| state.last_error).collect()
    }

    async fn follow_kind(&self, kind: ObjectKind, followed: &Followed, client: Client, sink: &ObjectSink) {
        let resource = api_resource(kind);
        let api: Api<DynamicObject> = Api::all_with(client, &resource);
        let mut following = Following::new(api, resource.plural.clone(), Selection::default());
        let mut listing = Listing { kind, listed: None };
        loop {
            let mut apply = |change| {
                let is_listed = matches!(change, Change::Listed);
                if let Some(update) = listing.take(change) {
                    sink(update);
                }
                if is_listed {
                    self.set(followed, KindState::Listed);
                }
            };
            let Err((error, mut pause)) = following.advance(&followed.status, &mut apply).await else { continue };
            if error.code() == Some(NOT_FOUND) {
                pause = self.is_absent(kind, followed, sink);
                following.begin_anew();
            } else {
                following.report(&error, &followed.status);
            }
            tokio::time::sleep(pause).await;
        }
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

/// Where the API has a kind.
fn api_resource(kind: ObjectKind) -> ApiResource {
    let mut parts = kind.type_url().splitn(3, '/');
    let mut part = || parts.next().expect("it is group, version and kind");
    let known = GroupVersionKind::gvk(part(), part(), part());
    ApiResource::from_gvk(&known)
}

/// Makes updates of changes: a list is one update, however many pages it has.
#[derive(Debug)]
struct Listing {
    kind: ObjectKind,
    /// The objects of the list that is under way.
    listed: Option<Vec<ObjectBody>>,
}

impl Listing {
    fn take(&mut self, change: Change<DynamicObject>) -> Option<ObjectUpdate> {
        let kind = self.kind;
        let update = |put, removed, is_whole| Some(ObjectUpdate { kind, put, removed, is_whole });
        match change {
            Change::Listing => {
                self.listed = Some(Vec::new());
                None
            }
            Change::Put(object) => {
                let body = body_of(kind, object);
                match &mut self.listed {
                    Some(listed) => {
                        listed.push(body);
                        None
                    }
                    None => update(vec![body], Vec::new(), false),
                }
            }
            Change::Removed(object) => update(Vec::new(), vec![name_of(&object)], false),
            Change::Listed => update(self.listed.take().unwrap_or_default(), Vec::new(), true),
        }
    }
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
        let mut listing = Listing { kind: ObjectKind::VirtualService, listed: None };
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
            let found = api_resource(kind);
            format!("{}/{}", found.api_version, found.plural)
        });
        let expected = [
            "networking.istio.io/v1/virtualservices",
            "networking.istio.io/v1/destinationrules",
            "networking.istio.io/v1/sidecars",
            "telemetry.istio.io/v1/telemetries",
            "gateway.networking.k8s.io/v1/httproutes",
            "gateway.networking.k8s.io/v1/grpcroutes",
        ];
        assert_eq!(places, expected);
    }
}
