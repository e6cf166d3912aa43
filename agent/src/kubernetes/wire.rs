//! The objects of the Kubernetes API as this agent reads them: a few fields of each, so that a node with many pods and a
//! cluster with many namespaces cost little. Everything else is dropped while it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::membership::{DATAPLANE_MODE, DataplaneMode};
use super::pod_dns::{DnsConfig, PodDns};
use super::probe_ports::{self, Container};
use crate::model::http::served::{HTTP_LABEL, HttpWish};
use crate::model::naming::{self, Controller};

/// The annotation of a pod whose traffic is captured: the control plane then announces to all peers that it accepts HBONE.
pub(super) const REDIRECTION: &str = "ambient.istio.io/redirection";
/// The value of [`REDIRECTION`] for a captured pod.
pub(super) const REDIRECTION_ENABLED: &str = "enabled";
const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
/// The annotation with the uid by which the kubelet knows a static pod, whose object in the API has another one.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The annotation of that object, with the same value. The kubelet runs no pod that it finds with this one in the API, so whoever
/// writes a pod cannot pass it off as another by [`CONFIG_HASH`] alone.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// The metadata of an object, as far as it is used: kube's own type would keep much more.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    generate_name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<OwnerReference>,
}

impl Metadata {
    /// The part of it that kube uses.
    fn for_kube(&mut self) -> ObjectMeta {
        ObjectMeta { resource_version: Some(std::mem::take(&mut self.resource_version)), ..ObjectMeta::default() }
    }

    fn mode(&self) -> Option<DataplaneMode> {
        self.labels.get(DATAPLANE_MODE).and_then(|value| DataplaneMode::of(value))
    }

    /// What it says of HTTP, in a label or else in an annotation.
    fn http(&self) -> Option<&String> {
        self.labels.get(HTTP_LABEL).or_else(|| self.annotations.get(HTTP_LABEL))
    }

    fn controller(&self) -> Option<Controller<'_>> {
        let controller = self.owner_references.iter().find(|owner| owner.controller)?;
        Some(Controller { kind: &controller.kind, name: &controller.name })
    }

    fn workload_name(&self) -> String {
        naming::workload_name(&self.name, &self.labels, self.controller(), !self.generate_name.is_empty())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    kind: String,
    name: String,
    controller: bool,
}

/// What is kept of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub(super) uid: String,
    /// Its uid at the kubelet and the CNI plugins, where that is another than in the API.
    pub(super) static_uid: Option<String>,
    pub(super) name: String,
    pub(super) namespace: String,
    /// The workload's name in metrics.
    pub(super) workload_name: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) addresses: Vec<IpAddr>,
    /// Ports of the pod that its own probes and hooks name.
    pub(super) probe_ports: Vec<u16>,
    pub(super) dns: PodDns,
    pub(super) host_network: bool,
    pub(super) has_sidecar: bool,
    pub(super) is_finished: bool,
    /// It is being deleted.
    pub(super) is_ending: bool,
    /// Its annotation says that its traffic is captured.
    pub(super) is_annotated: bool,
    /// The DaemonSet that it belongs to.
    pub(super) daemon_set: Option<String>,
}

impl PodFacts {
    pub(super) fn mode(&self) -> Option<DataplaneMode> {
        self.labels.get(DATAPLANE_MODE).and_then(|value| DataplaneMode::of(value))
    }

    /// Whether it is the pod of this uid, be it the API's or the kubelet's.
    pub(super) fn has_uid(&self, uid: &str) -> bool {
        self.uid == uid || self.static_uid.as_deref() == Some(uid)
    }
}

/// A Pod as it is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "PodText")]
pub(super) struct Pod {
    meta: ObjectMeta,
    pub(super) facts: PodFacts,
}

