//! Which pods of this node are enrolled, and all that belongs to one: its network namespace, its listeners, its capture.
//!
//! [`Enrollment`] owns them. What enrols pods and ends their enrolment enters by one of these:
//!
//! | entrance | who uses it |
//! |---|---|
//! | `enroll`, `unenroll` | the enrolment API on the Unix socket (`api`): the same uid twice is an error |
//! | `ensure_all`, `unenroll_many` | Kubernetes (`cluster`), which says the same thing again and again |
//! | `ensure_in_sandbox`, `release_sandbox` | the container runtime (CNI plugin, NRI), pod by pod |
//! | `restore` | the start of the agent: the pods of a former one |
//! | `watch_liveness` | the agent itself, as pods die |
//! | `unenroll_all` | the uninstallation of Weir |
//!
//! All of them meet in `registry`, where one pod at a time is captured or released, and only while this agent is the one
//! that may (`ownership`). The list on disk is written by `list_writer`, and nobody waits long for the disk.

pub mod api {
    //! The enrolment API on a Unix socket: `server` is the gRPC service, `client` what the commands use, `check` what a
    //! description of a pod must be, `incoming` what a client may cost.

    mod check;
    mod client;
    mod incoming;
    mod server;

    pub use self::check::check_name;
    pub use self::client::{EnrollmentClient, NewPod};
    pub use self::server::{SOCKET_NAME, bind, serve};
}

pub mod cluster {
    //! Keeps the enrolled pods of this node what Kubernetes says they should be: those that are in the mesh are
    //! captured and annotated, those that leave it are released in an order in which no connection is refused.
    //! `reconcile` compares, `step` decides what is next for a pod, `actions` does it, and `netns_index` finds the
    //! namespace of a pod that was there before the agent.

    mod actions;
    mod netns_index;
    mod reconcile;
    mod step;

    pub use self::reconcile::ClusterEnrollment;
}

mod enroll;
mod error;
mod forwarding;
mod interface_addresses;
mod list_writer;
mod listeners;
pub mod netns;
mod ownership;
pub mod pod;
mod registry;
mod sandboxes;
pub mod sock_bytes;
mod sock_diag;
pub mod store;
mod upkeep;

pub use self::api::check_name;
pub use self::error::EnrollmentError;
pub use self::listeners::Enrolled;
pub use self::registry::Enrollment;
