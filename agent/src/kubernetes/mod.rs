//! The only module that knows the Kubernetes API: which pods of this node are in the mesh, the annotation by which a pod is
//! known to be captured, whether this agent is being uninstalled, and, if it is asked to, the objects about requests, with what it says
//! of them in their status.
//! `enrollment` and `app` act on it.
//!
//! `directory` keeps the pods of the node and the namespaces of the cluster, by `watch` and `listed`; `wire` is what is read of
//! each object, `membership` which pods are in the mesh. `annotation` writes to pods, `daemon_set` follows the agent's own
//! DaemonSet; `http_objects` follows VirtualServices, HTTPRoutes and their kin, `parent_entries` knows the ServiceEntries that routes are
//! attached to, `pod_labels` the labels that rules ask for.

mod annotation;
mod client;
mod daemon_set;
mod directory;
mod http_objects;
mod listed;
mod membership;

mod object_status {
    //! What agents say of RateLimits in their status: `conditions` is what, `statuses` of which objects and when, `writer` writes it.

    mod conditions;
    mod statuses;
    mod writer;

    pub(super) use statuses::Seen;
    pub use writer::MeshView;
    pub(super) use writer::ObjectStatuses;
}

mod parent_entries;
mod pod_dns;
mod pod_labels;
mod probe_ports;
mod status;
mod watch;
mod wire;

pub use self::annotation::Annotations;
pub use self::client::{ClusterAccess, connect};
pub use self::daemon_set::Installation;
pub use self::directory::{DescribedPod, Directory, KnownPod};
pub use self::http_objects::{HttpObjects, ObjectSink};
pub use self::membership::MembershipRules;
pub use self::object_status::MeshView;
pub use self::pod_labels::PodLabels;
pub use self::status::WatchReport;
