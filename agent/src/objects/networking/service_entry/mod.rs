//! ServiceEntry: a service by its host names.

mod check;
mod entry;
mod read;

pub use entry::{Resolution, ServiceEntry, ServiceEntryPort};
pub(in crate::objects) use read::{allocated, read};
