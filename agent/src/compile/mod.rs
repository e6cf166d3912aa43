//! From what users wrote (`objects`) to what the data plane decides with.

mod l4_policy;
mod matches;

pub use l4_policy::{Form, form, refusal};
pub use matches::{octets, presence};
