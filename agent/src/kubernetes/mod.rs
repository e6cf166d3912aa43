//! The only door to the Kubernetes API: which pods of this node are in the mesh, the word on a pod that it is captured,
//! and whether this agent is being uninstalled. It tells; what to do about it is `enrollment`'s and `app`'s.

mod annotation;
mod client;
mod daemon_set;
mod directory;
mod follow;
mod membership;
mod status;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::causes::with_causes;

pub use self::annotation::Annotations;
pub use self::client::{ClusterAccess, connect};
pub use self::daemon_set::Installation;
pub use self::directory::{Directory, KnownPod};
pub use self::membership::MembershipRules;
pub use self::status::WatchReport;

/// A pod of this node, as Kubernetes describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPod {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    /// What metrics call it by.
    pub workload_name: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// Empty until the pod's network is set up.
    pub addresses: Vec<IpAddr>,
    pub host_network: bool,
    /// Whether its traffic is to be captured: labels of the pod and its namespace, and the exceptions.
    pub in_mesh: bool,
}

/// Why the Kubernetes API did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    #[error("{what}: {reason}")]
    Access { what: String, reason: String },
    #[error("{what}: the API server answered {code}: {message}")]
    Refused { what: String, code: u16, message: String },
    #[error("{what}: {reason}")]
    Unreachable { what: String, reason: String },
    #[error("{what}: no answer within {seconds} s")]
    Timeout { what: String, seconds: u64 },
}

impl KubernetesError {
    /// Says what failed, for `map_err`.
    fn because(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| match error {
            kube::Error::Api(status) => Self::Refused { what, code: status.code, message: status.message },
            other => Self::Unreachable { what, reason: with_causes(&other) },
        }
    }

    /// The HTTP status that the API server answered with, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}
