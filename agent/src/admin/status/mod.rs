//! `weir status`: what an operator wants to know first, as data and as one screen of text.

mod collect;
mod fetch;
mod render;
mod report;

pub(super) use self::collect::collect;
pub use self::fetch::{FetchError, fetch};
pub use self::render::render;
pub use self::report::{
    ControlPlaneStatus, KubernetesStatus, MeshCounts, NriState, PodStatus, Status, SupervisorStatus,
};
