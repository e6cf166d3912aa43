//! A pod of this node as the rest of the agent sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A pod of this node, as Kubernetes describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPod {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    /// The workload's name in metrics.
    pub workload_name: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// Empty until the pod's network is set up.
    pub addresses: Vec<IpAddr>,
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
