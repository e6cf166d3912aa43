//! The status of an agent as data, as it travels from the agent to `weir status`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::limits::ReachedLimit;

/// The agent of one node, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub node: String,
    pub version: String,
    pub uptime_seconds: u64,
    /// An agent of an earlier version calls it `keeper`.
    #[serde(default, alias = "keeper")]
    pub supervisor: SupervisorStatus,
    /// What readiness waits for; empty means ready.
    pub waiting_for: Vec<String>,
    pub control_plane: ControlPlaneStatus,
    /// `None` where pods are not enrolled from Kubernetes.
    #[serde(default)]
    pub kubernetes: Option<KubernetesStatus>,
    /// `None` where no connection to the container runtime (NRI) is wanted.
    #[serde(default)]
    pub nri: Option<NriState>,
    /// Age of the configuration in use; `None` while there is none.
    pub last_good_age_seconds: Option<u64>,
    pub mesh: MeshCounts,
    pub pods: Vec<PodStatus>,
    /// What the kernel programs decided, by verdict; zeros are left out.
    pub capture: BTreeMap<String, u64>,
    /// Policies that say more than their L4 form, which are enforced as they are written, by key; with what of them is not.
    #[serde(default)]
    pub policies_as_written: Vec<String>,
    /// AuthorizationPolicies that are not enforced at pods, because they have `targetRefs`.
    #[serde(default)]
    pub policies_of_waypoints: Vec<String>,
    /// What an operator has to attend to.
    pub warnings: Vec<String>,
}

/// The two processes of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// Process ids, as the agent's own namespace has them.
    #[serde(alias = "keeper")]
    pub supervisor: i32,
    pub worker: u32,
    /// How long the supervisor runs; the worker is the agent's `uptime_seconds` old.
    pub uptime_seconds: u64,
    /// Workers that ended without having been asked to.
    pub restarts: u64,
    /// How the last of them ended.
    pub last_end: Option<String>,
}

/// Where configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlaneStatus {
    /// The control plane's address, or the path of the objects.
    pub source: String,
    /// The stream is up, or the files could be read.
    pub connected: bool,
    pub seconds_since_update: Option<u64>,
    pub last_error: Option<String>,
    /// Resources or documents that were refused and why, those still in force only.
    pub rejected: Vec<String>,
    /// Types of resources that the control plane has not answered, without which the agent serves.
    #[serde(default)]
    pub unanswered: Vec<String>,
    /// Why the configuration in use would not outlive a restart, if it could not be written to disk.
    #[serde(default)]
    pub not_saved: Option<String>,
    /// Why objects are not followed that the agent reads from the Kubernetes API itself.
    #[serde(default)]
    pub not_followed: Vec<String>,
}

/// The watches of Kubernetes that decide which pods are enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesStatus {
    /// For how long every watch has been open; `None` while one is not.
    pub connected_seconds: Option<u64>,
    /// False until all pods of this node and all namespaces have been listed once.
    pub complete: bool,
    /// Pods of this node that the API server knows.
    pub pods: usize,
    pub in_mesh: usize,
    pub last_error: Option<String>,
}

/// The connection over which the container runtime asks about new pods (NRI).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NriState {
    pub socket: String,
    /// Name and version of the container runtime that is connected, and for how long; `None` while none is.
    pub runtime: Option<String>,
    pub connected_seconds: Option<u64>,
    /// Why none is; `None` where there is no socket and no setting names one.
    pub last_error: Option<String>,
}

/// How much the agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshCounts {
    pub workloads: usize,
    pub services: usize,
    pub policies: usize,
}

/// An enrolled pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    pub namespace: String,
    pub name: String,
    pub identity: String,
    pub addresses: Vec<IpAddr>,
    pub captured: bool,
    pub known_to_mesh: bool,
    /// Until its certificate expires, negative once it has; `None` while there is none.
    pub certificate_seconds_left: Option<i64>,
    pub connections_open: usize,
    /// Requests of HTTP that are under way.
    #[serde(default)]
    pub requests_in_flight: u64,
    /// Those that have ended since this agent serves the pod.
    #[serde(default)]
    pub requests_ended: u64,
    /// Those of them that were answered with a status of 500 or more.
    #[serde(default)]
    pub requests_failed: u64,
    /// Requests to the pod that policy has denied.
    #[serde(default)]
    pub requests_denied: u64,
    /// The limits that the pod has reached since this agent serves it.
    #[serde(default)]
    pub limits_reached: Vec<ReachedLimit>,
}
