//! The ServiceEntries that routes of the API are attached to. An agent receives routes and no ServiceEntry: what a control plane says in
//! an annotation of a route ([`PARENT_HOSTS`]), which hosts its parents have, is said here of routes that come from the API server.

use std::collections::BTreeMap;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::watch::Change;
use crate::objects::{PARENT_HOSTS, hosts_of_parents};
use crate::resources::ObjectKind;

const GROUP: &str = "networking.istio.io";
const KIND: &str = "ServiceEntry";

/// Namespace and name.
type Key = (String, String);

/// The hosts of all ServiceEntries, and the routes that are attached to some.
#[derive(Debug, Default)]
pub(super) struct ParentEntries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    hosts: BTreeMap<Key, Vec<String>>,
    /// Those of the list that is under way.
    listed: Option<BTreeMap<Key, Vec<String>>>,
    routes: BTreeMap<(ObjectKind, Key), DynamicObject>,
}

/// Where the API may have ServiceEntries, the newest version first.
pub(super) fn api_resources() -> [ApiResource; 2] {
    let resource =
        |version| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, version, KIND), "serviceentries");
    [resource("v1"), resource("v1beta1")]
}

impl ParentEntries {
    /// Adds to a route the hosts of its parents. Whatever a user has written there goes.
    pub(super) fn annotate(&self, kind: ObjectKind, route: &mut DynamicObject) {
        let mut state = self.0.lock();
        let (key, is_attached) = ((kind, key_of(route)), !parents(route).is_empty());
        if is_attached {
            state.routes.insert(key, route.clone());
        } else {
            state.routes.remove(&key);
        }
        state.annotate(route);
    }

    /// Forgets a route.
    pub(super) fn forget(&self, kind: ObjectKind, route: &DynamicObject) {
        self.0.lock().routes.remove(&(kind, key_of(route)));
    }

    /// Forgets all routes of a kind: they are listed again.
    pub(super) fn forget_all(&self, kind: ObjectKind) {
        self.0.lock().routes.retain(|(known, _), _| *known != kind);
    }

    /// Takes a change of ServiceEntries, and gives the routes that it concerns as they are to be from now on.
    pub(super) fn apply(&self, change: Change<DynamicObject>) -> Vec<(ObjectKind, DynamicObject)> {
        let mut state = self.0.lock();
        let changed: Vec<Key> = match change {
            Change::Listing => {
                state.listed = Some(BTreeMap::new());
                return Vec::new();
            }
            Change::Put(entry) => {
                let (key, hosts) = (key_of(&entry), hosts_of(&entry));
                if let Some(listed) = &mut state.listed {
                    listed.insert(key, hosts);
                    return Vec::new();
                }
                match state.hosts.insert(key.clone(), hosts.clone()) {
                    Some(before) if before == hosts => return Vec::new(),
                    _ => vec![key],
                }
            }
            Change::Removed(entry) => {
                state.hosts.remove_entry(&key_of(&entry)).map(|(key, _)| key).into_iter().collect()
            }
            Change::Listed => {
                let listed = state.listed.take().unwrap_or_default();
                let before = std::mem::replace(&mut state.hosts, listed);
                let all = before.keys().chain(state.hosts.keys());
                all.filter(|key| before.get(*key) != state.hosts.get(*key)).cloned().collect()
            }
        };
        let concerned = state.routes.iter().filter(|(_, route)| parents(route).iter().any(|key| changed.contains(key)));
        let concerned: Vec<_> = concerned.map(|((kind, _), route)| (*kind, route.clone())).collect();
        let annotated = concerned.into_iter().map(|(kind, mut route)| {
            state.annotate(&mut route);
            (kind, route)
        });
        annotated.collect()
    }
}

