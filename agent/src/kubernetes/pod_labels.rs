//! Labels of the cluster's pods that objects about requests ask for, which istiod's workload API does not carry: for each label a
//! watch of the pods that have it, of their metadata only. What is known stays known while the API server is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

use super::listed::Listed;
use super::status::WatchStatus;
use super::watch::{Change, Selection, list_and_watch};
use super::wire::PodMetadata;
use crate::model::pod::workload_uid;
use crate::telemetry::metrics::Metrics;

/// Labels that are followed at most: each costs a watch of the API server.
const LABELS_MAX: usize = 32;

/// What takes the changes: the uid of a workload, and all that is known of its pod's labels now.
pub type LabelSink = Box<dyn Fn(Arc<str>, BTreeMap<String, String>) + Send + Sync>;

/// See the module. Dropping it ends the watches; what they found stays in force.
#[derive(Debug)]
pub struct PodLabels {
    shared: Arc<Shared>,
    api: Api<PodMetadata>,
    metrics: Arc<Metrics>,
    followed: BTreeMap<String, AbortHandle>,
    watches: JoinSet<()>,
}

struct Shared {
    cluster_id: String,
    sink: LabelSink,
    found: Mutex<BTreeMap<String, Followed>>,
    listed: tokio::sync::watch::Sender<()>,
}

/// A label: the values by the uid of the workload, and how its watch is.
struct Followed {
    values: Listed<String>,
    status: WatchStatus,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// Tells how the watches are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PodLabelFaults(Arc<Shared>);

impl PodLabels {
    /// Follows nothing yet. Workloads are those of a cluster, by the name that istiod's uids give it.
    #[must_use]
    pub fn new(client: Client, cluster_id: &str, metrics: Arc<Metrics>, sink: LabelSink) -> Self {
        let (listed, _) = tokio::sync::watch::channel(());
        let shared = Shared { cluster_id: cluster_id.to_owned(), sink, found: Mutex::default(), listed };
        let api = Api::all(client);
        Self { shared: Arc::new(shared), api, metrics, followed: BTreeMap::new(), watches: JoinSet::new() }
    }

    /// How the watches are, for as long as anybody asks.
    #[must_use]
    pub fn faults(&self) -> PodLabelFaults {
        PodLabelFaults(self.shared.clone())
    }

    /// Follows these labels from now on, and no others.
    pub fn follow(&mut self, labels: &BTreeSet<String>) {
        if labels.len() > LABELS_MAX {
            let ignored: Vec<&String> = labels.iter().skip(LABELS_MAX).collect();
            tracing::warn!(?ignored, "too many labels tell endpoints apart: no pod is known to have these");
        }
        let wanted: BTreeSet<&String> = labels.iter().take(LABELS_MAX).collect();
        let gone: Vec<String> = self.followed.keys().filter(|label| !wanted.contains(label)).cloned().collect();
        for label in gone {
            self.followed.remove(&label).inspect(AbortHandle::abort);
            self.shared.forget(&label);
        }
        for label in wanted {
            if !self.followed.contains_key(label) {
                let watch = self.watch(label.clone());
                self.followed.insert(label.clone(), watch);
            }
        }
    }

    /// Resolves once the API server has told all that there is of the labels that are followed.
    pub async fn all_listed(&self) {
        let mut listed = self.shared.listed.subscribe();
        while self.shared.found.lock().values().any(|followed| !followed.values.is_complete) {
            if listed.changed().await.is_err() {
                return;
            }
        }
    }

    fn watch(&mut self, label: String) -> AbortHandle {
        let status = WatchStatus::new(self.metrics.clone());
        let followed = Followed { values: Listed::default(), status: status.clone() };
        self.shared.found.lock().insert(label.clone(), followed);
        let (shared, api) = (self.shared.clone(), self.api.clone());
        self.watches.spawn(async move {
            let apply = |change| shared.apply(&label, change);
            list_and_watch(api, Selection::labels(label.clone()), &status, apply).await;
        })
    }
}

impl PodLabelFaults {
    /// Why labels are not followed now, one reason each.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let found = self.0.found.lock();
        let states = found.iter().map(|(label, followed)| (label, followed.status.state()));
        let failed = states.filter(|(_, state)| state.connected_since.is_none());
        failed.filter_map(|(label, state)| Some(format!("label {label} of pods: {}", state.last_error?))).collect()
    }
}

