//! [`Directory`]: the pods of this node and the namespaces of the cluster as Kubernetes has them, kept by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::client::{KubernetesError, within_timeout};
use super::listed::Listed;
use super::membership::{Candidate, DataplaneMode, MembershipRules};
use super::status::{WatchReport, WatchStatus};
use super::watch::{Change, Selection, list_and_watch};
use super::wire::{Namespace, Pod, PodFacts};
use crate::model::http::served::{HTTP_LABEL, HttpWish};
use crate::state::Joining;
use crate::telemetry::metrics::Metrics;

/// A pod of this node, as Kubernetes describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPod {
    pub uid: String,
    /// The uid by which the kubelet knows it, and calls its cgroup: another than in the API for a static pod.
    pub kubelet_uid: String,
    pub name: String,
    pub namespace: String,
    /// The workload's name in metrics.
    pub workload_name: String,
    pub service_account: String,
    /// Its own; also what its namespace says of HTTP, where it says nothing itself.
    pub labels: BTreeMap<String, String>,
    /// Empty until the pod's network is set up.
    pub addresses: Vec<IpAddr>,
    /// Ports of the pod that its own probes and hooks name, in order and each once.
    pub probe_ports: Vec<u16>,
    /// The text of its `resolv.conf`, where its object asks for one of its own.
    pub resolv_conf: Option<String>,
    pub host_network: bool,
    /// Whether its traffic is to be captured: labels of the pod and its namespace, and the exceptions.
    pub in_mesh: bool,
}

/// A pod, and what decides the next step for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPod {
    pub pod: DescribedPod,
    /// False while its namespace is not known yet: `in_mesh` says nothing then.
    pub is_decided: bool,
    /// Its annotation says that its traffic is captured.
    pub is_annotated: bool,
    /// All its containers have ended for good.
    pub is_finished: bool,
    /// It is being deleted.
    pub is_ending: bool,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    rules: MembershipRules,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    pods_status: WatchStatus,
    namespaces_status: WatchStatus,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("rules", &self.rules).field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    pods: Listed<PodFacts>,
    namespaces: Listed<NamespaceFacts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NamespaceFacts {
    mode: Option<DataplaneMode>,
    http: HttpWish,
    is_deleted: bool,
}

impl NamespaceFacts {
    fn of(found: &Namespace) -> Self {
        let Namespace { mode, http, is_deleted, .. } = *found;
        Self { mode, http, is_deleted }
    }
}

impl Directory {
    /// Begins to watch the pods of a node, and the namespaces of the cluster. `joining` learns which of these join the mesh. Must
    /// be called inside the runtime.
    #[must_use]
    pub fn start(client: Client, node: &str, rules: MembershipRules, joining: Joining, metrics: &Arc<Metrics>) -> Self {
        let shared = Arc::new(Shared {
            client,
            rules,
            state: Mutex::default(),
            version: watch::Sender::new(0),
            pods_status: WatchStatus::new(metrics.clone()),
            namespaces_status: WatchStatus::new(metrics.clone()),
        });
        let (pods, fields) = (shared.clone(), Selection::fields(format!("spec.nodeName={node}")));
        tokio::spawn(async move {
            let keyed = |pod: Pod| (pod.facts.uid.clone(), pod.facts);
            let apply = |change: Change<Pod>| pods.update(|state| state.pods.apply(change.map(keyed)));
            list_and_watch(Api::all(pods.client.clone()), fields, &pods.pods_status, apply).await;
        });
        let namespaces = shared.clone();
        tokio::spawn(async move {
            let keyed = |found: Namespace| {
                let facts = NamespaceFacts::of(&found);
                (found.name, facts)
            };
            let apply = |change: Change<Namespace>| {
                namespaces.report_joining(&change, &joining);
                let is_listed = matches!(change, Change::Listed);
                namespaces.update(|state| state.namespaces.apply(change.map(keyed)));
                if is_listed {
                    let state = namespaces.state.lock();
                    joining.retain(|namespace| state.namespaces.by_key.contains_key(namespace));
                }
            };
            list_and_watch(
                Api::all(namespaces.client.clone()),
                Selection::default(),
                &namespaces.namespaces_status,
                apply,
            )
            .await;
        });
        Self { shared }
    }

    /// What Kubernetes says of a pod: from what is known already, or by asking the API server, since a pod's network may be set
    /// up before the watch reports the pod. `uid` is the kubelet's; without one, any pod of that name is meant. Returns `None`
    /// where there is no such pod.
    ///
    /// # Errors
    /// When the pod is not known and the API server does not answer (within three seconds).
    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Option<DescribedPod>, KubernetesError> {
        let known = self.shared.state.lock().find(namespace, name, uid).cloned();
        let facts = match known {
            Some(facts) => facts,
            None => match self.read_pod(namespace, name).await? {
                Some(facts) if uid.is_none_or(|uid| facts.has_uid(uid)) => facts,
                _ => return Ok(None),
            },
        };
        let known = self.shared.state.lock().namespaces.by_key.get(namespace).copied();
        let described = match known {
            Some(namespace) => Some(namespace),
            None if facts.mode().is_some() => None,
            None => self.read_namespace(namespace).await?,
        };
        Ok(Some(self.shared.describe(&facts, described)))
    }