#[derive(Deserialize)]
struct PodText {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpecText,
    #[serde(default)]
    status: PodStatusText,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpecText {
    service_account_name: Option<String>,
    host_network: Option<bool>,
    dns_policy: Option<String>,
    dns_config: Option<DnsConfig>,
    containers: Vec<Container>,
    /// Those that go on running beside the others may have probes.
    init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatusText {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIpText>,
}

#[derive(Deserialize)]
struct PodIpText {
    ip: String,
}

impl From<PodText> for Pod {
    fn from(mut text: PodText) -> Self {
        let meta = text.metadata.for_kube();
        let containers = text.spec.containers.iter().chain(&text.spec.init_containers);
        let probe_ports = probe_ports::named(containers);
        let has = |key: &str, value: &str| text.metadata.annotations.get(key).is_some_and(|found| found == value);
        if let Some(http) = text.metadata.http().cloned() {
            // Wherever it is said, it counts as the label does.
            text.metadata.labels.insert(HTTP_LABEL.to_owned(), http);
        }
        let facts = PodFacts {
            has_sidecar: text.metadata.annotations.get(SIDECAR_STATUS).is_some_and(|status| !status.is_empty()),
            is_annotated: has(REDIRECTION, REDIRECTION_ENABLED),
            static_uid: static_uid(&text.metadata.annotations),
            is_ending: text.metadata.deletion_timestamp.is_some(),
            daemon_set: daemon_set(text.metadata.controller()),
            workload_name: text.metadata.workload_name(),
            uid: text.metadata.uid,
            name: text.metadata.name,
            namespace: text.metadata.namespace,
            labels: text.metadata.labels,
            service_account: text.spec.service_account_name.filter(|name| !name.is_empty()).unwrap_or("default".into()),
            host_network: text.spec.host_network.unwrap_or_default(),
            addresses: text.status.pod_ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            probe_ports,
            dns: PodDns { policy: text.spec.dns_policy, config: text.spec.dns_config },
            is_finished: matches!(text.status.phase.as_deref(), Some("Succeeded" | "Failed")),
        };
        Self { meta, facts }
    }
}

/// The kubelet's uid of a static pod, from the annotations of its object in the API.
fn static_uid(annotations: &BTreeMap<String, String>) -> Option<String> {
    let [hash, mirror] = [CONFIG_HASH, CONFIG_MIRROR].map(|key| annotations.get(key));
    hash.filter(|_| hash == mirror).cloned()
}

fn daemon_set(controller: Option<Controller<'_>>) -> Option<String> {
    controller.filter(|controller| controller.kind == "DaemonSet").map(|controller| controller.name.to_owned())
}

/// A Namespace as it is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "MetadataText")]
pub(super) struct Namespace {
    meta: ObjectMeta,
    pub(super) name: String,
    pub(super) mode: Option<DataplaneMode>,
    /// Which connections of its pods are looked into for HTTP, unless a pod says otherwise.
    pub(super) http: HttpWish,
    pub(super) is_deleted: bool,
}

/// A DaemonSet as it is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "MetadataText")]
pub(super) struct DaemonSet {
    meta: ObjectMeta,
    pub(super) is_deleted: bool,
}

#[derive(Deserialize)]
struct MetadataText {
    metadata: Metadata,
}

impl From<MetadataText> for Namespace {
    fn from(mut text: MetadataText) -> Self {
        Self {
            meta: text.metadata.for_kube(),
            mode: text.metadata.mode(),
            http: text.metadata.http().map_or(HttpWish::On, |value| HttpWish::said(value)),
            is_deleted: text.metadata.deletion_timestamp.is_some(),
            name: text.metadata.name,
        }
    }
}

impl From<MetadataText> for DaemonSet {
    fn from(mut text: MetadataText) -> Self {
        Self { meta: text.metadata.for_kube(), is_deleted: text.metadata.deletion_timestamp.is_some() }
    }
}

/// A Pod of which only the labels matter: its metadata, which is all that the API server then sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "MetadataText")]
pub(super) struct PodMetadata {
    meta: ObjectMeta,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl From<MetadataText> for PodMetadata {
    fn from(mut text: MetadataText) -> Self {
        let meta = text.metadata.for_kube();
        let Metadata { name, namespace, labels, .. } = text.metadata;
        Self { meta, name, namespace, labels }
    }
}

/// Tells kube under which path objects of a type are.
macro_rules! resource {
    ($type:ty, $scope:ty, $group:literal, $kind:literal, $plural:literal) => {
        resource!($type, $scope, $group, $kind, $plural, false);
    };
    ($type:ty, $scope:ty, $group:literal, $kind:literal, $plural:literal, $only_metadata:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn metadata_api() -> bool {
                $only_metadata
            }

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.meta
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.meta
            }
        }
    };
}

resource!(Pod, NamespaceResourceScope, "", "Pod", "pods");
resource!(PodMetadata, NamespaceResourceScope, "", "Pod", "pods", true);
resource!(Namespace, ClusterResourceScope, "", "Namespace", "namespaces");
resource!(DaemonSet, NamespaceResourceScope, "apps", "DaemonSet", "daemonsets");

#[cfg(test)]
mod tests;