impl State {
    fn annotate(&self, route: &mut DynamicObject) {
        let of_parents = parents(route);
        let known = of_parents.iter().filter_map(|key| Some((key, self.hosts.get(key)?)));
        let text = hosts_of_parents(known.map(|((namespace, name), hosts)| (&**namespace, &**name, &**hosts)));
        let annotations = route.metadata.annotations.get_or_insert_default();
        annotations.remove(PARENT_HOSTS);
        annotations.extend(text.map(|text| (PARENT_HOSTS.to_owned(), text)));
    }
}

fn key_of(object: &DynamicObject) -> Key {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn hosts_of(entry: &DynamicObject) -> Vec<String> {
    let hosts = entry.data["spec"]["hosts"].as_array().into_iter().flatten();
    hosts.filter_map(Json::as_str).map(str::to_owned).collect()
}

/// The ServiceEntries that a route is attached to.
fn parents(route: &DynamicObject) -> Vec<Key> {
    let own = route.metadata.namespace.as_deref().unwrap_or_default();
    let all = route.data["spec"]["parentRefs"].as_array().into_iter().flatten();
    let entries = all.filter(|parent| parent["group"] == GROUP && parent["kind"] == KIND);
    let key = |parent: &Json| {
        let namespace = parent["namespace"].as_str().filter(|name| !name.is_empty()).unwrap_or(own);
        Some((namespace.to_owned(), parent["name"].as_str()?.to_owned()))
    };
    entries.filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, spec: Json) -> DynamicObject {
        let metadata = json!({"name": name, "namespace": "shop"});
        serde_json::from_value(json!({"apiVersion": "x/v1", "kind": kind, "metadata": metadata, "spec": spec}))
            .expect("one")
    }

    fn entry(name: &str, hosts: &[&str]) -> DynamicObject {
        object(KIND, name, json!({"hosts": hosts}))
    }

    fn route(name: &str, parents: &[&str]) -> DynamicObject {
        let parents: Vec<_> = parents.iter().map(|name| json!({"group": GROUP, "kind": KIND, "name": name})).collect();
        object("HTTPRoute", name, json!({"parentRefs": parents}))
    }

    fn said(route: &DynamicObject) -> Option<&str> {
        route.metadata.annotations.as_ref()?.get(PARENT_HOSTS).map(String::as_str)
    }

    #[test]
    fn routes_have_the_hosts_of_their_entries_whichever_comes_first() {
        let (entries, kind) = (ParentEntries::default(), ObjectKind::HttpRoute);
        let mut attached = route("attached", &["api", "missing"]);
        attached.metadata.annotations = Some([(PARENT_HOSTS.to_owned(), "shop/api=stolen".to_owned())].into());
        entries.annotate(kind, &mut attached);
        assert_eq!(said(&attached), None, "what a user has written is gone");
        entries.annotate(kind, &mut route("other", &[]));
        let changes = |change| {
            let routes = entries.apply(change);
            routes.iter().map(|(_, route)| said(route).unwrap_or("-").to_owned()).collect::<Vec<_>>()
        };
        assert!(changes(Change::Listing).is_empty() && changes(Change::Put(entry("api", &["a.example"]))).is_empty());
        assert_eq!(changes(Change::Listed), ["shop/api=a.example"]);
        assert!(changes(Change::Put(entry("api", &["a.example"]))).is_empty(), "nothing has changed");
        assert!(changes(Change::Put(entry("else", &["b.example"]))).is_empty(), "no route is attached to it");
        assert_eq!(
            changes(Change::Put(entry("api", &["a.example", "*.a.example"]))),
            ["shop/api=a.example,*.a.example"]
        );
        let mut later = route("later", &["api"]);
        entries.annotate(kind, &mut later);
        assert_eq!(said(&later), Some("shop/api=a.example,*.a.example"));
        entries.forget(kind, &later);
        assert_eq!(changes(Change::Removed(entry("api", &[]))), ["-"]);
        entries.forget_all(kind);
        assert!(changes(Change::Put(entry("api", &["c.example"]))).is_empty(), "no route is known");
    }
}
