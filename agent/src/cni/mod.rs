//! Enrolment before a pod's first process runs: the container runtime calls our CNI plugin when the pod's network is
//! there, the plugin asks here, and no process starts before the answer. Also keeps the plugin in the node's CNI chain.
//!
//! A pod that comes in here is the same as one that the watch of Kubernetes finds: whoever is first enrols it.

mod answer;
mod conflist;
mod directory;
mod install;
mod keep;
mod namespaces;
mod socket;

pub use self::answer::{Caller, Sandboxes};
pub use self::install::Installer;
pub use self::keep::keep as keep_installed;
pub use self::namespaces::{FILE_NAME as NAMESPACES_NAME, keep as keep_namespaces};
pub use self::socket::{SOCKET_NAME, ask, bind, serve};
