//! Objects, and requests that are generated for them, to which two proxies that are told the same must give the same answers.
//! Nothing here knows Weir, or Envoy, but the list of what is known to differ.
//!
//! A [`Group`] is a Service, the objects about it and the requests that they are written for. [`Ask::generated`] makes more requests
//! of these: other spellings, methods, hosts and fields. [`Seen`] is what a client saw, [`aspects`] what of it is compared,
//! [`mismatches`] what of that differs, [`differences`] the list of what is known to differ.

mod ask;
mod aspects;
pub mod differences;
mod generate;
mod group;
mod groups;
mod mismatch;
mod readiness;
mod seen;
mod spellings;

pub use ask::{Ask, Content};
pub use aspects::{Aspects, Witnessed, aspects};
pub use group::{Group, Kind, NAMESPACE, Object, Template, address};
pub use groups::Subject;
pub use mismatch::{Mismatch, mismatches};
pub use seen::{Ending, Seen};
