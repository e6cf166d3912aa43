//! `weir status`: what an operator wants to know first, as data and as one screen of text.

mod collect;
mod fetch;
mod render;
mod report;

pub(super) use self::collect::collect;
#[cfg(test)]
pub use self::fetch::FetchError;
pub use self::fetch::fetch;
pub use self::render::render;
pub use self::report::ControlPlaneStatus;