impl Shared {
    fn apply(&self, label: &str, change: Change<PodMetadata>) {
        let mut found = self.found.lock();
        let Some(followed) = found.get_mut(label) else { return };
        let is_listed = matches!(change, Change::Listed);
        let mut touched: Vec<String> = match &change {
            Change::Put(pod) | Change::Removed(pod) => vec![self.uid(pod)],
            Change::Listed => followed.values.by_key.keys().cloned().collect(),
            Change::Listing => Vec::new(),
        };
        let keyed = |mut pod: PodMetadata| (self.uid(&pod), pod.labels.remove(label).unwrap_or_default());
        let is_different = followed.values.apply(change.map(keyed));
        if is_listed {
            // A list changes nothing but what it does not name.
            touched.retain(|uid| !followed.values.by_key.contains_key(uid));
        }
        if is_different {
            touched.into_iter().for_each(|uid| self.publish(&found, uid));
        }
        drop(found);
        if is_listed {
            self.listed.send_replace(());
        }
    }

    fn forget(&self, label: &str) {
        let mut found = self.found.lock();
        let Some(followed) = found.remove(label) else { return };
        followed.values.by_key.into_keys().for_each(|uid| self.publish(&found, uid));
    }

    /// Gives what is known of a pod to the sink, in the order of the changes.
    fn publish(&self, found: &BTreeMap<String, Followed>, uid: String) {
        let of_pod = found.iter().filter_map(|(label, followed)| {
            let value = followed.values.by_key.get(&uid)?;
            Some((label.clone(), value.clone()))
        });
        let labels = of_pod.collect();
        (self.sink)(uid.into(), labels);
    }

    /// The uid of a pod's workload, as istiod makes it.
    fn uid(&self, pod: &PodMetadata) -> String {
        workload_uid(&self.cluster_id, &pod.namespace, &pod.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, labels: &[(&str, &str)]) -> PodMetadata {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let metadata = json!({"namespace": "shop", "name": name, "labels": labels, "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata})).expect("it is the metadata of a pod")
    }

    type Told = Arc<Mutex<Vec<(String, Vec<(String, String)>)>>>;

    fn following(labels: &[&str]) -> (Shared, Told) {
        let told = Told::default();
        let sink = told.clone();
        let sink: LabelSink =
            Box::new(move |uid, labels| sink.lock().push((uid.to_string(), labels.into_iter().collect())));
        let metrics = Metrics::new();
        let followed = || Followed { values: Listed::default(), status: WatchStatus::new(metrics.clone()) };
        let found = labels.iter().map(|label| ((*label).to_owned(), followed())).collect();
        let (listed, _) = tokio::sync::watch::channel(());
        (Shared { cluster_id: "east".to_owned(), sink, found: Mutex::new(found), listed }, told)
    }

    #[test]
    fn a_pods_labels_are_told_whenever_one_that_is_followed_changes() {
        let (shared, told) = following(&["track", "tier"]);
        let now = |expected: &[(&str, &[(&str, &str)])]| {
            let own = |labels: &[(&str, &str)]| {
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
            };
            let expected: Vec<_> = expected.iter().map(|(uid, labels)| ((*uid).to_owned(), own(labels))).collect();
            assert_eq!(std::mem::take(&mut *told.lock()), expected);
        };
        let (v1, v2) = ("east//Pod/shop/v1", "east//Pod/shop/v2");
        shared.apply("track", Change::Listing);
        shared.apply("track", Change::Put(pod("v1", &[("track", "stable"), ("other", "x")])));
        shared.apply("track", Change::Put(pod("v2", &[("track", "canary")])));
        shared.apply("track", Change::Listed);
        now(&[(v1, &[("track", "stable")]), (v2, &[("track", "canary")])]);
        shared.apply("tier", Change::Put(pod("v1", &[("tier", "web")])));
        now(&[(v1, &[("tier", "web"), ("track", "stable")])]);
        shared.apply("track", Change::Put(pod("v1", &[("track", "stable")])));
        now(&[]);
        shared.apply("track", Change::Removed(pod("v2", &[("track", "canary")])));
        now(&[(v2, &[])]);
        // A list that does not name a pod: it is gone, or has lost its label.
        shared.apply("track", Change::Listing);
        shared.apply("track", Change::Listed);
        now(&[(v1, &[("tier", "web")])]);
        shared.apply("another", Change::Put(pod("v1", &[("another", "x")])));
        now(&[]);
        shared.forget("tier");
        now(&[(v1, &[])]);
    }
}
