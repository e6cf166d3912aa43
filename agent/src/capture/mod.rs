//! The only interface to the kernel programs: loads, attaches, pins, adopts and detaches them, and captures pods. Map names and
//! aya's types stay in this directory.

mod cgroup;
mod destinations;
pub mod direct;
mod error;
mod events;
mod hierarchy;
mod install;
mod installed;
mod kernel;
mod kubelet;
pub mod listening;
mod maps;
mod netns_program;
pub mod noted;
mod original_dst;
mod pinned_maps;
mod pins;
mod pod;
mod pod_cgroup;
mod pod_notes;
mod programs;
mod proof;
mod sweep;

pub use self::destinations::Destinations;
pub use self::error::{CaptureError, NotCaptured};
pub use self::install::CaptureOptions;
pub use self::installed::Capture;
pub use self::kubelet::{KubeletStatus, proc_directory};
pub use self::pod::{NetnsCookie, PodCapture, PodListeners, netns_cookie};
pub use self::pod_cgroup::pod_uid;
