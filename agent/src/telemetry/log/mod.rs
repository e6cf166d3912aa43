//! The log of the process: its filter, the form of its lines, and who writes them. The data plane never waits for it.

mod format;
mod setup;
mod writer;

pub use self::format::LogFormat;
#[cfg(test)]
pub(crate) use self::setup::tests;
pub use self::setup::{LogHandle, init, init_direct};
