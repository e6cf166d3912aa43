//! From what users wrote (`objects`) to what the data plane decides with (`model`).

mod l4_policy;
mod matches;
mod mesh_settings;

pub use l4_policy::{L4Policy, denying, l4_policy};
pub use mesh_settings::mesh_settings;
