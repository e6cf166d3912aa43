//! Puts the program together: the only module that knows all others.
//!
//! `weir agent` is two processes, a supervisor and its worker; `process` holds their entry points. `agent` is the worker from
//! its start to its end. Things start in the order of dependence: `foundation` (mesh, certificates, kernel programs, enrolled
//! pods), the proxy, then what asks them (`integrations`, `admin`). A pod that a former agent enrolled is served as soon as
//! the mesh is known, from the last good configuration if need be. Where a former agent still runs, all that takes time
//! comes first, and then the pods pass from one to the other: see `handover`.

mod admin;
mod agent;
mod cni;
mod delivery;
mod foundation;
mod handover;
mod http_objects;
mod integrations;
mod istiod;
mod known_destinations;
mod kubelet;
mod kubernetes;
mod nri;
mod pod_labels;
mod pod_warnings;
mod process;
mod roots;
mod settings;
mod shutdown;
mod uninstall;
mod why;
mod without_agent;

pub use self::process::{run_agent, run_control_plane, supervise_agent};
