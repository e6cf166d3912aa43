//! An enrolled pod: its description from enrolment, and what belongs to it as long as it is enrolled.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::netns::Netns;
use crate::limits::PodLimits;
use crate::model::identity::{Identity, TrustDomain};
use crate::model::pod::PodKey;
use crate::telemetry::pod_telemetry::PodTelemetry;

/// Who had a pod enrolled, and so who ends its enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Origin {
    /// Somebody on this node, through the enrolment API.
    #[default]
    Node,
    /// Kubernetes: its watch, or the container runtime's call for a pod that Kubernetes says is in the mesh.
    Kubernetes,
}

/// The description of a pod with which it is enrolled, checked. Kept on disk, so that a restarted agent goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    pub uid: String,
    /// The uid by which the kubelet calls the pod's cgroup, where it is another one.
    #[serde(default)]
    pub kubelet_uid: Option<String>,
    pub name: String,
    pub namespace: String,
    /// The workload's name in metrics, where whoever enrolled the pod knows what made it.
    #[serde(default)]
    pub workload_name: Option<String>,
    pub service_account: String,
    pub netns: PathBuf,
    pub cgroup: Option<PathBuf>,
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Ports that its probes and hooks name: the kubelet's connections to these reach the application as they are.
    #[serde(default)]
    pub probe_ports: Vec<u16>,
    /// How the pod looks names up, as a `resolv.conf` says it; as the agent does unless given.
    #[serde(default)]
    pub resolv_conf: Option<String>,
    /// Set once enrolled: a path may lead to another pod's namespace by the time an agent reads this again.
    #[serde(default)]
    pub netns_cookie: Option<u64>,
    #[serde(default)]
    pub origin: Origin,
}

impl PodSpec {
    /// What the pod's workload is found by.
    #[must_use]
    pub fn key(&self) -> PodKey<'_> {
        PodKey { namespace: &self.namespace, name: &self.name, addresses: &self.addresses }
    }
}

/// What of a pod's description can change while it is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changeable {
    pub labels: BTreeMap<String, String>,
    pub probe_ports: Vec<u16>,
}

/// A pod whose traffic this node captures.
#[derive(Debug)]
pub struct EnrolledPod {
    /// The pod as it was enrolled. Of what can change, [`Self::current`] is true.
    pub spec: PodSpec,
    current: ArcSwap<Changeable>,
    pub netns: Netns,
    /// What the pod holds of what all pods share.
    pub limits: PodLimits,
    connections: Arc<AtomicU64>,
    /// What is told of its requests and connections.
    pub telemetry: PodTelemetry,
    /// It is being taken out of the mesh, and still captured until all peers know.
    leaving: AtomicBool,
    /// Cancelled when its enrolment ends: nothing new is accepted.
    pub left: CancellationToken,
    /// Cancelled when the pod is dead: its open connections are closed.
    pub dead: CancellationToken,
}

impl EnrolledPod {
    pub(super) fn new(mut spec: PodSpec, netns: Netns, limits: PodLimits) -> Self {
        spec.netns_cookie = Some(netns.cookie().0);
        let current = Changeable { labels: spec.labels.clone(), probe_ports: spec.probe_ports.clone() };
        let telemetry = PodTelemetry::new(&spec.namespace, spec.labels.clone(), &limits);
        Self {
            spec,
            current: ArcSwap::from_pointee(current),
            netns,
            limits,
            connections: Arc::default(),
            telemetry,
            leaving: AtomicBool::new(false),
            left: CancellationToken::new(),
            dead: CancellationToken::new(),
        }
    }

    /// The identity that the pod's traffic carries in a mesh of this trust domain.
    #[must_use]
    pub fn identity(&self, trust_domain: &TrustDomain) -> Identity {
        Identity::new(trust_domain.clone(), &self.spec.namespace, &self.spec.service_account)
    }

    /// What of its description can change, as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Changeable> {
        self.current.load_full()
    }

    /// The same, to look at it for a moment: nothing is written that other threads read. It is not to be kept over an await.
    #[must_use]
    pub fn glance(&self) -> Guard<Arc<Changeable>> {
        self.current.load()
    }

    /// The description with which a later agent enrols it again.
    pub(super) fn current_spec(&self) -> PodSpec {
        let Changeable { labels, probe_ports } = (*self.current()).clone();
        PodSpec { labels, probe_ports, ..self.spec.clone() }
    }

    pub(super) fn set_current(&self, current: Changeable) {
        self.telemetry.set_labels(current.labels.clone());
        self.current.store(Arc::new(current));
    }

    /// Counts a connection of this pod for as long as the guard lives.
    #[must_use]
    pub fn count_connection(&self) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection { connections: self.connections.clone() }
    }

    /// Connections of this pod that are open now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the pod is being taken out of the mesh.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(super) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }

    /// False once the namespace or the cgroup that the pod was enrolled with is gone.
    pub(super) fn is_alive(&self) -> bool {
        self.netns.is_alive() && self.spec.cgroup.as_deref().is_none_or(|cgroup| cgroup.exists())
    }
}

/// See [`EnrolledPod::count_connection`].
#[derive(Debug)]
pub struct OpenConnection {
    connections: Arc<AtomicU64>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
