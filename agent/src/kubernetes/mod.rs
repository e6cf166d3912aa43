//! The only module that knows the Kubernetes API: which pods of this node are in the mesh, the annotation by which a pod is
//! known to be captured, and whether this agent is being uninstalled. `enrollment` and `app` act on it.
//!
//! `directory` keeps the pods of the node and the namespaces of the cluster, by `watch` and `listed`; `wire` is what is read of
//! each object, `membership` which pods are in the mesh. `annotation` writes to pods, `daemon_set` follows the agent's own
//! DaemonSet.

mod annotation;
mod client;
mod daemon_set;
mod directory;
mod listed;
mod membership;
mod probe_ports;
mod status;
mod watch;
mod wire;

pub use self::annotation::Annotations;
pub use self::client::{ClusterAccess, connect};
pub use self::daemon_set::Installation;
pub use self::directory::{DescribedPod, Directory, KnownPod};
pub use self::membership::MembershipRules;
pub use self::status::WatchReport;