    /// Asks the API server itself whether a pod is no more.
    ///
    /// # Errors
    /// When it does not answer (within three seconds).
    pub async fn is_gone(&self, namespace: &str, name: &str, uid: &str) -> Result<bool, KubernetesError> {
        let found = self.read_pod(namespace, name).await?;
        Ok(found.is_none_or(|facts| !facts.has_uid(uid)))
    }

    /// The pods of this node that are known.
    #[must_use]
    pub fn pods(&self) -> Vec<KnownPod> {
        let state = self.shared.state.lock();
        state.pods.by_key.values().map(|facts| self.shared.known(facts, &state)).collect()
    }

    /// True once both lists are complete: what is not known does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let state = self.shared.state.lock();
        state.pods.is_complete && state.namespaces.is_complete
    }

    /// The namespaces that are labelled for the mesh; `None` until all are known.
    #[must_use]
    pub fn mesh_namespaces(&self) -> Option<BTreeSet<String>> {
        let state = self.shared.state.lock();
        let labelled = state.namespaces.by_key.iter().filter(|(_, facts)| facts.mode == Some(DataplaneMode::Ambient));
        let named =
            labelled.map(|(name, _)| name).filter(|name| !self.shared.rules.excluded_namespaces.contains(*name));
        state.namespaces.is_complete.then(|| named.cloned().collect())
    }

    /// Changes whenever a pod or a namespace does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// How the watches are, for the status.
    #[must_use]
    pub fn report(&self) -> WatchReport {
        let pods = self.pods();
        let (watching, also) = (self.shared.pods_status.state(), self.shared.namespaces_status.state());
        let both = watching.connected_since.zip(also.connected_since);
        WatchReport {
            connected_since: both.map(|(one, other)| one.max(other)),
            is_complete: self.is_complete(),
            in_mesh: pods.iter().filter(|known| known.pod.in_mesh).count(),
            pods: pods.len(),
            last_error: watching.last_error.or(also.last_error),
        }
    }

    /// Whether a namespace is being deleted, with all that is in it.
    pub(super) fn is_namespace_ending(&self, namespace: &str) -> bool {
        self.shared.state.lock().namespaces.by_key.get(namespace).is_some_and(|facts| facts.is_deleted)
    }

    pub(super) fn client(&self) -> &Client {
        &self.shared.client
    }

    async fn read_pod(&self, namespace: &str, name: &str) -> Result<Option<PodFacts>, KubernetesError> {
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), namespace);
        let read = within_timeout(format!("reading pod {namespace}/{name}"), api.get_opt(name)).await;
        Ok(read?.map(|pod| pod.facts))
    }

    async fn read_namespace(&self, name: &str) -> Result<Option<NamespaceFacts>, KubernetesError> {
        let api: Api<Namespace> = Api::all(self.shared.client.clone());
        let read = within_timeout(format!("reading namespace {name}"), api.get_opt(name)).await;
        Ok(read?.map(|namespace| NamespaceFacts::of(&namespace)))
    }
}

impl Shared {
    fn update(&self, change: impl FnOnce(&mut State) -> bool) {
        let is_changed = change(&mut self.state.lock());
        if is_changed {
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn report_joining(&self, change: &Change<Namespace>, joining: &Joining) {
        let is_in_mesh = |found: &Namespace| {
            found.mode == Some(DataplaneMode::Ambient) && !self.rules.excluded_namespaces.contains(&found.name)
        };
        match change {
            Change::Put(found) => joining.set_in_mesh(&found.name, is_in_mesh(found)),
            Change::Removed(found) => joining.set_in_mesh(&found.name, false),
            Change::Listing | Change::Listed => {}
        }
    }

    fn known(&self, facts: &PodFacts, state: &State) -> KnownPod {
        let namespace = state.namespaces.by_key.get(&facts.namespace);
        KnownPod {
            pod: self.describe(facts, namespace.copied()),
            is_decided: namespace.is_some(),
            is_annotated: facts.is_annotated,
            is_finished: facts.is_finished,
            is_ending: facts.is_ending,
        }
    }

    fn describe(&self, facts: &PodFacts, namespace: Option<NamespaceFacts>) -> DescribedPod {
        let candidate = Candidate {
            namespace: &facts.namespace,
            name: &facts.name,
            mode: facts.mode(),
            host_network: facts.host_network,
            has_sidecar: facts.has_sidecar,
            is_finished: facts.is_finished,
        };
        let mut labels = facts.labels.clone();
        let http = namespace.map_or(HttpWish::On, |namespace| namespace.http);
        if http != HttpWish::On {
            labels.entry(HTTP_LABEL.to_owned()).or_insert_with(|| http.value().to_owned());
        }
        DescribedPod {
            uid: facts.uid.clone(),
            kubelet_uid: facts.static_uid.as_ref().unwrap_or(&facts.uid).clone(),
            name: facts.name.clone(),
            namespace: facts.namespace.clone(),
            workload_name: facts.workload_name.clone(),
            service_account: facts.service_account.clone(),
            labels,
            addresses: facts.addresses.clone(),
            probe_ports: facts.probe_ports.clone(),
            resolv_conf: facts.dns.resolv_conf(&facts.namespace),
            host_network: facts.host_network,
            in_mesh: self.rules.is_in_mesh(&candidate, namespace.and_then(|namespace| namespace.mode)),
        }
    }
}

impl State {
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<&PodFacts> {
        let is_it = |facts: &&PodFacts| {
            facts.name == name && facts.namespace == namespace && uid.is_none_or(|uid| facts.has_uid(uid))
        };
        self.pods.by_key.values().find(is_it)
    }
}
